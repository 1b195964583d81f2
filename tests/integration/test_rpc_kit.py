"""A server of the kit and its callers: who gets in, what a refusal tells them, what is logged."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.errors import NotFound, Reason
from isthmus.identity import Identity
from isthmus.pki import Authority, Issued, pinned_to
from isthmus.status import from_rpc_error
from isthmus.v1 import exchange_service_pb2 as exchange
from isthmus.v1 import exchange_service_pb2_grpc as exchange_grpc
from tests.integration.rpc_world import (
    GATEWAY,
    OPERATOR,
    SECRET,
    SYSTEM,
    World,
    get,
    raw,
    refused,
    stream_request,
    world_in,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


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


def test_a_method_that_the_service_does_not_serve_yet_says_so(world: World) -> None:
    channel = world.channel(world.credentials(SYSTEM))
    error = raw(channel, "/isthmus.v1.CatalogService/ListDepartments", b"")
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, Reason.UNIMPLEMENTED)
    assert error.metadata["method"] == "isthmus.v1.CatalogService/ListDepartments"


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
