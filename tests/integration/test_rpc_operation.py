"""A server of the kit at work: calls that end and are counted, health, reflection, metrics and its port."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from isthmus.errors import Reason
from isthmus.rpc import build_server, metrics_server
from isthmus.status import from_rpc_error
from isthmus.v1 import exchange_service_pb2_grpc as exchange_grpc
from tests.integration.rpc_world import (
    DOMAIN,
    GATEWAY,
    OPERATOR,
    SYSTEM,
    World,
    authorise,
    get,
    refused,
    stream_request,
    world_in,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


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
