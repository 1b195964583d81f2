"""Builds a server: mutual TLS, the guard around every method, health and reflection, bounded everything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from isthmus.identity import PeerResolver
from isthmus.log import logger
from isthmus.pki import Credentials
from isthmus.rpc.guard import Authoriser, Guard
from isthmus.rpc.metrics import RpcMetrics
from isthmus.rpc.pool import WorkerPool
from isthmus.rpc.process_metrics import ProcessFacts
from isthmus.rpc.registration import GuardedRegistrar, ReflectionRegistrar, UnknownMethods
from isthmus.rpc.validation import RequestValidator
from isthmus.tracing import Spans

MAX_MESSAGE_BYTES: Final = 4 << 20
# Below the 5 minutes after which most firewalls and load balancers forget a silent connection.
_PENDING: Final = 8
_KEEPALIVE_MS: Final = 120_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000
_MIN_CLIENT_PING_MS: Final = 30_000
# A connection keeps the certificate of its handshake, so none may live much longer than a certificate is trusted.
_MAX_CONNECTION_AGE_MS: Final = 3_600_000
_CONNECTION_GRACE_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer and the generated function that registers it, such as `add_CatalogServiceServicer_to_server`."""

    servicer: object
    add_to_server: Callable[[Any, Any], None]


class RunningServer:
    """A server that is bound to `port`; it accepts calls between `start()` and `stop()`."""

    def __init__(self, server: grpc.Server, health_servicer: Any, services: Sequence[str], port: int) -> None:
        self._server = server
        self._health = health_servicer
        self._services = ("", *services)
        self.port = port

    def start(self) -> None:
        """Accepts calls; health says SERVING."""
        self._server.start()
        self.set_serving(True)

    def set_serving(self, serving: bool) -> None:
        """Tells health checks whether to send calls here; calls are answered either way."""
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if serving else statuses.NOT_SERVING
        for service in self._services:
            self._health.set(service, status)

    def stop(self, grace: float | None = 5.0) -> None:
        """Refuses new calls, lets those under way end within `grace` seconds, then cancels them; returns after."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until the server has stopped, or for `timeout` seconds; returns whether it still runs."""
        return bool(self._server.wait_for_termination(timeout))


def build_server(
    *,
    services: Sequence[Service],
    credentials: Credentials,
    trust_domain: str,
    clock: Callable[[], datetime],
    registry: CollectorRegistry,
    address: str,
    authorise: Authoriser,
    threads: int = 64,
    max_concurrent: int = 512,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    default_deadline_s: float = 30.0,
    so_reuseport: bool = False,
    log: structlog.typing.FilteringBoundLogger | None = None,
    spans: Spans | None = None,
) -> RunningServer:
    """Builds a server and binds it; call `start()` next.

    Args:
        services: what it serves; health and reflection come on top.
        credentials: its own, and the authorities whose clients it accepts.
        trust_domain: the only trust domain whose identities it accepts.
        clock: returns the present time, UTC-aware.
        registry: receives the `grpc_server_*` metrics, and what the process says about itself.
        address: such as `127.0.0.1:0` (port 0 takes a free one) or `[::]:8443`.
        authorise: who may call what; asked before a request is validated.
        threads: how many, so calls worked on at once.
        max_concurrent: calls accepted at once, the waiting ones included; more are RESOURCE_EXHAUSTED.
        max_message_bytes: of one request or response.
        default_deadline_s: what a unary call gets when its caller sets no deadline.
        so_reuseport: whether several processes may bind the same port.
        log: for unforeseen faults; the process's own unless given.
        spans: takes a span of every call; for services that do not tell themselves what they did.

    Raises:
        OSError: the address cannot be bound.
    """
    peers = PeerResolver(trust_domain, clock)
    guard = Guard(
        peers=peers,
        authorise=authorise,
        validator=RequestValidator(),
        clock=clock,
        default_deadline=timedelta(seconds=default_deadline_s),
        log=log or logger("rpc"),
        spans=spans,
    )
    server = grpc.server(
        WorkerPool(threads, "rpc"),  # type: ignore[arg-type]  # gRPC only submits
        options=_options(max_message_bytes, max_concurrent, so_reuseport=so_reuseport),
        maximum_concurrent_rpcs=max_concurrent,
    )
    names = _register(server, services, guard, RpcMetrics(registry))
    ProcessFacts(registry, credentials, credentials.identity(trust_domain))
    health_servicer = _add_health_and_reflection(server, names, peers)
    server.add_generic_rpc_handlers((UnknownMethods(),))
    return RunningServer(server, health_servicer, names, _bind(server, address, credentials))


def _register(
    server: grpc.Server, services: Sequence[Service], guard: Guard, metrics: RpcMetrics
) -> list[str]:
    registrar = GuardedRegistrar(server, guard, metrics)
    for service in services:
        service.add_to_server(service.servicer, registrar)
    return registrar.services


def _add_health_and_reflection(server: grpc.Server, names: Sequence[str], peers: PeerResolver) -> Any:
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    registrar: Any = ReflectionRegistrar(server, peers)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), registrar)
    return servicer


def _options(max_message_bytes: int, max_concurrent: int, *, so_reuseport: bool) -> list[tuple[str, int]]:
    return [
        # What gRPC has not handed over yet; beyond its own limit of 1,000 it drops calls as CANCELLED, which nobody
        # retries.
        ("grpc.server.max_pending_requests", _PENDING * max_concurrent),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING * max_concurrent),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.so_reuseport", int(so_reuseport)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_CLIENT_PING_MS),
        ("grpc.max_connection_age_ms", _MAX_CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE_MS),
    ]


def _bind(server: grpc.Server, address: str, credentials: Credentials) -> int:
    try:
        return server.add_secure_port(address, credentials.server_credentials())
    except RuntimeError:
        raise OSError(f"cannot listen on {address}: the port is taken or the address is not ours") from None
