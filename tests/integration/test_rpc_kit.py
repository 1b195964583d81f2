"""A real server of the kit on a real socket with real certificates: who gets in, what they learn, what is logged."""

import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from isthmus.errors import IsthmusError, NotFound, PermissionDenied, Reason
from isthmus.identity import Identity, Role
from isthmus.log import redact
from isthmus.pki import Authority, Credentials, Issued, create_authority, load_credentials, pinned_to
from isthmus.pki.store import save_authority, save_issued
from isthmus.rpc import Caller, RunningServer, Service, build_server, caller, metrics_server
from isthmus.status import from_rpc_error
from isthmus.v1 import catalog_service_pb2 as catalog
from isthmus.v1 import catalog_service_pb2_grpc as catalog_grpc
from isthmus.v1 import exchange_service_pb2 as exchange
from isthmus.v1 import exchange_service_pb2_grpc as exchange_grpc

pytestmark = pytest.mark.integration

DOMAIN = "data.example"
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")
OPERATOR = Identity(DOMAIN, Role.OPERATOR, None, "night-shift")
SECRET = "110101199003072316"


class Catalog(catalog_grpc.CatalogServiceServicer):
    """Answers with what the kit told it about the caller."""

    def __init__(self) -> None:
        self.seen: list[Caller] = []

    def GetDataset(
        self, request: catalog.GetDatasetRequest, context: grpc.ServicerContext
    ) -> catalog.GetDatasetResponse:
        self.seen.append(caller(context))
        if request.name == "departments/a/datasets/missing":
            raise NotFound(request.name)
        if request.name == "departments/a/datasets/broken":
            raise ValueError(f"no row for {SECRET}")
        return catalog.GetDatasetResponse(dataset=catalog.Dataset(name=request.name, title="人口基础信息"))


class Exchange(exchange_grpc.ExchangeServiceServicer):
    """Streams forever, or until somebody stops it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.seen: list[Caller] = []

    def Stream(
        self, request: exchange.StreamRequest, context: grpc.ServicerContext
    ) -> Iterator[exchange.StreamResponse]:
        self.seen.append(caller(context))
        try:
            yield exchange.StreamResponse(exchange="exchanges/1")
            if request.resume_token == "break":
                raise PermissionDenied(
                    Reason.CONTRACT_SUSPENDED, "suspended meanwhile", exchange="exchanges/1"
                )
            while request.resume_token == "forever":
                yield exchange.StreamResponse(arrow=b"x" * 65536)
        finally:
            self.ended.set()


def authorise(identity: Identity, method: str) -> None:
    if identity.role is Role.OPERATOR:
        raise PermissionDenied(Reason.ROLE_NOT_ALLOWED, f"an operator may not call {method}")


@dataclass
class World:
    """A certification authority, a server, and ways to call it."""

    authority: Authority
    folder: Path
    server: RunningServer
    catalog: Catalog
    exchange: Exchange
    registry: CollectorRegistry
    log: io.StringIO
    stack: ExitStack

    def credentials(self, identity: Identity, issued: Issued | None = None) -> Credentials:
        folder = self.folder / identity.name
        made = issued or self.authority.issue(identity, now=datetime.now(UTC))
        certificate, key = save_issued(folder, identity, made, force=True)
        return load_credentials(certificate, key, self.folder / "ca.pem")

    def channel(self, credentials: Credentials) -> grpc.Channel:
        channel = grpc.secure_channel(
            f"127.0.0.1:{self.server.port}", credentials.channel_credentials(), options=pinned_to(GATEWAY)
        )
        return self.stack.enter_context(channel)

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(metric, labels)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = create_authority(DOMAIN, now=datetime.now(UTC))
    save_authority(tmp_path, authority)
    issued = authority.issue(GATEWAY, now=datetime.now(UTC))
    paths = save_issued(tmp_path, GATEWAY, issued)
    registry, output = CollectorRegistry(), io.StringIO()
    servicer, exchanges = Catalog(), Exchange()  # type: ignore[abstract]  # the rest are not called
    processors: list[Any] = [redact, structlog.processors.JSONRenderer()]
    log: Any = structlog.wrap_logger(structlog.PrintLogger(output), processors=processors)
    server = build_server(
        services=[
            Service(servicer, catalog_grpc.add_CatalogServiceServicer_to_server),
            Service(exchanges, exchange_grpc.add_ExchangeServiceServicer_to_server),
        ],
        credentials=load_credentials(*paths, tmp_path / "ca.pem"),
        trust_domain=DOMAIN,
        clock=lambda: datetime.now(UTC),
        registry=registry,
        address="127.0.0.1:0",
        authorise=authorise,
        workers=8,
        log=log,
    )
    server.start()
    with ExitStack() as stack:
        yield World(authority, tmp_path, server, servicer, exchanges, registry, output, stack)
    server.stop(0)


def get(channel: grpc.Channel, name: str, **options: Any) -> catalog.GetDatasetResponse:
    return catalog_grpc.CatalogServiceStub(channel).GetDataset(
        catalog.GetDatasetRequest(name=name), **{"timeout": 30, **options}
    )


def refused(channel: grpc.Channel, name: str, **options: Any) -> IsthmusError:
    with pytest.raises(grpc.RpcError) as caught:
        get(channel, name, **options)
    return from_rpc_error(caught.value)


def raw(channel: grpc.Channel, method: str) -> IsthmusError:
    """Calls a method with bytes that are no message."""
    call: Any = channel
    with pytest.raises(grpc.RpcError) as caught:
        call.unary_unary(method)(b"\xff\xff", timeout=30)
    return from_rpc_error(caught.value)


def test_a_handler_learns_its_caller_from_the_certificate_and_never_from_metadata(world: World) -> None:
    credentials = world.credentials(SYSTEM)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lies = [("traceparent", trace), ("x-identity", OPERATOR.uri), ("_isthmus_caller", OPERATOR.uri)]
    answer = get(world.channel(credentials), "departments/a/datasets/person", metadata=lies)
    assert answer.dataset.title == "人口基础信息"
    seen = world.catalog.seen[0]
    assert (seen.identity, seen.thumbprint) == (SYSTEM, credentials.thumbprint)
    assert seen.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert seen.deadline is not None
    assert timedelta(0) < seen.deadline - datetime.now(UTC) < timedelta(seconds=30)


def test_a_caller_without_a_deadline_is_given_one_for_a_unary_call_and_none_for_a_stream(
    world: World,
) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    get(channel, "departments/a/datasets/person", timeout=None)
    deadline = world.catalog.seen[0].deadline
    assert deadline is not None
    assert timedelta(seconds=20) < deadline - datetime.now(UTC) <= timedelta(seconds=30)
    list(exchange_grpc.ExchangeServiceStub(channel).Stream(stream_request()))
    assert world.exchange.seen[0].deadline is None


def test_a_certificate_with_two_uris_is_nobody(world: World) -> None:
    issued = two_uris(world.authority, SYSTEM, OPERATOR)
    error = refused(world.channel(world.credentials(SYSTEM, issued)), "departments/a/datasets/person")
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, Reason.IDENTITY_INVALID)
    assert world.catalog.seen == []


def test_without_a_certificate_there_is_no_connection(world: World) -> None:
    ca = (world.folder / "ca.pem").read_bytes()
    channel = grpc.secure_channel(
        f"127.0.0.1:{world.server.port}", grpc.ssl_channel_credentials(ca), options=pinned_to(GATEWAY)
    )
    with channel:
        error = refused(channel, "departments/a/datasets/person")
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert world.catalog.seen == []


def test_a_role_that_may_not_call_is_told_so_before_its_request_is_looked_at(world: World) -> None:
    channel = world.channel(world.credentials(OPERATOR))
    error = refused(channel, "x" * 1000)
    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.ROLE_NOT_ALLOWED)
    assert error.violations == ()
    assert raw(channel, "/isthmus.v1.CatalogService/GetDataset").reason is Reason.ROLE_NOT_ALLOWED


def test_a_bad_request_names_every_field_that_is_wrong_and_repeats_no_value(world: World) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    bad = exchange.StreamRequest(fields=["", SECRET, SECRET])
    with pytest.raises(grpc.RpcError) as caught:
        list(exchange_grpc.ExchangeServiceStub(channel).Stream(bad, timeout=30))
    error = from_rpc_error(caught.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {each.field for each in error.violations} == {"context", "fields", "fields[0]"}
    assert SECRET not in str(caught.value)
    assert world.exchange.seen == []


def test_bytes_that_are_no_message_are_the_callers_fault(world: World) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    assert raw(channel, "/isthmus.v1.CatalogService/GetDataset").reason is Reason.INVALID_ARGUMENT


def test_an_unknown_method_is_unimplemented_with_a_reason(world: World) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    for method in ("/isthmus.v1.CatalogService/Guess", "/other.Service/Guess"):
        error = raw(channel, method)
        assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, Reason.UNIMPLEMENTED)
        # Only an ErrorInfo carries metadata; gRPC's own answer has none.
        assert "method" in error.metadata


def test_an_unforeseen_fault_is_opaque_outside_and_logged_without_its_text(world: World) -> None:
    error = refused(world.channel(world.credentials(SYSTEM)), "departments/a/datasets/broken")
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, Reason.INTERNAL)
    assert "row" not in error.message
    line = json.loads(world.log.getvalue())
    assert line["fault"] == error.metadata["fault"]
    assert line["exception"] == "ValueError"
    assert any("GetDataset" in frame for frame in line["frames"])
    assert SECRET not in world.log.getvalue()


def test_a_typed_refusal_arrives_as_the_same_type(world: World) -> None:
    error = refused(world.channel(world.credentials(SYSTEM)), "departments/a/datasets/missing")
    assert isinstance(error, NotFound)
    assert error.metadata["resource"] == "departments/a/datasets/missing"


def test_a_refusal_in_the_middle_of_a_stream_carries_its_reason(world: World) -> None:
    stub = exchange_grpc.ExchangeServiceStub(world.channel(world.credentials(SYSTEM)))
    call: Any = stub.Stream(stream_request("break"), timeout=30)
    assert next(call).exchange == "exchanges/1"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    error = from_rpc_error(caught.value)
    assert (error.reason, error.exchange) == (Reason.CONTRACT_SUSPENDED, "exchanges/1")


def test_a_stream_ends_when_its_caller_gives_up_and_is_counted_as_cancelled(world: World) -> None:
    stub = exchange_grpc.ExchangeServiceStub(world.channel(world.credentials(SYSTEM)))
    call: Any = stub.Stream(stream_request("forever"), timeout=30)
    next(call)
    call.cancel()
    assert world.exchange.ended.wait(10)
    world.server.stop(5)
    labels = {
        "grpc_type": "server_stream",
        "grpc_service": "isthmus.v1.ExchangeService",
        "grpc_method": "Stream",
    }
    assert world.value("grpc_server_handled_total", grpc_code="Canceled", **labels) == 1


def test_every_call_is_counted_by_how_it_ended(world: World) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    get(channel, "departments/a/datasets/person")
    refused(channel, "departments/a/datasets/missing")
    labels = {"grpc_type": "unary", "grpc_service": "isthmus.v1.CatalogService", "grpc_method": "GetDataset"}
    assert world.value("grpc_server_started_total", **labels) == 2
    assert world.value("grpc_server_handled_total", grpc_code="OK", **labels) == 1
    assert world.value("grpc_server_handled_total", grpc_code="NotFound", **labels) == 1
    assert world.value("grpc_server_handled_total", grpc_code="Internal", **labels) == 0
    assert world.value("grpc_server_handling_seconds_count", **labels) == 2


def test_health_and_reflection_are_on_every_server(world: World) -> None:
    channel = world.channel(world.credentials(OPERATOR))
    health = health_pb2_grpc.HealthStub(channel)
    service = "isthmus.v1.CatalogService"
    request = health_pb2.HealthCheckRequest(service=service)
    assert health.Check(request, timeout=30).status == health_pb2.HealthCheckResponse.SERVING
    world.server.set_serving(False)
    assert health.Check(request, timeout=30).status == health_pb2.HealthCheckResponse.NOT_SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    names = [each.name for each in next(stub.ServerReflectionInfo(asked)).list_services_response.service]
    assert service in names


def test_reflection_streams_cannot_hold_every_worker(world: World) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(world.channel(world.credentials(SYSTEM)))
    never = threading.Event()
    released: list[threading.Event] = [never]

    def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        released[0].wait(30)

    calls = [stub.ServerReflectionInfo(requests()) for _ in range(4)]
    for call in calls:
        next(call)
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.ServerReflectionInfo(requests()))
    assert from_rpc_error(caught.value).reason is Reason.OVERLOADED
    never.set()
    for call in calls:
        call.cancel()


def test_metrics_and_readiness_are_served_over_plain_http(world: World) -> None:
    ready = [True]
    with metrics_server(world.registry, "127.0.0.1", 0, ready=lambda: ready[0]) as server:
        base = f"http://127.0.0.1:{server.port}"
        with urllib.request.urlopen(f"{base}/metrics", timeout=30) as answer:
            assert b"grpc_server_started_total" in answer.read()
        with urllib.request.urlopen(f"{base}/healthz", timeout=30) as answer:
            assert answer.status == 200
        ready[0] = False
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{base}/healthz", timeout=30)
        assert caught.value.code == 503
        caught.value.close()


def test_a_port_that_is_taken_is_an_error_that_names_it(world: World) -> None:
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{world.server.port}"):
        build_server(
            services=[],
            credentials=world.credentials(GATEWAY),
            trust_domain=DOMAIN,
            clock=lambda: datetime.now(UTC),
            registry=CollectorRegistry(),
            address=f"127.0.0.1:{world.server.port}",
            authorise=authorise,
        )


def stream_request(resume_token: str = "") -> exchange.StreamRequest:
    context = exchange.ExchangeContext(contract="contracts/c", purpose="入学审核")
    return exchange.StreamRequest(context=context, fields=["姓名"], resume_token=resume_token)


def two_uris(authority: Authority, first: Identity, second: Identity) -> Issued:
    """A certificate that gRPC accepts and Isthmus must not: two SPIFFE URIs in one."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(each.uri) for each in (first, second)]
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)
