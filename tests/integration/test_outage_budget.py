"""Exchange stops once nobody outside has vouched for the log for too long; people's rights do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from audit.ledger import Ledger
from audit.timestamps.stored import put_timestamp
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.note import split_note
from audit.witness.stored import put_cosignatures
from gateway.independence import IndependenceSection, OutageBudget
from isthmus.errors import Unavailable
from isthmus.reasons import Reason
from tests.integration import batch_calls, stream_world
from tests.integration.exchange_parties import RESIDENT
from tests.integration.exchange_world import World, world_in
from tests.integration.test_exchange_fence import while_under_way
from tests.unit.audit.ledger_world import START, append, decision, ledger_in

pytestmark = pytest.mark.integration


def signer(name: str) -> CosignerSigner:
    """The witness of this name."""
    return CosignerSigner.from_seed(f"{name}.example/w", name.encode().ljust(32))


def cosign(ledger: Ledger, *names: str) -> None:
    """Witnesses of these names cosign the newest checkpoint."""
    head = ledger.newest()
    text = split_note(head.note)[0]
    lines = {name: signer(name).cosign(text, START) for name in names}
    ledger.transact(lambda tx: put_cosignatures(tx.connection, head.size, lines, at_ms=head.at_ms))


def stamp(ledger: Ledger) -> None:
    """An authority timestamps the newest checkpoint."""
    head = ledger.newest()
    ledger.transact(
        lambda tx: put_timestamp(tx.connection, head.size, "tsa", response=b"token", at_ms=head.at_ms)
    )


class At:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def on(self, seconds: float) -> None:
        """So many seconds pass."""
        self.now += timedelta(seconds=seconds)


class Course:
    """A budget of a minute for a small ledger, on a clock of its own."""

    def __init__(self, folder: Path, **section: Any) -> None:
        self.clock, self.registry = At(), CollectorRegistry()
        self.opened = ledger_in(folder, clock=self.clock)
        self.ledger = self.opened.__enter__()
        values = IndependenceSection(budget_seconds=60, **section)
        self.budget = OutageBudget(values, self.ledger, clock=self.clock, registry=self.registry)

    def may_exchange(self) -> bool:
        """Whether exchange may go on, by what is known now."""
        self.budget.refresh()
        return self.still_may()

    def still_may(self) -> bool:
        """Whether it may, by what was known."""
        try:
            self.budget.require(self.clock.now)
        except Unavailable as error:
            assert error.reason is Reason.LEDGER_UNWITNESSED and "witnesses" in error.message
            assert self.registry.get_sample_value("isthmus_outage_budget_left_seconds") == 0
            return False
        return True


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Callable[..., Course]]:
    made: list[Course] = []

    def make(**section: Any) -> Course:
        made.append(Course(tmp_path, **section))
        return made[-1]

    yield make
    for each in made:
        each.opened.__exit__(None, None, None)


def test_an_empty_log_and_one_that_is_covered_wait_for_nobody(course: Callable[..., Course]) -> None:
    here = course(witnesses=1)
    assert not here.still_may(), "until somebody has looked, nothing is known"
    assert here.may_exchange()
    append(here.ledger, decision())
    cosign(here.ledger, "office")
    here.clock.on(100_000)
    assert here.may_exchange(), "an idle log that is covered stays covered"


def test_the_budget_counts_from_the_oldest_record_that_is_not_covered(course: Callable[..., Course]) -> None:
    here = course(witnesses=1)
    append(here.ledger, decision())
    cosign(here.ledger, "office")
    here.clock.on(1000)
    append(here.ledger, decision())
    here.clock.on(59)
    append(here.ledger, decision())
    assert here.may_exchange()
    assert here.registry.get_sample_value("isthmus_outage_budget_left_seconds") == 1
    here.clock.on(1)
    assert not here.still_may() and not here.may_exchange()
    cosign(here.ledger, "office")
    assert here.may_exchange()


def test_fewer_witnesses_than_required_do_not_count(course: Callable[..., Course]) -> None:
    here = course(witnesses=2)
    append(here.ledger, decision())
    cosign(here.ledger, "office")
    here.clock.on(60)
    assert not here.may_exchange(), "one witness is not two"
    append(here.ledger, decision())
    cosign(here.ledger, "court")
    assert here.may_exchange(), "what covers two records covers the first, too"
    here.clock.on(60)
    assert not here.may_exchange(), "the second is covered by one of them only"
    cosign(here.ledger, "office")
    assert here.may_exchange()


def test_witnesses_that_the_gateway_does_not_name_do_not_count(course: Callable[..., Course]) -> None:
    here = course(witnesses=1, vkeys=(signer("office").verifier.encode(),))
    append(here.ledger, decision())
    cosign(here.ledger, "removed")
    here.clock.on(60)
    assert not here.may_exchange()
    cosign(here.ledger, "office")
    assert here.may_exchange()


def test_witnesses_and_timestamps_are_both_needed_where_both_are_asked_for(
    course: Callable[..., Course],
) -> None:
    here = course(witnesses=1, timestamps=True)
    append(here.ledger, decision())
    cosign(here.ledger, "office")
    here.clock.on(60)
    assert not here.may_exchange()
    stamp(here.ledger)
    assert here.may_exchange()
    append(here.ledger, decision())
    stamp(here.ledger)
    here.clock.on(60)
    assert not here.may_exchange()


def test_when_nobody_can_look_any_more_the_budget_runs_out(course: Callable[..., Course]) -> None:
    here = course(witnesses=1)
    assert here.may_exchange()
    here.ledger.close()
    here.clock.on(59)
    assert here.still_may()
    here.clock.on(1)
    assert not here.still_may()


_OFFICE = signer("office").verifier.encode()


@pytest.mark.parametrize(
    "section",
    [
        {"budget_seconds": 0, "witnesses": 1},
        {"budget_seconds": 3},
        {"budget_seconds": 3, "witnesses": -1},
        {"budget_seconds": 3, "timestamps": True, "refresh_seconds": 0},
        {"budget_seconds": float("nan"), "witnesses": 1},
        {"budget_seconds": float("inf"), "witnesses": 1},
        {"budget_seconds": 1e12, "witnesses": 1},
        {"budget_seconds": 60, "witnesses": 1, "refresh_seconds": float("nan")},
        {"budget_seconds": 60, "witnesses": 1, "refresh_seconds": 21},
        {"budget_seconds": 60, "witnesses": 2, "vkeys": (_OFFICE,)},
        {"budget_seconds": 60, "witnesses": 1, "vkeys": (_OFFICE, _OFFICE)},
    ],
)
def test_a_budget_that_guards_nothing_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget_seconds|who must vouch|vkeys"):
        IndependenceSection(**section)


# ---- In a gateway


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


def spend(world: World) -> None:
    """Starts a gateway whose budget is spent: the log has records that nobody cosigned."""
    section = IndependenceSection(budget_seconds=0.03, witnesses=1, refresh_seconds=0.01)
    world.restart_gateway(independence=section)
    budget, deadline = world.gateway._budget, time.monotonic() + 20
    assert budget is not None
    while budget.left():
        assert time.monotonic() < deadline


def test_a_spent_budget_stops_every_exchange_and_each_has_its_record(world: World) -> None:
    plain = [{"name": name, "transform": "plain"} for name in ("姓名", "income")]
    modes = ["QUERY", "VERIFY", "STREAM", "BATCH"]
    contract = world.agree(legal_basis="PUBLIC_TASK", modes=modes, fields=plain)
    spend(world)
    asks = (
        lambda: world.query(case="1"),
        world.verify,
        lambda: next(stream_world.Call(world, stream_world.request())),
        lambda: batch_calls.batch(world, [RESIDENT], case="1"),
        lambda: world.explain(case="1"),
    )
    for ask in asks:
        with pytest.raises(Unavailable) as refused:
            ask()
        assert refused.value.reason is Reason.LEDGER_UNWITNESSED, refused.value
        assert "vouched" in refused.value.message
    found = [(each.mode, each.decision, each.reasons) for each in world.decisions()]
    expected = [(mode, "ERROR", ("LEDGER_UNWITNESSED",)) for mode in ("QUERY", "VERIFY", "STREAM", "BATCH")]
    assert found == expected
    world.suspend(contract)


def test_exchange_goes_on_by_itself_once_witnesses_answer(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    cosign(world.gateway.ledger, "office")
    world.restart_gateway(
        independence=IndependenceSection(budget_seconds=1, witnesses=1, refresh_seconds=0.05)
    )
    world.query(case="1")
    refused = False
    deadline = time.monotonic() + 20
    while not refused:
        assert time.monotonic() < deadline
        try:
            world.query(case="1")
        except Unavailable as error:
            assert error.reason is Reason.LEDGER_UNWITNESSED
            refused = True
    cosign(world.gateway.ledger, "office")
    while refused:
        assert time.monotonic() < deadline
        try:
            world.query(case="1")
            refused = False
        except Unavailable as error:
            assert error.reason is Reason.LEDGER_UNWITNESSED


def test_a_budget_spent_on_the_way_drops_the_rows(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    world.restart_gateway(
        independence=IndependenceSection(budget_seconds=1, witnesses=1, refresh_seconds=0.05)
    )
    cosign(world.gateway.ledger, "office")
    budget = world.gateway._budget
    assert budget is not None
    deadline = time.monotonic() + 20
    while budget.left() < 0.8:
        assert time.monotonic() < deadline

    def wait() -> None:
        append(world.gateway.ledger, decision())
        while budget.left():
            assert time.monotonic() < deadline

    error = while_under_way(world, wait, case="1")
    assert error.reason is Reason.LEDGER_UNWITNESSED
    assert [each.decision for each in world.decisions()].count("ERROR") == 1


def test_a_withdrawal_is_taken_while_exchange_stands_still(world: World) -> None:
    consent = world.consent(world.agree())
    spend(world)
    with pytest.raises(Unavailable):
        world.query()
    world.withdraw(consent)


def test_without_the_section_nothing_is_required(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    world.query(case="1")
    assert world.registry.get_sample_value("isthmus_outage_budget_seconds") is None
