"""The audit service's process: opens the ledger, serves until SIGTERM or SIGINT, and lets calls under way end."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from audit.config import AuditConfig, TileSettings
from audit.evidence.answer import Evidence
from audit.evidence.bundle import Trust
from audit.evidence.policies import PoliciesError, load_policies
from audit.http_server import HttpServer
from audit.keys import load_log_key, load_subject_tokens
from audit.ledger import Ledger
from audit.search.index import SearchIndex
from audit.search.lookup import SubjectIndex
from audit.search.store import beside
from audit.service import AuditService
from audit.sharing.live import LiveSharing
from audit.sharing.metrics import SharingCollector
from audit.sharing.service import SharingService
from audit.tiles.app import READ_DEADLINE_S, TileApp
from audit.vouching import Vouching
from isthmus.access import ControlAuthoriser
from isthmus.config import ConfigError, load
from isthmus.identity import Role
from isthmus.log import configure, logger
from isthmus.packaging_guard import ensure_sole_owner
from isthmus.pki import Credentials, load_credentials
from isthmus.rpc import MetricsServer, RunningServer, Service, build_server, metrics_server
from isthmus.tracing import ENDPOINT_VARIABLE, Spans, TracingUnavailable, open_spans
from isthmus.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from isthmus.v1.sharing_service_pb2_grpc import add_SharingServiceServicer_to_server

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Extension:
    """What belongs to the control state in the same database, which this package knows nothing of.

    Attributes:
        tables: made where they are missing.
        collectors: returns what reports on them, for the ledger and a clock.
    """

    tables: sa.MetaData
    collectors: Callable[[Ledger, Clock], Iterable[Collector]]


class StartError(RuntimeError):
    """The service cannot start; the message says why and what to do."""


class AuditServer:
    """The running parts of the service. `start` it; `stop` it in any case.

    Args:
        config: the configuration.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.
        extension: the control state, to report on too; nothing is reported of it unless given.

    Raises:
        StartError, KeyFileError, CredentialsError, IdentityError: what it needs is missing or wrong.
        LedgerUnavailable: the ledger cannot be opened, or contradicts its pin.
        OSError: an address cannot be bound.
    """

    def __init__(
        self,
        config: AuditConfig,
        *,
        clock: Clock,
        registry: CollectorRegistry,
        extension: Extension | None = None,
    ) -> None:
        server, ledger = config.server, config.ledger
        credentials = load_credentials(server.certificate, server.key, server.ca)
        _require_audit_role(credentials, server.trust_domain)
        tokens = load_subject_tokens(config.subjects.keys, config.subjects.current)
        log_key = load_log_key(ledger.log_key)
        self.ledger = Ledger.open(
            ledger.url,
            log_key=log_key,
            pin=ledger.pin,
            clock=clock,
            metadata=[extension.tables] if extension is not None else [],
            registry=registry,
            commit_timeout=ledger.commit_timeout_s,
        )
        self._metrics: MetricsServer | None = None
        self._tiles: HttpServer | None = None
        self._spans: Spans | None = None
        try:
            self._spans = _open_spans(config, credentials)
            self._vouching = _make_vouching(config, self.ledger, clock=clock, registry=registry)
            self._search = SearchIndex(ledger.search_index or beside(ledger.url), self.ledger.read, log_key)
            self._sharing = LiveSharing(self.ledger, clock)
            SharingCollector(self._sharing, registry)
            for collector in extension.collectors(self.ledger, clock) if extension is not None else ():
                registry.register(collector)
            subjects = SubjectIndex(tokens, config.subjects.schemes)
            service = AuditService(
                self.ledger,
                subjects,
                clock=clock,
                finder=self._search.finder,
                anomalies=config.anomalies,
                evidence=_make_evidence(config, self.ledger, subjects, credentials),
                required_witnesses=config.witnessing.required,
            )
            self._server: RunningServer = build_server(
                services=[
                    Service(service, add_AuditServiceServicer_to_server),
                    Service(SharingService(self._sharing), add_SharingServiceServicer_to_server),
                ],
                credentials=credentials,
                trust_domain=server.trust_domain,
                clock=clock,
                registry=registry,
                address=server.address,
                authorise=ControlAuthoriser(),
                threads=server.threads,
                spans=self._spans,
            )
            if config.metrics:
                self._metrics = metrics_server(registry, config.metrics.host, config.metrics.port)
            if config.tiles:
                self._tiles = _serve_tiles(config.tiles, self.ledger)
        except BaseException:
            if self._metrics:
                self._metrics.close()
            if self._spans is not None:
                self._spans.close()
            self.ledger.close()
            raise

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def tile_port(self) -> int | None:
        """The port of the tile server; None when there is none."""
        return self._tiles.port if self._tiles else None

    def start(self) -> None:
        """Accept calls."""
        self._server.start()
        self._search.start()
        self._sharing.start()
        self._vouching.start()

    def stop(self, grace: float = 5.0) -> None:
        """Let calls under way end within `grace` seconds, and close the ledger."""
        self._server.stop(grace)
        self._search.stop()
        self._sharing.stop()
        self._vouching.stop()
        if self._tiles:
            self._tiles.close()
        if self._metrics:
            self._metrics.close()
        self.ledger.close()
        if self._spans is not None:
            self._spans.close()


def _serve_tiles(config: TileSettings, ledger: Ledger) -> HttpServer:
    app = TileApp(lambda: ledger.read(deadline_s=READ_DEADLINE_S), entries=config.entries)
    return HttpServer(config.address, app, name="tile server")


def run(
    config: Path,
    *,
    environ: Mapping[str, str] | None = None,
    log_level: str = "INFO",
    extend: Callable[[AuditConfig], Extension] | None = None,
) -> None:
    """Serve until the process is asked to stop.

    Args:
        config: `audit.toml`.
        environ: overrides of its keys; the process's environment unless given.
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        extend: makes the extension that the service reports on too; without it, the log alone is reported on.

    Raises:
        ConfigError, ForeignPackageError, ValueError: the configuration cannot be used.
        StartError and the other errors of `AuditServer`: it cannot start.
    """
    ensure_sole_owner()
    configure(level=log_level)
    given = os.environ if environ is None else environ
    settings = load(config, AuditConfig, environ=given)
    try:
        settings = replace(settings, tracing=settings.tracing.or_from(given))
    except ValueError as error:
        raise ConfigError(ENDPOINT_VARIABLE, "", str(error)) from None
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    asked = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: asked.set())
    extension = extend(settings) if extend is not None else None
    server = AuditServer(settings, clock=lambda: datetime.now(UTC), registry=registry, extension=extension)
    try:
        server.start()
        logger("audit").info("serving", port=server.port, records=server.ledger.newest().size)
        asked.wait()
    finally:
        server.stop()


def _make_evidence(
    config: AuditConfig, ledger: Ledger, subjects: SubjectIndex, credentials: Credentials
) -> Evidence:
    try:
        policies = load_policies(config.evidence.policies)
    except PoliciesError as error:
        raise StartError(str(error)) from error
    domain = config.server.trust_domain
    trust = Trust(key=ledger.verifier_key, ca=credentials.ca_pem, trust_domain=domain, policies=policies)
    return Evidence(ledger, subjects, trust)


def _open_spans(config: AuditConfig, credentials: Credentials) -> Spans | None:
    identity = credentials.identity(config.server.trust_domain)
    try:
        return open_spans(config.tracing, service="isthmus-audit", instance=identity.uri)
    except TracingUnavailable as error:
        raise StartError(str(error)) from error


def _make_vouching(
    config: AuditConfig, ledger: Ledger, *, clock: Clock, registry: CollectorRegistry
) -> Vouching:
    try:
        return Vouching(config, ledger, clock=clock, registry=registry)
    except ValueError as error:
        raise StartError(str(error)) from error


def _require_audit_role(credentials: Credentials, trust_domain: str) -> None:
    identity = credentials.identity(trust_domain)
    if identity.role is not Role.AUDIT:
        raise StartError(
            f"the certificate is that of {identity.resource}; the audit service needs one of /audit/<name>"
        )
