"""However a stream ends, it has one closing record, its caller is told, and the node is not kept waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from audit.ledger import Transaction
from audit.record import AccessRecord
from gateway.config import ExchangeSection
from isthmus.errors import (
    DeadlineExceeded,
    Denied,
    IsthmusError,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from isthmus.v1.exchange_service_pb2 import StreamResponse
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import Call, agree, ends, numbers, request, verified

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    section = ExchangeSection(fetch_timeout_seconds=4, streams=2, streams_per_department=1)
    with world_in(tmp_path, exchange=section) as each:
        agree(each)
        yield each


def end_of(world: World, count: int = 1) -> AccessRecord:
    """The last closing record, once there are `count`."""
    deadline = time.monotonic() + 20
    while len(ends(world)) < count:
        assert time.monotonic() < deadline, "no closing record"
        time.sleep(0.02)
    assert len(ends(world)) == count
    return ends(world)[-1]


class Held:
    """Holds a node before the second chunk."""

    def __init__(self) -> None:
        self.arrived, self.opened = threading.Event(), threading.Event()

    def __call__(self, number: int) -> None:
        if number == 1:
            self.arrived.set()
            self.opened.wait(20)


def test_a_caller_who_gives_up_leaves_a_cancelled_end(world: World) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving() as node:
        call = Call(world, request())
        next(call), next(call)
        assert held.arrived.wait(10)
        until_it_waits_for_the_node(world)
        call.raw.cancel()
        end = end_of(world)
        held.opened.set()
        assert node.ended.wait(10)
    assert (end.action, end.reasons, end.row_count) == ("CANCELLED", ("CANCELLED",), 2)


def until_it_waits_for_the_node(world: World) -> None:
    """Until the chunk before has left: else the end would be noticed by that."""
    watchdog, deadline = world.gateway._streams._source.watchdog, time.monotonic() + 10
    while not watchdog._due:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_deadline_leaves_a_cancelled_end(world: World) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving():
        call = Call(world, request(), timeout=3.0)
        with pytest.raises(DeadlineExceeded):
            list(call)
        end = end_of(world)
        held.opened.set()
    assert (end.action, end.reasons) == ("CANCELLED", ("DEADLINE_EXCEEDED",))


def test_a_node_that_falls_silent_is_given_up_and_its_place_is_free_again(world: World) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving():
        with pytest.raises(IsthmusError) as error:
            list(Call(world, request()))
        assert error.value.reason is Reason.DEPARTMENT_TIMEOUT
        assert end_of(world).action == "FAILED"
        held.opened.set()
        assert len(numbers(list(Call(world, request())))) == 6


def test_a_node_that_dies_leaves_a_failed_end(world: World) -> None:
    class Died(Exception):
        pass

    def die(number: int) -> None:
        if number == 1:
            raise Died

    with ScriptedNode(world, gate=die).serving(), pytest.raises(IsthmusError) as error:
        list(Call(world, request()))
    assert error.value.reason is Reason.DEPARTMENT_UNAVAILABLE
    end = end_of(world)
    assert (end.action, end.row_count) == ("FAILED", 2)


def test_a_provider_that_refuses_to_go_on_is_passed_on_as_such(world: World) -> None:
    def veto(number: int) -> None:
        if number == 1:
            raise PermissionDenied(Reason.PROVIDER_VETO, "the file was replaced; begin anew")

    with ScriptedNode(world, gate=veto).serving(), pytest.raises(Denied) as error:
        list(Call(world, request()))
    assert error.value.reason is Reason.PROVIDER_VETO and "begin anew" in error.value.message
    end = end_of(world)
    assert (end.action, end.rules, end.row_count) == ("STOPPED", ("provider-veto",), 2)


def test_a_node_that_cannot_be_reached_leaves_one_record_and_no_end(world: World) -> None:
    world.use_node(1)
    with pytest.raises(Unavailable) as error:
        list(Call(world, request()))
    assert error.value.reason is Reason.DEPARTMENT_UNAVAILABLE
    assert world.sole_decision().decision == "ERROR" and not ends(world)


def test_a_gateway_that_shuts_down_ends_its_streams_with_a_record(world: World) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving():
        call = Call(world, request())
        next(call), next(call)
        assert held.arrived.wait(10)
        config, clock = world.config, time.monotonic()
        with suppress(IsthmusError):
            world.stop_gateway()
        assert time.monotonic() - clock < config.server.grace_seconds
        with pytest.raises(IsthmusError) as error:
            next(call)
        assert error.value.reason is Reason.OVERLOADED, error.value.message
        held.opened.set()
        world.restart_gateway()
    end = end_of(world)
    assert (end.action, end.reasons, end.row_count) == ("FAILED", ("OVERLOADED",), 2)
    verified(world)


def test_a_ledger_that_takes_no_end_gives_no_receipt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Transaction.append

    def refuse(self: Transaction, record: AccessRecord, **options: object) -> int:
        if record.kind == "STREAM_END":
            raise Unavailable(Reason.LEDGER_UNAVAILABLE, "the disk is full")
        return append(self, record, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Transaction, "append", refuse)
    with ScriptedNode(world).serving():
        got: list[StreamResponse] = []
        with pytest.raises(Unavailable) as error:
            got.extend(Call(world, request()))
    assert error.value.reason is Reason.LEDGER_UNAVAILABLE
    assert not any(each.HasField("receipt") for each in got)
    assert not ends(world)
    monkeypatch.undo()
    verified(world)


def test_a_ledger_that_cannot_be_read_stops_the_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving():
        call = Call(world, request())
        next(call), next(call)
        assert held.arrived.wait(10)

        def refuse(*_: object, **__: object) -> None:
            raise Unavailable(Reason.LEDGER_UNAVAILABLE, "the disk is gone")

        monkeypatch.setattr(world.gateway.ledger, "read", refuse)
        held.opened.set()
        with pytest.raises(Unavailable):
            next(call)
        monkeypatch.undo()
        assert end_of(world).action == "FAILED"


def test_streams_beyond_their_places_are_refused_at_once_and_unrecorded(world: World) -> None:
    held = Held()
    with ScriptedNode(world, gate=held).serving():
        call = Call(world, request())
        next(call), next(call)
        with pytest.raises(ResourceExhausted) as error:
            list(Call(world, request()))
        assert error.value.reason is Reason.OVERLOADED and error.value.retry_after is not None
        held.opened.set()
        list(call)
        assert len(list(Call(world, request()))) == 5
    assert len(world.decisions()) == 2


def test_a_slow_consumer_slows_the_node_and_fills_no_memory(world: World) -> None:
    """600 chunks of 200 kB: the consumer takes two, and the node is stopped long before it has sent them all."""
    with ScriptedNode(world, chunks=600, size=50, filler=4_000).serving() as node:
        call = Call(world, request(fields=("姓名",)))
        next(call), next(call)
        sent = settled(node)
        assert sent < 200, "what was sent ahead fits into the connections' windows"
        time.sleep(1.0)
        assert node.sent <= sent + 1
        call.raw.cancel()
        assert end_of(world).row_count < 200 * 50


def settled(node: ScriptedNode) -> int:
    """How many messages the node has sent when it sends no more."""
    while True:
        sent = node.sent
        time.sleep(0.7)
        if node.sent == sent:
            return sent


def test_metrics_tell_of_streams(world: World) -> None:
    with ScriptedNode(world).serving():
        list(Call(world, request()))
        labels = {"consumer": "veterans", "provider": "civil-registry"}
        value = world.registry.get_sample_value
        assert value("isthmus_streams_ended_total", {**labels, "ending": "COMPLETE"}) == 1
        assert value("isthmus_rows_released_total", {**labels, "dataset": "person"}) == 6
        ended = {**labels, "dataset": "person", "mode": "STREAM", "decision": "ALLOW"}
        assert value("isthmus_exchanges_total", ended) == 1
        assert value("isthmus_streams_open") == 0


def test_a_stream_without_pyarrow_is_refused_in_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("pyarrow")

    monkeypatch.setattr("gateway.stream.streams.content_of", missing)
    with ScriptedNode(world).serving(), pytest.raises(IsthmusError) as error:
        list(Call(world, request(arrow=True)))
    assert error.value.code is grpc.StatusCode.UNIMPLEMENTED and "arrow" in error.value.message
