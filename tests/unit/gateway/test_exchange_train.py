"""Trains: who waits travels together, nobody is lost, and nobody waits for a department that is not theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

import pytest

from gateway.exchange.item import Answer, Asked, Exchange, Mode
from gateway.exchange.network import Network
from gateway.exchange.train import Train, TrainLimits
from isthmus.errors import Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Receipt

START = datetime(2026, 3, 1, tzinfo=UTC)
ANSWER = Answer(True, None, 0, Receipt())  # type: ignore[arg-type]

LONG = 60.0
"""Seconds that no test would wait for."""
SOON = 20.0


def exchange(
    name: str = "exchanges/a",
    *,
    contract: str = "contracts/x",
    consumer: str = "departments/va",
    request: bytes = b"",
) -> Exchange:
    asked = Asked(
        caller="spiffe://data.example/department/va/system/s",
        certificate="00",
        system="departments/va/systems/s",
        consumer=consumer,
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


def test_a_crowd_of_one_consumer_neither_fills_the_platform_nor_delays_another() -> None:
    station = Station()
    train = running(station.run, waiting=8, aboard=2)
    station.open.clear()
    train.board(exchange("crowd/0"))
    assert station.busy.wait(10)
    for number in range(1, 6):
        train.board(exchange(f"crowd/{number}"))
    with pytest.raises(ResourceExhausted, match="6 exchanges of departments/va wait"):
        train.board(exchange("crowd/6"))
    other = exchange("other/0", consumer="departments/tax")
    train.board(other)
    station.open.set()
    assert other.wait(10) is ANSWER
    assert train.close(10)
    assert station.trips == [
        ["crowd/0"],
        ["crowd/1", "other/0"],
        ["crowd/2", "crowd/3"],
        ["crowd/4", "crowd/5"],
    ]


def test_a_line_that_is_slow_to_close_takes_no_time_from_the_others() -> None:
    held, free = threading.Event(), threading.Event()

    def journey(station: str, aboard: Sequence[Exchange]) -> None:
        for each in aboard:
            if not station:
                assert network.transfer(each, "", "departments/slow")
                continue
            held.set()
            assert free.wait(10)
            each.answer(ANSWER)

    network = Network(["departments/slow", "departments/fast"], journey, TrainLimits())
    network.start()
    stuck = exchange()
    network.board(stuck)
    assert held.wait(10)
    assert not network.close(0.2)
    assert not network._trains["departments/fast"]._thread.is_alive()
    free.set()
    assert network.close(10) and stuck.wait(10) is ANSWER


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


class Line:
    """A train whose journeys take as long as the test says, by a clock of its own."""

    def __init__(self, linger_s: float) -> None:
        self.left: SimpleQueue[int] = SimpleQueue()
        self.arrive = threading.Semaphore(0)
        self.time = 0.0
        self.train = Train("line", self._run, TrainLimits(linger_s=linger_s), clock=lambda: self.time)

    def _run(self, aboard: Sequence[Exchange]) -> None:
        self.left.put(len(aboard))
        assert self.arrive.acquire(timeout=SOON)
        self.time += 1000.0

    def board(self, count: int) -> None:
        for number in range(count):
            self.train.board(exchange(f"exchanges/{number}"))

    def travel(self, count: int) -> None:
        """A journey of so many, from its beginning to its end."""
        self.board(1)
        assert self.left.get(timeout=SOON) == 1
        self.board(count)
        self.arrive.release()
        assert self.left.get(timeout=SOON) == count
        self.arrive.release()
        deadline = time.monotonic() + SOON
        while not self._back():
            assert time.monotonic() < deadline

    def _back(self) -> bool:
        """Whether the train has come back, and waits for the next who board."""
        with self.train._changed:
            return not self.train._aboard


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    found = Line(getattr(request, "param", LONG))
    found.train.start()
    yield found
    for _ in range(100):
        found.arrive.release()
    assert found.train.close(SOON)


def test_all_who_wait_travel_together(line: Line) -> None:
    line.travel(9)


def record_waits(train: Train, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    """What a train waits for from now on: how many, and for how long."""
    waits: list[tuple[int, float | None]] = []

    def recorded(wanted: int, seconds: float | None, wait: Any = train._await) -> None:
        waits.append((wanted, seconds))
        wait(wanted, seconds)

    monkeypatch.setattr(train, "_await", recorded)
    return waits


def test_a_train_waits_for_most_of_those_whom_the_one_before_has_brought_back(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.travel(10)
    waits = record_waits(line.train, monkeypatch)
    line.board(8)
    assert line.left.get(timeout=SOON) == 8
    assert waits == [(8, LONG)]


def test_who_comes_to_an_idle_department_waits_for_nobody(line: Line) -> None:
    line.travel(10)
    line.time += 2 * LONG
    line.board(1)
    assert line.left.get(timeout=SOON) == 1


def test_after_a_journey_of_few_nobody_waits_for_anybody(line: Line) -> None:
    line.travel(3)
    line.board(1)
    assert line.left.get(timeout=SOON) == 1


@pytest.mark.parametrize("line", [0.001], indirect=True)
def test_who_comes_back_alone_waits_for_no_longer_than_the_limit(line: Line) -> None:
    line.travel(10)
    line.board(1)
    assert line.left.get(timeout=SOON) == 1


def test_a_train_that_lingers_leaves_when_the_line_is_closed(line: Line) -> None:
    line.travel(10)
    line.board(1)
    line.arrive.release()
    assert line.train.close(SOON)
    assert line.left.get_nowait() == 1
