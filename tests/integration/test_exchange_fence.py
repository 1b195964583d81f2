"""Withdrawal is a fence: what is withdrawn while an exchange is under way is not released, and the rows are dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.denylist import deny_certificate
from isthmus.errors import Denied, IsthmusError, Reason
from isthmus.terms import rfc3339, terms_to_document
from isthmus.v1 import catalog_service_pb2_grpc
from isthmus.v1.catalog_service_pb2 import RetireDatasetRequest
from tests.integration.exchange_nodes import Gate
from tests.integration.exchange_parties import NODE, OPERATOR, PERSON, PROVIDER, SYSTEM, now
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def while_under_way(world: World, act: Callable[[], Any], *, case: str = "") -> IsthmusError:
    """Starts a query, acts while the provider's database works on it, and returns what the query was refused with."""
    assert world.node is not None
    gate = Gate(world.node)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(world.query, case=case)
        assert gate.arrived.wait(20)
        try:
            act()
        finally:
            gate.opened.set()
        error = asked.exception(timeout=20)
    assert isinstance(error, IsthmusError)
    return error


def test_a_consent_withdrawn_between_fetch_and_release_drops_the_rows(world: World) -> None:
    consent = world.consent(world.agree())
    withdrawn = []
    error = while_under_way(world, lambda: withdrawn.append(world.withdraw(consent)))
    assert isinstance(error, Denied) and error.reasons == (Reason.CONSENT_WITHDRAWN,)
    record = world.sole_decision()
    assert (record.decision, record.row_count, record.fields) == ("DENY", 0, ())
    assert record.base is not None and record.base > withdrawn[0].position
    assert "fetched" in record.at, "the provider had answered"


def test_a_contract_suspended_on_the_way_drops_the_rows(world: World) -> None:
    contract = world.agree()
    world.consent(contract)
    error = while_under_way(world, lambda: world.suspend(contract))
    assert error.reasons == (Reason.CONTRACT_SUSPENDED,)
    assert world.sole_decision().decision == "DENY"


def test_a_caller_denied_on_the_way_gets_nothing(world: World) -> None:
    world.consent(world.agree())
    thumbprint = world.credentials(SYSTEM).thumbprint
    error = while_under_way(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "lost", OPERATOR)
    )
    assert error.reasons == (Reason.CREDENTIAL_DENIED,)
    assert world.sole_decision().certificate == thumbprint


def test_a_node_denied_on_the_way_is_not_believed(world: World) -> None:
    world.consent(world.agree())
    thumbprint = world.credentials(NODE).thumbprint
    error = while_under_way(
        world, lambda: deny_certificate(world.gateway.ledger, thumbprint, "stolen", OPERATOR)
    )
    assert error.reasons == (Reason.DEPARTMENT_MISBEHAVED,)
    assert world.sole_decision().decision == "ERROR"


def test_a_dataset_retired_on_the_way_drops_the_rows(world: World) -> None:
    world.consent(world.agree())
    request = RetireDatasetRequest(name=PERSON, reason="停用")
    error = while_under_way(
        world,
        lambda: world.call(catalog_service_pb2_grpc.CatalogServiceStub, PROVIDER, "RetireDataset", request),
    )
    assert Reason.DATASET_UNAVAILABLE in error.reasons
    assert world.sole_decision().decision == "DENY"


def test_rows_granted_under_other_terms_are_not_released_under_new_ones(world: World) -> None:
    """The new version hides a field that was fetched in plain."""
    contract = world.agree(legal_basis="PUBLIC_TASK")
    document = terms_to_document(contract.terms)
    document["fields"] = [{"name": "姓名", "transform": "mask:1"}, {"name": "income", "transform": "hash"}]
    document["not_before"] = rfc3339(now())
    error = while_under_way(world, lambda: world.renew(contract, document), case="1")
    assert error.reasons == (Reason.CONTRACT_ENDED,)
    assert "another version" in error.message


def test_no_allow_follows_a_withdrawal_whatever_runs_at_the_same_time(world: World) -> None:
    """Callers ask all the time while the person withdraws; every ALLOW stands before the withdrawal."""
    consent = world.consent(world.agree())
    stop = threading.Event()

    def ask() -> int:
        answers = 0
        while not stop.is_set():
            try:
                answers += world.query().subject_known
            except Denied:
                pass
        return answers

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            until(world, 20, asking)
            position = world.withdraw(consent).position
            until(world, world.size() + 20, asking)
        finally:
            stop.set()
        answers = sum(each.result(timeout=20) for each in asking)
    allows = [record for record in world.decisions() if record.decision == "ALLOW"]
    denies = [record for record in world.decisions() if record.decision == "DENY"]
    assert len(allows) == answers and denies
    # `base` is the size of the log when the transaction began: an ALLOW above the withdrawal would show one.
    assert all(record.base is not None and record.base <= position for record in allows)


def until(world: World, size: int, asking: list[Future[int]]) -> None:
    """Returns once the log holds so many records."""
    while world.size() < size:
        assert not any(each.done() for each in asking)
        time.sleep(0.01)
