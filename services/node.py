"""A department's node, put together from its manifest."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry

from isthmus.access import ControlAuthoriser
from isthmus.identity import IdentityError, Role
from isthmus.log import logger
from isthmus.pki import Credentials, CredentialsError, load_credentials
from isthmus.rpc import MetricsServer, RunningServer, Service, build_server, metrics_server
from isthmus.statement import StatementVerifier
from isthmus.tracing import Spans, TracingUnavailable, open_spans
from isthmus.v1.department_service_pb2_grpc import add_DepartmentServiceServicer_to_server
from services.fetch import Fetcher
from services.grants import GrantVerifier
from services.journal import Journal, JournalUnavailable
from services.manifest import Manifest, ManifestError, ServerSettings
from services.metrics import NodeMetrics
from services.parts import NodeParts
from services.plan import Planner
from services.resume import ResumeTokens
from services.service import DepartmentServicer
from services.source import Source, SourceUnavailable
from services.stream import Streamer
from services.veto import VetoRules

CHECK_SECONDS: Final = 5.0
_HASH_KEY_BYTES: Final = 32

Clock = Callable[[], datetime]


class NodeError(ValueError):
    """The node cannot start. The message says why and what would let it."""


class Node:
    """A node that is bound to its port; it serves between `start()` and `stop()`.

    While the department's database is down the node stays up: it answers UNAVAILABLE and its health says
    NOT_SERVING, until the database is back.

    Args:
        manifest: with a [server] section.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.
        check_seconds: how often the database is asked for a sign of life.

    Raises:
        NodeError: a file, certificate or port cannot be used, or the certificate is not a node's of this
            department.
        ManifestError: the database is up and a table or column of the manifest does not exist.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        clock: Clock,
        registry: CollectorRegistry,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        if manifest.server is None:
            raise NodeError(f"{manifest.path}: section [server] is missing; a node cannot listen without it")
        self._server_settings = manifest.server
        self._registry = registry
        self._check_seconds = check_seconds
        self._log = logger("department", department=manifest.department)
        self._metrics = NodeMetrics(registry)
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_source, name="source-check", daemon=True)
        self._metrics_server: MetricsServer | None = None
        self.serving = False
        credentials = _credentials(manifest.server, manifest.department)
        self._spans = _open_spans(manifest, credentials)
        try:
            self.source = Source(manifest.source, manifest.datasets)
            self.journal = Journal(manifest.journal_url)
        except (ValueError, JournalUnavailable) as error:
            raise NodeError(str(error)) from None
        self._prepare_source()
        parts = self._parts(manifest, credentials, clock)
        streamer = Streamer(parts, most=manifest.server.max_streams)
        servicer = DepartmentServicer(manifest.datasets_proto(), Fetcher(parts), streamer)
        self._server = _bind(manifest, servicer, credentials, clock, registry)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    def _parts(self, manifest: Manifest, credentials: Credentials, clock: Clock) -> NodeParts:
        settings = self._server_settings
        department = f"departments/{manifest.department}"
        hash_key = None if settings.hash_key is None else read_hash_key(settings.hash_key)
        statements = StatementVerifier(credentials.ca_certificates, settings.trust_domain, clock=clock)
        return NodeParts(
            department=department,
            credentials=credentials,
            clock=clock,
            grants=GrantVerifier(department, statements=statements, clock=clock),
            planner=Planner(
                VetoRules(manifest.datasets, hashes=hash_key is not None),
                hash_key=hash_key,
                zone=ZoneInfo(manifest.source.timezone),
            ),
            resume=ResumeTokens(hash_key),
            source=self.source,
            limits=manifest.source,
            journal=self.journal,
            metrics=self._metrics,
            log=self._log,
            spans=self._spans,
        )

    def _prepare_source(self) -> None:
        try:
            self.source.prepare()
        except SourceUnavailable as error:
            self._log.warning("the database is down; the node starts and waits for it", problem=str(error))

    def start(self) -> None:
        """Serves. Raises NodeError when the metrics port cannot be bound."""
        if self._server_settings.metrics:
            host, _, port = self._server_settings.metrics.rpartition(":")
            try:
                self._metrics_server = metrics_server(
                    self._registry, host, int(port), ready=lambda: self.serving
                )
            except OSError as error:
                raise NodeError(
                    f"metrics cannot listen on {self._server_settings.metrics}: {error.strerror}"
                ) from None
        self._server.start()
        self._check_source()
        self._watch.start()
        self._log.info("serving", port=self.port)

    def _watch_source(self) -> None:
        while not self._stopping.wait(self._check_seconds):
            self._check_source()

    def _check_source(self) -> None:
        try:
            self.source.ping()
            up = True
        except (SourceUnavailable, ManifestError) as error:
            up = False
            if self.serving:
                self._log.warning("the database is down", problem=str(error))
        self._metrics.source_up.set(int(up))
        if not self._stopping.is_set():
            self.serving = up
            self._server.set_serving(up)

    def stop(self, grace: float = 5.0) -> None:
        """Refuses new calls, lets those under way end within `grace` seconds, and closes everything."""
        self._stopping.set()
        self.serving = False
        self._server.stop(grace)
        if self._watch.is_alive():
            self._watch.join()
        if self._metrics_server is not None:
            self._metrics_server.close()
        self.source.close()
        self.journal.close()
        if self._spans is not None:
            self._spans.close()

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        self._server.wait()


def _credentials(settings: ServerSettings, department: str) -> Credentials:
    try:
        credentials = load_credentials(settings.certificate, settings.key, settings.ca)
        identity = credentials.identity(settings.trust_domain)
    except (CredentialsError, IdentityError) as error:
        raise NodeError(str(error)) from None
    if identity.role is not Role.NODE or identity.department != department:
        raise NodeError(
            f"{settings.certificate}: is the certificate of {identity.resource}, and a node of {department} is needed"
        )
    return credentials


def _open_spans(manifest: Manifest, credentials: Credentials) -> Spans | None:
    assert manifest.server is not None
    identity = credentials.identity(manifest.server.trust_domain)
    try:
        return open_spans(manifest.tracing, service="isthmus-department", instance=identity.uri)
    except TracingUnavailable as error:
        raise NodeError(str(error)) from None


def read_hash_key(path: Path) -> bytes:
    """Reads the secret of the hashes: 64 hexadecimal digits.

    Raises:
        NodeError: the file cannot be read or holds something else.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise NodeError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != _HASH_KEY_BYTES:
        raise NodeError(f"{path}: a hash key is 64 hexadecimal digits; make one with openssl rand -hex 32")
    return key


def _bind(
    manifest: Manifest,
    servicer: DepartmentServicer,
    credentials: Credentials,
    clock: Clock,
    registry: CollectorRegistry,
) -> RunningServer:
    assert manifest.server is not None
    try:
        return build_server(
            services=[Service(servicer, add_DepartmentServiceServicer_to_server)],
            credentials=credentials,
            trust_domain=manifest.server.trust_domain,
            clock=clock,
            registry=registry,
            address=manifest.server.address,
            authorise=ControlAuthoriser(),
            threads=manifest.server.threads,
        )
    except OSError as error:
        raise NodeError(str(error)) from None
