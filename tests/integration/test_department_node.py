"""A real node on a real socket: mutual TLS, roles, health, a database that goes away, the process and SIGTERM."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from isthmus.errors import IsthmusError
from isthmus.identity import Identity, Role
from isthmus.ids import new_exchange, uuid7
from isthmus.pki import Authority, Credentials, create_authority, load_credentials, pinned_to
from isthmus.pki.store import save_authority, save_issued
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, sign
from isthmus.status import from_rpc_error
from isthmus.terms import rfc3339
from isthmus.v1 import department_service_pb2 as department
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceStub
from services.manifest_file import load_manifest
from services.node import Node, NodeError

pytestmark = pytest.mark.integration

DOMAIN = "data.example"
NODE = Identity(DOMAIN, Role.NODE, "civil-registry", "n1")
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
SUBJECT = "11010119900307231X"
OTHERS = [
    Identity(DOMAIN, Role.SYSTEM, "education", "enrolment"),
    Identity(DOMAIN, Role.NODE, "civil-registry", "n1"),
    Identity(DOMAIN, Role.OFFICER, "civil-registry", "wang"),
    Identity(DOMAIN, Role.AUDIT, None, "a"),
    Identity(DOMAIN, Role.AUDITOR, None, "a"),
    Identity(DOMAIN, Role.OPERATOR, None, "o"),
    Identity(DOMAIN, Role.PORTAL, None, "p"),
]
MANIFEST = """
[department]
name = "civil-registry"
title = "民政局"
[server]
trust_domain = "data.example"
address = "127.0.0.1:0"
certificate = "{node}.pem"
key = "{node}.key"
ca = "ca.pem"
metrics = "{metrics}"
hash_key = "hash.key"
[source]
url = "sqlite:///people.db"
[[dataset]]
id = "person"
title = "人口基础信息"
table = "人口"
sharing_class = "unconditional"
subject = {{ column = "身份证号", scheme = "cn.resident-id" }}
[[dataset.field]]
name = "name"
column = "姓名"
type = "string"
transforms = ["mask:1"]
"""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Place:
    """A folder with an authority, a manifest and a database."""

    folder: Path
    authority: Authority

    def credentials(self, identity: Identity) -> Credentials:
        folder = self.folder / identity.resource.replace("/", "-")
        pem, key = save_issued(folder, identity, self.authority.issue(identity, now=now()), force=True)
        return load_credentials(pem, key, self.folder / "ca.pem")

    def grant(self, subject: str = SUBJECT, **changes: Any) -> str:
        at = now()
        payload = {
            "grant": uuid7(at),
            "department": "departments/civil-registry",
            "issued_at": rfc3339(at),
            "expires_at": rfc3339(at + timedelta(seconds=30)),
            "items": [
                {
                    "exchange": str(new_exchange(at)),
                    "mode": "QUERY",
                    "consumer": "departments/education",
                    "system": "departments/education/systems/enrolment",
                    "contract": "contracts/edu-person@1",
                    "terms_digest": "0" * 64,
                    "dataset": "departments/civil-registry/datasets/person",
                    "purpose": "入学资格审核",
                    "fields": [{"name": "name", "transform": "mask:1"}],
                    "row_filters": [],
                    "subjects": [{"scheme": "cn.resident-id", "id": subject, "token": "1." + "0" * 32}],
                    "predicate": None,
                }
            ],
        }
        return sign(payload | changes, StatementKind.GRANT, self.credentials(GATEWAY))

    @contextmanager
    def call(self, port: int, identity: Identity = GATEWAY) -> Iterator[grpc.Channel]:
        credentials = self.credentials(identity)
        address = f"127.0.0.1:{port}"
        with grpc.secure_channel(
            address, credentials.channel_credentials(), options=pinned_to(NODE)
        ) as channel:
            yield channel

    def fetch(self, port: int, token: str) -> department.FetchResponse:
        with self.call(port) as channel:
            stub = DepartmentServiceStub(channel)
            return stub.Fetch(department.FetchRequest(grant=token), timeout=20)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    authority = create_authority(DOMAIN, now=now())
    save_authority(tmp_path, authority, force=False)
    pem, _ = save_issued(tmp_path, NODE, authority.issue(NODE, now=now()), force=False)
    text = MANIFEST.format(node=pem.stem, metrics="127.0.0.1:0")
    (tmp_path / "department.toml").write_text(text, encoding="utf-8")
    (tmp_path / "hash.key").write_text("00" * 32 + "\n")
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.execute("CREATE TABLE 人口 (身份证号 TEXT PRIMARY KEY, 姓名 TEXT)")
        connection.execute("INSERT INTO 人口 VALUES (?, '王小明')", (SUBJECT,))
    connection.close()
    return Place(tmp_path, authority)


@contextmanager
def running(place: Place) -> Iterator[Node]:
    manifest = load_manifest(place.folder / "department.toml", environ={})
    node = Node(manifest, clock=now, registry=CollectorRegistry(), check_seconds=0.05)
    node.start()
    try:
        yield node
    finally:
        node.stop(grace=2.0)


def error_of(call: Any) -> IsthmusError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return from_rpc_error(error.value)


def health(channel: grpc.Channel) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="isthmus.v1.DepartmentService")
    return int(stub.Check(request, timeout=5).status)


def wait_for_health(channel: grpc.Channel, status: int) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="isthmus.v1.DepartmentService")
    for answer in stub.Watch(request, timeout=20):
        if answer.status == status:
            return


def test_a_gateway_gets_what_it_is_granted_and_no_more(place: Place) -> None:
    with running(place) as node:
        response = place.fetch(node.port, place.grant())
        with place.call(node.port) as channel:
            described = DepartmentServiceStub(channel).Describe(department.DescribeRequest(), timeout=20)
    (outcome,) = response.outcomes
    assert outcome.row_count == 1 and "**明".encode() in outcome.row_set
    assert "王小明".encode() not in response.SerializeToString()
    assert [dataset.name for dataset in described.datasets] == ["departments/civil-registry/datasets/person"]


@pytest.mark.parametrize("identity", OTHERS, ids=lambda identity: identity.role.value)
def test_nobody_but_a_gateway_may_call_a_node_even_with_a_good_grant(
    place: Place, identity: Identity
) -> None:
    token = place.grant()
    with running(place) as node, place.call(node.port, identity) as channel:
        stub = DepartmentServiceStub(channel)
        calls = [
            lambda: stub.Fetch(department.FetchRequest(grant=token), timeout=20),
            lambda: stub.Describe(department.DescribeRequest(), timeout=20),
            lambda: list(stub.StreamRows(department.StreamRowsRequest(grant=token), timeout=20)),
        ]
        assert [error_of(call).reason for call in calls] == [Reason.ROLE_NOT_ALLOWED] * 3
        assert list(node.journal.entries()) == []


def test_another_gateway_cannot_use_a_grant_it_did_not_sign(place: Place) -> None:
    other = Identity(DOMAIN, Role.GATEWAY, None, "other")
    with running(place) as node, place.call(node.port, other) as channel:
        stub = DepartmentServiceStub(channel)
        error = error_of(lambda: stub.Fetch(department.FetchRequest(grant=place.grant()), timeout=20))
    assert error.reason is Reason.GRANT_INVALID and "gateways/other" in error.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"department": "departments/health"}, "another node"),
        ({"issued_at": "2020-01-01T00:00:00Z", "expires_at": "2020-01-01T00:00:30Z"}, "expired"),
    ],
)
def test_a_stale_or_misdirected_grant_is_refused(place: Place, changes: dict[str, Any], words: str) -> None:
    with running(place) as node:
        error = error_of(lambda: place.fetch(node.port, place.grant(**changes)))
    assert error.reason is Reason.GRANT_INVALID and words in error.message


def test_no_grant_is_an_invalid_request_and_a_forged_one_is_denied(place: Place) -> None:
    with running(place) as node:
        assert error_of(lambda: place.fetch(node.port, "")).reason is Reason.INVALID_ARGUMENT
        header, _, rest = place.grant().partition(".")
        forged = f"{header}.{rest[:-8]}AAAAAAAA"
        assert error_of(lambda: place.fetch(node.port, forged)).reason is Reason.GRANT_INVALID


def test_a_grant_replayed_by_many_at_once_is_served_once_and_never_after_a_restart(place: Place) -> None:
    token = place.grant()

    def attempt(port: int) -> bool:
        try:
            return bool(place.fetch(port, token).outcomes)
        except grpc.RpcError as error:
            assert from_rpc_error(error).reason is Reason.GRANT_INVALID
            return False

    place.credentials(GATEWAY)
    with running(place) as node, place.call(node.port) as channel, ThreadPoolExecutor(8) as pool:
        stub = DepartmentServiceStub(channel)
        request = department.FetchRequest(grant=token)
        barrier = threading.Barrier(8)

        def race(_: int) -> bool:
            barrier.wait()
            try:
                return bool(stub.Fetch(request, timeout=20).outcomes)
            except grpc.RpcError as error:
                assert from_rpc_error(error).reason is Reason.GRANT_INVALID
                return False

        assert sum(pool.map(race, range(8))) == 1
    with running(place) as node:
        assert attempt(node.port) is False
        assert len(list(node.journal.entries())) == 1


def test_streams_are_part_of_the_api_and_not_served(place: Place) -> None:
    with running(place) as node, place.call(node.port) as channel:
        stub = DepartmentServiceStub(channel)
        error = error_of(lambda: list(stub.StreamRows(department.StreamRowsRequest(grant="x"), timeout=20)))
    assert error.reason is Reason.UNIMPLEMENTED and "StreamRows" in error.message


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
