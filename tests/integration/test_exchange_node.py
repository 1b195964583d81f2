"""A department's node that is down, slow or somebody else, and callers who do not wait: one record says what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import ExchangeSection
from isthmus.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    IsthmusError,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from isthmus.identity import Role
from isthmus.v1 import catalog_service_pb2_grpc, exchange_service_pb2_grpc
from isthmus.v1.catalog_service_pb2 import DatasetField, PublishDatasetRequest
from isthmus.v1.common_pb2 import FIELD_TYPE_STRING
from isthmus.v1.department_service_pb2 import FetchResponse
from tests.integration.exchange_nodes import Gate, LyingNode
from tests.integration.exchange_parties import NODE, OTHER_SYSTEM, PROVIDER, SYSTEM, VETERANS, party, query
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

Payload = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def nothing(_: Payload, __: FetchResponse, ___: Payload) -> None:
    """No lie at all."""


def test_a_grant_never_mixes_consumers_and_a_spoilt_one_spoils_nobody_else(world: World) -> None:
    """One outcome of a train is a lie; the others of the same train are answered."""
    world.consent(world.agree(systems=[SYSTEM.resource, OTHER_SYSTEM.resource]))
    barrier, first = threading.Event(), threading.Event()

    def lie(grant: Payload, _: FetchResponse, receipt: Payload) -> None:
        if not first.is_set():
            first.set()
            assert barrier.wait(20)
            return
        for item, each in zip(grant["items"], receipt["outcomes"], strict=True):
            if item["system"] == OTHER_SYSTEM.resource:
                each["digest"] = "00" * 32

    node = LyingNode(world, lie)
    with node.serving(), ThreadPoolExecutor() as pool:
        leader = pool.submit(world.query)
        assert first.wait(20)
        train = {by: pool.submit(world.query, by=by) for by in (SYSTEM, OTHER_SYSTEM)}
        while waiting(world) < 2:
            time.sleep(0.01)
        barrier.set()
        assert leader.result(20).subject_known and train[SYSTEM].result(20).subject_known
        assert isinstance(train[OTHER_SYSTEM].exception(20), Unavailable)
    assert len(node.grants) == 2, "the two who waited travelled together"
    assert sorted(record.decision for record in world.decisions()) == ["ALLOW", "ALLOW", "ERROR"]


def waiting(world: World) -> int:
    network = world.gateway._network
    return sum(len(train._waiting) for train in network._trains.values())


def test_a_department_that_is_down_is_unavailable(world: World) -> None:
    world.consent(world.agree())
    world.stop_node()
    with pytest.raises(Unavailable) as refused:
        world.query()
    assert refused.value.reasons == (Reason.DEPARTMENT_UNAVAILABLE,)
    assert refused.value.retry_after is not None
    record = world.sole_decision()
    assert (record.decision, record.reasons) == ("ERROR", ("DEPARTMENT_UNAVAILABLE",))
    assert record.grpc_code == "UNAVAILABLE"


def test_a_department_without_a_node_is_unavailable(world: World) -> None:
    world.consent(world.agree())
    world.restart_gateway(departments={})
    with pytest.raises(Unavailable) as refused:
        world.query()
    assert refused.value.reasons == (Reason.DEPARTMENT_UNAVAILABLE,)
    assert world.sole_decision().decision == "ERROR"


def test_a_server_that_is_not_the_departments_node_is_not_talked_to(world: World) -> None:
    """The address answers, with a certificate of the same CA, but of another department's node."""
    world.consent(world.agree())
    node = LyingNode(world, nothing)
    other = party(Role.NODE, VETERANS)
    world._credentials[NODE], kept = world.credentials(other), world.credentials(NODE)
    try:
        with node.serving(), pytest.raises(Unavailable) as refused:
            world.query()
    finally:
        world._credentials[NODE] = kept
    assert refused.value.reasons == (Reason.DEPARTMENT_UNAVAILABLE,)
    assert node.grants == [], "no grant, so no identifier, ever reached it"


def test_a_slow_department_times_out(tmp_path: Path) -> None:
    with world_in(tmp_path, exchange=ExchangeSection(fetch_timeout_seconds=0.3)) as world:
        world.consent(world.agree())
        assert world.node is not None
        gate = Gate(world.node)
        with pytest.raises(DeadlineExceeded) as refused:
            world.query()
        gate.opened.set()
        assert refused.value.reasons == (Reason.DEPARTMENT_TIMEOUT,)
        record = world.sole_decision()
        assert (record.decision, record.grpc_code) == ("ERROR", "DEADLINE_EXCEEDED")


def test_one_impatient_caller_does_not_end_the_exchanges_of_its_train(world: World) -> None:
    world.consent(world.agree())
    leading, together, gone = threading.Event(), threading.Event(), threading.Event()

    def hold(grant: Payload, _: FetchResponse, __: Payload) -> None:
        leading.set()
        assert (gone if len(grant["items"]) == 2 else together).wait(20)

    node = LyingNode(world, hold)
    with node.serving(), ThreadPoolExecutor() as pool:
        leader = pool.submit(world.query)
        assert leading.wait(20)
        hasty, patient = pool.submit(world.query, timeout=2), pool.submit(world.query)
        while waiting(world) < 2:
            time.sleep(0.01)
        together.set()
        assert isinstance(hasty.exception(20), DeadlineExceeded)
        gone.set()
        assert leader.result(20).subject_known and patient.result(20).subject_known
    assert [len(grant["items"]) for grant in node.grants] == [1, 2]
    assert len({record.exchange for record in world.decisions()}) == len(world.decisions()) == 3
    [ended] = [record for record in world.decisions() if record.decision == "ERROR"]
    assert ended.reasons == ("DEADLINE_EXCEEDED",)


def test_a_caller_that_gives_up_gets_nothing_and_one_record(world: World) -> None:
    world.consent(world.agree())
    assert world.node is not None
    gate = Gate(world.node)
    stub = exchange_service_pb2_grpc.ExchangeServiceStub(world.channel(SYSTEM))
    call = stub.Query.future(query(), timeout=20)
    assert gate.arrived.wait(20)
    call.cancel()  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    until_gone(world)
    gate.opened.set()
    while not world.decisions():
        time.sleep(0.01)
    record = world.sole_decision()
    assert (record.decision, record.reasons) == ("ERROR", ("CANCELLED",))
    assert (record.row_count, record.grpc_code) == (0, Cancelled(Reason.CANCELLED, "").code.name)


def until_gone(world: World) -> None:
    """Waits until the gateway has noticed that nobody waits any more: no call is under way."""
    label = {"grpc_type": "unary", "grpc_service": "isthmus.v1.ExchangeService", "grpc_method": "Query"}
    while not any(
        sample.value
        for metric in world.registry.collect()
        for sample in metric.samples
        if sample.name == "grpc_server_handled_total"
        and label.items() <= sample.labels.items()
        and sample.labels["grpc_code"] in ("Canceled", "Cancelled")
    ):
        time.sleep(0.01)


def test_too_many_who_wait_are_sent_away_at_once(tmp_path: Path) -> None:
    with world_in(tmp_path, exchange=ExchangeSection(fetch_timeout_seconds=20, waiting=3)) as world:
        world.consent(world.agree())
        world.query()
        assert world.node is not None
        gate = Gate(world.node)
        with ThreadPoolExecutor(16) as pool:
            leader = pool.submit(world.query)
            assert gate.arrived.wait(20)
            others = [pool.submit(world.query) for _ in range(6)]
            while sum(each.done() for each in others) < 4:
                time.sleep(0.01)
            gate.opened.set()
            errors = [each.exception(20) for each in others]
            assert leader.result(20).subject_known
        busy = [error for error in errors if isinstance(error, IsthmusError)]
        assert len(busy) == 4 and all(isinstance(error, ResourceExhausted) for error in busy)
        assert all(error.reasons == (Reason.OVERLOADED,) and error.retry_after for error in busy)
        # Those who were sent away had not begun: as many records as exchanges.
        assert [record.decision for record in world.decisions()] == ["ALLOW"] * 4


def test_a_grant_that_a_node_refuses_whole_is_asked_again_in_halves(world: World) -> None:
    world.consent(world.agree())
    barrier, first = threading.Event(), threading.Event()

    def refuse_many(grant: Payload, _: FetchResponse, __: Payload) -> None:
        if not first.is_set():
            first.set()
            assert barrier.wait(20)
        if len(grant["items"]) > 1:
            raise PermissionDenied(Reason.GRANT_INVALID, "the grant cannot be read")

    node = LyingNode(world, refuse_many)
    with node.serving(), ThreadPoolExecutor() as pool:
        asked = [pool.submit(world.query)]
        assert first.wait(20)
        asked += [pool.submit(world.query) for _ in range(3)]
        while waiting(world) < 3:
            time.sleep(0.01)
        barrier.set()
        assert all(each.result(20).subject_known for each in asked)
    assert [len(grant["items"]) for grant in node.grants] == [1, 3, 1, 2, 1, 1]
    assert [record.decision for record in world.decisions()] == ["ALLOW"] * 4


def test_an_answer_whose_record_would_not_fit_the_log_is_refused_alone(world: World) -> None:
    """300 fields with the longest names: their list is larger than a leaf may be."""
    names = [f"{n:03d}{'长' * 125}" for n in range(300)]
    dataset = world.manifest.datasets_proto()[0]
    del dataset.fields[:]
    dataset.fields.extend(DatasetField(name=name, type=FIELD_TYPE_STRING) for name in names)
    request = PublishDatasetRequest(dataset=dataset)
    world.call(catalog_service_pb2_grpc.CatalogServiceStub, PROVIDER, "PublishDataset", request)
    fields = [{"name": name, "transform": "plain"} for name in names]
    world.agree(fields=fields, legal_basis="PUBLIC_TASK")
    with LyingNode(world, nothing).serving():
        with pytest.raises(InvalidArgument) as refused:
            world.query(fields=names, case="1")
        assert "fewer fields" in refused.value.message
        assert world.query(fields=names[:100], case="1").row_set.rows
    decisions = world.decisions()
    assert [record.decision for record in decisions] == ["ERROR", "ALLOW"]
    assert decisions[0].reasons == ("INVALID_ARGUMENT",) and decisions[0].row_count == 0
