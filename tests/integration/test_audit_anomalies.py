"""What is worth a look is found in weeks of random traffic, and nothing where nothing is the matter."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.record import AccessRecord
from audit.reports.anomalies.found import Kind
from audit.reports.anomalies.limits import AnomalyLimits
from audit.reports.period import Period
from tests.unit.audit.ledger_world import control
from tests.unit.audit.report_world import (
    HOSPITAL,
    SCHOOL,
    SINCE,
    TAX,
    UNTIL,
    Event,
    System,
    anomalies,
    beside,
    local,
    usual_traffic,
    written,
)

pytestmark = pytest.mark.integration
SEEDS = (20261102, 7, 42)
WEDNESDAY = SINCE + timedelta(days=2)
SATURDAY = SINCE + timedelta(days=5)


@pytest.mark.parametrize("seed", SEEDS)
def test_usual_traffic_is_worth_no_look(tmp_path: Path, seed: int) -> None:
    with written(tmp_path, usual_traffic(seed)) as ledger:
        found, notes = anomalies(ledger)
    assert (found, notes) == ([], [])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_contract_that_is_used_far_more_than_ever_is_found(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    planted = [SCHOOL.asks(local(WEDNESDAY, dice.uniform(9, 17)), dice.randrange(20)) for _ in range(300)]
    planted += beside(SCHOOL, local(WEDNESDAY, 12))
    with written(tmp_path, [*usual_traffic(seed), *planted]) as ledger:
        (found,), _ = anomalies(ledger, Kind.VOLUME)
    assert (found.kind, found.resource) == (Kind.VOLUME, SCHOOL.contract)
    assert found.records >= 300 and found.weight > 1
    assert "Wednesday 4 November 2026" in found.summary and "working days before" in found.summary


@pytest.mark.parametrize("seed", SEEDS)
def test_a_burst_of_denials_is_found_and_nothing_of_it_is_counted_twice(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    planted = [
        TAX.asks(local(WEDNESDAY, 10 + dice.uniform(0, 0.15)), each, denied=True) for each in range(45)
    ]
    planted += [
        TAX.asks(local(WEDNESDAY, 15 + dice.uniform(0, 0.1)), each, denied=True) for each in range(25)
    ]
    with written(tmp_path, [*usual_traffic(seed), *planted]) as ledger:
        found, _ = anomalies(ledger, Kind.DENIAL_BURST)
    assert [each.resource for each in found] == [TAX.resource] * 2
    assert 45 <= found[0].records <= 50 and 25 <= found[1].records <= 30
    assert found[0].end_ms < found[1].start_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_an_office_system_at_work_at_night_and_on_a_day_of_rest_is_found(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    night = [SCHOOL.asks(local(WEDNESDAY, 25 + dice.uniform(0, 3)), dice.randrange(99)) for _ in range(15)]
    rest = [TAX.asks(local(SATURDAY, dice.uniform(9, 17)), dice.randrange(99)) for _ in range(12)]
    with written(tmp_path, [*usual_traffic(seed), *night, *rest]) as ledger:
        found, _ = anomalies(ledger, Kind.OFF_HOURS)
    told = {each.resource: each for each in found}
    assert told.keys() == {SCHOOL.resource, TAX.resource} and len(found) == 2
    assert "in the night after Wednesday 4 November 2026" in told[SCHOOL.resource].summary
    assert "on Saturday 7 November 2026" in told[TAX.resource].summary
    assert (told[SCHOOL.resource].records, told[TAX.resource].records) == (15, 12)


def test_a_made_up_working_day_is_no_day_of_rest(tmp_path: Path) -> None:
    # 10 October 2026, a Saturday, is worked for the holidays before it.
    week = Period(local(date(2026, 10, 5), 0), local(date(2026, 10, 12), 0))
    with written(tmp_path, usual_traffic(1)) as ledger:
        assert anomalies(ledger, Kind.OFF_HOURS, within=week) == ([], [])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_system_that_asks_about_many_persons_is_found(tmp_path: Path, seed: int) -> None:
    planted = [SCHOOL.asks(local(WEDNESDAY, 9 + each / 30), 10_000 + each) for each in range(200)]
    planted += beside(SCHOOL, local(WEDNESDAY, 12))
    with written(tmp_path, [*usual_traffic(seed), *planted]) as ledger:
        (found,), _ = anomalies(ledger, Kind.MANY_SUBJECTS)
    assert found.resource == SCHOOL.resource and "different persons" in found.summary


@pytest.mark.parametrize("seed", SEEDS)
def test_a_person_whom_everybody_looks_up_is_found_and_not_named(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    planted = [
        dice.choice((HOSPITAL, SCHOOL)).asks(local(WEDNESDAY, dice.uniform(9, 17)), 99_999) for _ in range(70)
    ]
    with written(tmp_path, [*usual_traffic(seed), *planted]) as ledger:
        (found,), _ = anomalies(ledger, Kind.MANY_SUBJECTS)
    assert (found.records, found.resource) == (70, "")
    assert "one person" in found.summary and "2 systems" in found.summary and "1869f" not in found.summary


def emergency(at_hours: float) -> Event:
    """An emergency use so many hours after the period began."""
    return HOSPITAL.asks(local(SINCE, at_hours), 5, emergency="心脏骤停 cardiac arrest")


def told(use: AccessRecord, event: str, at_hours: float, **change: str) -> Event:
    """What the log says about its review."""
    action = "Clock" if event == "EMERGENCY_REVIEW_OVERDUE" else "ReviewEmergencyUse"
    record = control(action, use.exchange, contract=use.contract, change={"event": event, **change})
    return local(SINCE, at_hours), record


def test_emergencies_nobody_reviewed_are_found_and_those_somebody_did_are_not(tmp_path: Path) -> None:
    due = {"review_due": "2026-11-03T00:00:00Z"}
    late, reviewed, silent, fresh = emergency(1), emergency(2), emergency(-100), emergency(100)
    early = emergency(-90)
    events = [
        *(late, reviewed, silent, fresh, early),
        told(early[1], "EMERGENCY_REVIEWED", -80, justified="no", **due),
        told(late[1], "EMERGENCY_REVIEW_OVERDUE", 30, **due),
        told(reviewed[1], "EMERGENCY_REVIEW_OVERDUE", 30, **due),
        told(reviewed[1], "EMERGENCY_REVIEWED", 40, justified="yes", **due),
    ]
    with written(tmp_path, events) as ledger:
        (found,), _ = anomalies(ledger, Kind.EMERGENCY_UNREVIEWED)
    assert (found.records, found.resource) == (2, HOSPITAL.contract)
    assert "due at 2026-11-03 00:00 UTC" in found.summary and "of 1 the log does not say" in found.summary


def test_more_emergencies_than_a_filter_can_list_are_told_in_parts(tmp_path: Path) -> None:
    uses = [emergency(-100 + each / 10) for each in range(120)]
    with written(tmp_path, uses) as ledger:
        found, _ = anomalies(ledger, Kind.EMERGENCY_UNREVIEWED)
    assert [each.records for each in found] == [50, 50, 20]


def test_a_new_system_is_not_judged_and_a_note_says_so(tmp_path: Path) -> None:
    new = System("housing", "register", "contracts/housing-person", 0)
    planted = [new.asks(local(WEDNESDAY, 9 + each / 50), each) for each in range(300)]
    with written(tmp_path, [*usual_traffic(1), *planted]) as ledger:
        found, notes = anomalies(ledger, Kind.VOLUME)
    assert found == [] and len(notes) == 1
    assert "was not judged of contracts/housing-person" in notes[0]


def test_a_system_that_slept_for_months_and_wakes_has_a_history_of_nothing(tmp_path: Path) -> None:
    # Its one exchange is older than the history.
    sleeper = System("housing", "register", "contracts/housing-person", 0)
    planted = [sleeper.asks(local(SINCE, -62 * 24 + 9), 1)]
    planted += [sleeper.asks(local(WEDNESDAY, 9 + each / 50), each) for each in range(300)]
    with written(tmp_path, [*usual_traffic(1), *planted]) as ledger:
        found, notes = anomalies(ledger, Kind.VOLUME, Kind.MANY_SUBJECTS)
    assert [each.resource for each in found] == [sleeper.contract, sleeper.resource] and notes == []


def test_a_contract_that_cannot_be_named_does_no_harm(tmp_path: Path) -> None:
    name: dict[str, Any] = {"denied": True, "contract": 'contracts/"; DROP'}
    odd = [SCHOOL.asks(local(WEDNESDAY, 9 + each / 50), each % 9, **name) for each in range(300)]
    odd += [SCHOOL.asks(local(WEDNESDAY, 9 - 24 * each), 1, **name) for each in range(1, 60)]
    with written(tmp_path, [*usual_traffic(1), *odd]) as ledger:
        found, _ = anomalies(ledger, Kind.VOLUME)
    assert found == []


def test_a_year_without_a_notice_is_assumed_and_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import chinese_calendar  # type: ignore[import-untyped]

    known = {day for day in chinese_calendar.holidays if day.year != UNTIL.year}
    monkeypatch.setattr(chinese_calendar, "holidays", dict.fromkeys(known, ""))
    with written(tmp_path, [SCHOOL.asks(local(WEDNESDAY, 9), 1)]) as ledger:
        _, notes = anomalies(ledger, limits=AnomalyLimits())
    assert "no notice for 2026: Monday to Friday were taken as worked" in notes[0]
