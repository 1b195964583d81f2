"""A node from start to end: its health, a database that goes away, metrics, the process and SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from isthmus.reasons import Reason
from services.node import NodeError
from tests.integration.department_world import SUBJECT, Place, error_of, place_in, running

pytestmark = pytest.mark.integration


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


def health(channel: grpc.Channel) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="isthmus.v1.DepartmentService")
    return int(stub.Check(request, timeout=5).status)


def wait_for_health(channel: grpc.Channel, status: int) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="isthmus.v1.DepartmentService")
    for answer in stub.Watch(request, timeout=90):
        if answer.status == status:
            return


def test_while_the_database_is_down_the_node_stays_up_and_says_so(place: Place) -> None:
    database = place.folder / "people.db"
    with running(place) as node, place.call(node.port) as channel:
        assert health(channel) == health_pb2.HealthCheckResponse.SERVING
        database.rename(database.with_suffix(".away"))
        error = error_of(lambda: place.fetch(node.port, place.grant()))
        assert error.reason is Reason.DEPARTMENT_UNAVAILABLE and error.retry_after
        wait_for_health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
        database.with_suffix(".away").rename(database)
        wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING)
        assert place.fetch(node.port, place.grant()).outcomes[0].row_count == 1


def test_a_node_starts_without_its_database_and_serves_once_it_is_there(place: Place) -> None:
    database = place.folder / "people.db"
    database.rename(database.with_suffix(".away"))
    with running(place) as node, place.call(node.port) as channel:
        assert health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        database.with_suffix(".away").rename(database)
        wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING)
        assert place.fetch(node.port, place.grant()).outcomes[0].row_count == 1


def test_metrics_readiness_and_reflection(place: Place) -> None:
    with running(place) as node, place.call(node.port) as channel:
        place.fetch(node.port, place.grant())
        assert node._metrics_server is not None
        base = f"http://127.0.0.1:{node._metrics_server.port}"
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        with urllib.request.urlopen(f"{base}/healthz", timeout=5) as answer:
            assert answer.status == 200
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (listed,) = list(stub.ServerReflectionInfo(iter([request]), timeout=5))
    line = 'isthmus_department_items_total{dataset="person",mode="QUERY",outcome="served"} 1.0'
    assert line in text and "isthmus_department_source_up 1.0" in text and SUBJECT not in text
    names = [service.name for service in listed.list_services_response.service]
    assert "isthmus.v1.DepartmentService" in names


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("civil-registry", "health", "a node of health is needed"),
        ('hash_key = "hash.key"', 'hash_key = "ca.pem"', "64 hexadecimal digits"),
        ('ca = "ca.pem"', 'ca = "gone.pem"', "gone.pem"),
        ('trust_domain = "data.example"', 'trust_domain = "other.example"', "trust domain"),
        ("127.0.0.1:0", "203.0.113.1:1", "cannot listen"),
    ],
)
def test_a_node_that_cannot_be_itself_does_not_start(place: Place, old: str, new: str, words: str) -> None:
    path = place.folder / "department.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(NodeError, match=words), running(place):
        pass


def test_the_process_ends_in_order_when_it_is_asked_to(place: Place) -> None:
    program = (
        "import typer; from isthmus.cli.department import department; "
        "app = typer.Typer(); app.command()(department); app()"
    )
    arguments = [sys.executable, "-c", program, "--config", str(place.folder / "department.toml")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if '"serving"' in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_process_that_cannot_start_says_why_in_words(place: Place) -> None:
    (place.folder / "department.toml").write_text("[department]\nname = 'a'\n")
    program = (
        "import typer; from isthmus.cli.department import department; "
        "app = typer.Typer(); app.command()(department); app()"
    )
    arguments = [sys.executable, "-c", program, "--config", str(place.folder / "department.toml")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        arguments, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "[department], key title: is missing" in ended.stderr and "Traceback" not in ended.stderr
