"""A real node on a real socket: who may call it over mutual TLS, and which grants it serves, once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from isthmus.identity import Identity, Role
from isthmus.reasons import Reason
from isthmus.status import from_rpc_error
from isthmus.v1 import department_service_pb2 as department
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceStub
from tests.integration.department_world import DOMAIN, GATEWAY, Place, error_of, place_in, running

pytestmark = pytest.mark.integration

OTHERS = [
    Identity(DOMAIN, Role.SYSTEM, "education", "enrolment"),
    Identity(DOMAIN, Role.NODE, "civil-registry", "n1"),
    Identity(DOMAIN, Role.OFFICER, "civil-registry", "wang"),
    Identity(DOMAIN, Role.AUDIT, None, "a"),
    Identity(DOMAIN, Role.AUDITOR, None, "a"),
    Identity(DOMAIN, Role.OPERATOR, None, "o"),
    Identity(DOMAIN, Role.PORTAL, None, "p"),
]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


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
