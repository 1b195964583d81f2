"""Trains: who waits travels together, nobody is lost, and nobody waits for a department that is not theirs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from gateway.exchange.item import Answer, Asked, Exchange, Mode
from gateway.exchange.network import Network
from gateway.exchange.train import Train, TrainLimits
from isthmus.errors import Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Receipt

START = datetime(2026, 3, 1, tzinfo=UTC)
ANSWER = Answer(True, None, 0, Receipt())  # type: ignore[arg-type]


def exchange(name: str = "exchanges/a", *, contract: str = "contracts/x", request: bytes = b"") -> Exchange:
    asked = Asked(
        caller="spiffe://data.example/department/va/system/s",
        certificate="00",
        system="departments/va/systems/s",
        consumer="departments/va",
        mode=Mode.QUERY,
        contract=contract,
        purpose="p",
        case_reference="",
        fields=("a",),
        scheme="s",
        identifier="i",
        predicate=None,
        request=request,
    )
    return Exchange(name, asked, received=START, deadline=START + timedelta(seconds=10))


class Station:
    """Records who travelled together; holds a train while it is closed."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.open, self.busy = threading.Event(), threading.Event()
        self.open.set()

    def run(self, aboard: Sequence[Exchange]) -> None:
        self.busy.set()
        assert self.open.wait(10)
        self.trips.append([each.name for each in aboard])
        for each in aboard:
            each.answer(ANSWER)


def running(run: Callable[[Sequence[Exchange]], None], **limits: int) -> Train:
    train = Train("x", run, TrainLimits(**limits))
    train.start()
    return train


def test_those_who_wait_while_a_train_is_away_take_the_next_together() -> None:
    station = Station()
    train = running(station.run)
    station.open.clear()
    first, *others = [exchange(f"exchanges/{n}") for n in range(4)]
    train.board(first)
    assert station.busy.wait(10)
    for each in others:
        train.board(each)
    station.open.set()
    assert others[-1].wait(10) is ANSWER
    assert station.trips == [["exchanges/0"], ["exchanges/1", "exchanges/2", "exchanges/3"]]
    assert train.close(10)


def test_a_train_holds_so_many_exchanges_and_so_many_bytes() -> None:
    station = Station()
    train = running(station.run, aboard=2, weight=10)
    station.open.clear()
    train.board(exchange("exchanges/0"))
    assert station.busy.wait(10)
    sizes = (0, 0, 0, 99, 4, 6, 1)
    waiting = [exchange(f"exchanges/{n}", request=b"x" * size) for n, size in enumerate(sizes, 1)]
    for each in waiting:
        train.board(each)
    station.open.set()
    waiting[-1].wait(10)
    assert [len(trip) for trip in station.trips] == [1, 2, 1, 1, 2, 1], "the heavy one travels alone"
    train.close(10)


def test_too_many_are_sent_away_but_those_who_change_trains_are_not() -> None:
    station = Station()
    train = running(station.run, waiting=2)
    station.open.clear()
    train.board(exchange())
    assert station.busy.wait(10)
    train.board(exchange())
    with pytest.raises(ResourceExhausted) as refused:
        train.board(exchange())
    assert refused.value.retry_after is not None
    train.board(exchange(), transfer=True)
    station.open.set()
    assert train.close(10) and len(station.trips) == 2


def test_closing_lets_those_who_wait_arrive_and_takes_no_more() -> None:
    station = Station()
    train = running(station.run)
    station.open.clear()
    for n in range(3):
        train.board(exchange(f"exchanges/{n}"))
    closing = threading.Thread(target=train.close, args=(10,))
    closing.start()
    station.open.set()
    closing.join(10)
    assert sum(len(trip) for trip in station.trips) == 3
    with pytest.raises(Unavailable):
        train.board(exchange())


def test_a_slow_department_delays_only_its_own_callers() -> None:
    held, free = threading.Event(), threading.Event()
    slow = "departments/slow"

    def journey(station: str, aboard: Sequence[Exchange]) -> None:
        for each in aboard:
            department = slow if each.asked.contract == "contracts/slow" else "departments/fast"
            if station != department:
                assert network.transfer(each, station, department)
                continue
            if station == slow:
                held.set()
                assert free.wait(10)
            each.answer(ANSWER)

    network = Network([slow, "departments/fast"], journey, TrainLimits())
    network.start()
    stuck = exchange(contract="contracts/slow")
    network.board(stuck)
    assert held.wait(10)
    for _ in range(3):
        quick = exchange(contract="contracts/fast")
        network.board(quick)
        assert quick.wait(10) is ANSWER
    assert not stuck.ended
    free.set()
    assert stuck.wait(10) is ANSWER
    assert network.close(10)


def test_what_is_known_of_a_contract_is_known_of_one_consumer_only() -> None:
    """Else the time of an answer would tell a department about the contracts of others."""
    network = Network(["departments/d"], lambda *_: None, TrainLimits())
    mine = exchange()
    assert network.transfer(mine, "", "departments/d")
    assert list(network._routes) == [("departments/va", "contracts/x")]


def test_whoever_leaves_first_decides_what_the_caller_hears() -> None:
    cancelled = exchange()
    cancelled.leave(START)
    assert cancelled.gone(START) is Reason.CANCELLED
    with pytest.raises(Cancelled):
        cancelled.wait(1)
    late = exchange()
    assert late.gone(START) is None and late.gone(late.deadline) is Reason.DEADLINE_EXCEEDED
    with pytest.raises(DeadlineExceeded) as refused:
        late.wait(0)
    assert refused.value.exchange == late.name
    done = exchange()
    done.answer(ANSWER)
    done.leave(START)
    assert done.gone(START) is None and done.wait(0) is ANSWER
    failed = exchange()
    failed.fail(Internal())
    with pytest.raises(Internal) as error:
        failed.wait(0)
    assert error.value.exchange == failed.name
