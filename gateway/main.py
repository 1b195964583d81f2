"""The gateway's process: every part made once and handed to whoever needs it."""

import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from gateway.batch.make import make_batches
from gateway.catalogue.departments import KnownDepartment
from gateway.catalogue.service import CatalogService
from gateway.clerk.clerk import Clerk
from gateway.config import Config, load_config
from gateway.consents.clerk import ConsentClerk
from gateway.consents.service import ConsentService
from gateway.contracts.clerk import ContractClerk
from gateway.contracts.service import ContractService
from gateway.departments import Departments
from gateway.dryrun.contract import ContractDryRun
from gateway.emergency.overdue import OverdueReviews
from gateway.exchange.explain import Explainer
from gateway.exchange.fetch import Fetch
from gateway.exchange.network import Network
from gateway.exchange.pipeline import Pipeline
from gateway.exchange.refusal import RecordingAuthoriser
from gateway.exchange.release import Release
from gateway.exchange.service import ExchangeService
from gateway.independence import OutageBudget
from gateway.limits import RateLimit
from gateway.load import GatewayError, load_own_credentials, load_rulebook, load_rules, open_ledger
from gateway.metrics import GatewayMetrics
from gateway.processors import keep_to
from gateway.state.change import Control
from gateway.stream.make import make_streams
from gateway.stream.streams import Streams
from gateway.watch.watch import open_watch
from gateway.workers import supervise
from isthmus.access import ControlAuthoriser
from isthmus.log import configure, logger
from isthmus.packaging_guard import ensure_sole_owner
from isthmus.rpc import MetricsServer, RunningServer, Service, build_server, metrics_server
from isthmus.rpc.garbage import settle
from isthmus.statement import StatementVerifier
from isthmus.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from isthmus.v1.consent_service_pb2_grpc import add_ConsentServiceServicer_to_server
from isthmus.v1.contract_service_pb2_grpc import add_ContractServiceServicer_to_server
from isthmus.v1.exchange_service_pb2_grpc import add_ExchangeServiceServicer_to_server

Clock = Callable[[], datetime]


class Gateway:
    """A gateway that is bound to its port; it serves between `start()` and `stop()`.

    Args:
        config: its configuration.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.
        tends: whether it runs the clerk; of several workers one does.

    Raises:
        GatewayError: a file, key, policy, certificate, database or port cannot be used.
    """

    def __init__(
        self, config: Config, *, clock: Clock, registry: CollectorRegistry, tends: bool = True
    ) -> None:
        self._config = config
        self._clock = clock
        self._registry = registry
        self._tends = tends
        self._metrics_server: MetricsServer | None = None
        self._running = False
        self._credentials = load_own_credentials(config)
        self._verifier = StatementVerifier(
            self._credentials.ca_certificates, config.server.trust_domain, clock=clock
        )
        known = [f"departments/{name}" for name in config.departments]
        self._metrics = GatewayMetrics(registry, known, logger("gateway"))
        self._watch = open_watch(config, self._credentials, self._metrics)
        self._rules = replace(load_rules(config), certificate=self._credentials.thumbprint)
        self._rulebook = load_rulebook(config)
        self.ledger = open_ledger(config, clock=clock, registry=registry)
        try:
            self._budget = self._make_budget()
            self._rules = replace(self._rules, budget=self._budget)
            self._departments = self._make_departments()
            self._network, self._explainer = self._make_exchange()
            self._streams = self._make_streams()
            self._server = self._make_server()
        except BaseException:
            self.ledger.close()
            self._watch.close()
            raise

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def metrics_port(self) -> int:
        """The port of /metrics; 0 before `start()`."""
        return self._metrics_server.port if self._metrics_server is not None else 0

    def start(self) -> None:
        """Serves.

        Raises:
            GatewayError: the address of the metrics cannot be bound.
        """
        try:
            host, port = self._config.metrics.host, self._config.metrics.port
            self._metrics_server = metrics_server(self._registry, host, port)
        except OSError as error:
            raise GatewayError(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
        self._running = True
        if self._budget is not None:
            self._budget.start()
        self._network.start()
        self._streams.start()
        self._departments.start()
        self._server.start()
        if self._tends:
            self._clerk.start()

    def stop(self) -> None:
        """Refuses new calls, lets those under way end, and lets go of everything; also of what was never started."""
        grace = self._config.server.grace_seconds
        self._streams.drain()
        self._server.stop(grace)
        self._clerk.stop()
        if self._running:
            self._streams.close(grace)
            self._network.close(grace)
        self._departments.close()
        if self._budget is not None:
            self._budget.stop()
        self.ledger.close()
        if self._metrics_server is not None:
            self._metrics_server.close()
        self._watch.close()

    def _make_budget(self) -> OutageBudget | None:
        section = self._config.independence
        if section is None:
            return None
        return OutageBudget(section, self.ledger, clock=self._clock, registry=self._registry)

    def _make_departments(self) -> Departments:
        return Departments(
            self._config.nodes(),
            self._credentials,
            max_response_bytes=self._config.exchange.max_response_bytes,
            watch=self._metrics.department_up,
        )

    def _make_exchange(self) -> tuple[Network, Explainer]:
        section = self._config.exchange
        # The trains run the pipeline, and the pipeline hands exchanges over from one train to another.
        network = Network(
            self._departments.names,
            lambda *journey: pipeline.run(*journey),
            section.limits(self._config.server.threads),
        )
        pipeline = Pipeline(
            self.ledger,
            self._rules,
            fetch=Fetch(
                self._departments,
                self._credentials,
                self._verifier,
                clock=self._clock,
                timeout=section.fetch_timeout_seconds,
                calls=self._watch.calls,
            ),
            release=Release(self.ledger, self._rules, self._watch.observers, commits=self._watch.commits),
            transfer=network.transfer,
            observer=self._watch.observers,
            clock=self._clock,
        )
        return network, Explainer(self.ledger, self._rules)

    def _make_streams(self) -> Streams:
        return make_streams(
            self._config,
            self.ledger,
            self._rules,
            departments=self._departments,
            credentials=self._credentials,
            verifier=self._verifier,
            observer=self._watch.observers,
            clock=self._clock,
            calls=self._watch.calls,
            commits=self._watch.commits,
        )

    def _make_server(self) -> RunningServer:
        section = self._config.server
        authoriser = ControlAuthoriser()
        try:
            return build_server(
                services=self._services(authoriser.digest),
                credentials=self._credentials,
                trust_domain=section.trust_domain,
                clock=self._clock,
                registry=self._registry,
                address=section.address,
                authorise=RecordingAuthoriser(
                    authoriser,
                    self.ledger,
                    clock=self._clock,
                    policy_digest=authoriser.digest,
                    counts=self._metrics,
                ),
                threads=section.threads,
                max_concurrent=section.max_concurrent,
                so_reuseport=section.reuse_port,
            )
        except OSError as error:
            raise GatewayError(f"{section.address} cannot be bound: {error}") from error

    def _services(self, policy_digest: str) -> list[Service]:
        control = Control(
            self.ledger, clock=self._clock, policy_digest=policy_digest, rulebook=self._rulebook
        )
        self._clerk = Clerk(
            control,
            identity=self._credentials.identity(self._config.server.trust_domain),
            thumbprint=self._credentials.thumbprint,
            jobs=(ContractClerk(), ConsentClerk(), OverdueReviews()),
            interval=self._config.rules.clerk_seconds,
            registry=self._registry,
        )
        known = {
            f"departments/{name}": KnownDepartment(each.title, has_node=bool(each.node))
            for name, each in self._config.departments.items()
        }
        contracts = ContractService(
            control, verifier=self._verifier, dry_run=ContractDryRun(control, self._rules)
        )
        consents = ConsentService(
            control, verifier=self._verifier, tokens=self._rules.tokens, credentials=self._credentials
        )
        limit = RateLimit(self._config.limits.exchanges_per_second, self._metrics.rate_limited)
        batches = make_batches(
            self._config.exchange,
            self.ledger,
            self._rules,
            departments=self._departments,
            credentials=self._credentials,
            verifier=self._verifier,
            observer=self._watch.observers,
            clock=self._clock,
            calls=self._watch.calls,
            commits=self._watch.commits,
        )
        exchange = ExchangeService(
            self._network, self._explainer, self._streams, batches, limit=limit, clock=self._clock
        )
        return [
            Service(CatalogService(control, known), add_CatalogServiceServicer_to_server),
            Service(contracts, add_ContractServiceServicer_to_server),
            Service(consents, add_ConsentServiceServicer_to_server),
            Service(exchange, add_ExchangeServiceServicer_to_server),
        ]


def utc_now() -> datetime:
    """The clock of a real process."""
    return datetime.now(UTC)


def say_serving(gateway: Gateway) -> None:
    """Logs where a gateway serves."""
    logger("gateway").info("serving", port=gateway.port, metrics_port=gateway.metrics_port)


def run(config: Path, *, environ: Mapping[str, str], log_level: str = "INFO") -> None:
    """Serves until SIGTERM or SIGINT, then lets calls under way end; in so many processes as `[server] workers` says.

    Args:
        config: `gateway.toml`.
        environ: overrides of its keys.
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL.

    Raises:
        GatewayError, ConfigError: the gateway cannot start; the message says why.
        ForeignPackageError: another distribution has installed a package of Isthmus's name.
    """
    ensure_sole_owner()
    configure(level=log_level)
    loaded = load_config(config, environ=environ)
    if loaded.server.workers > 1:
        supervise(loaded, log_level=log_level)
    else:
        keep_to(loaded.server.processors)
        serve(loaded, process_registry())


def process_registry() -> CollectorRegistry:
    """A registry with the metrics of this process."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def serve(
    config: Config,
    registry: CollectorRegistry,
    *,
    tends: bool = True,
    serving: Callable[[Gateway], None] = say_serving,
) -> None:
    """Serves in this process until SIGTERM or SIGINT, then lets calls under way end.

    Args:
        config: its configuration.
        registry: receives the metrics.
        tends: see `Gateway`.
        serving: is told once it takes calls.

    Raises:
        GatewayError: it cannot start; the message says why.
    """
    gateway = Gateway(config, clock=utc_now, registry=registry, tends=tends)
    asked = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: asked.set())
    try:
        gateway.start()
        settle()
        serving(gateway)
        asked.wait()
    finally:
        gateway.stop()
