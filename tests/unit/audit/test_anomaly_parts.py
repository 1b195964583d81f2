"""What anomalies are judged by: what is usual, windows of denials, days and nights."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.reports.anomalies.baseline import Baseline
from audit.reports.anomalies.bursts import BurstFinder, Minute
from audit.reports.anomalies.found import MOST, Anomaly, Kind, Tally, quoted, weightiest
from audit.reports.anomalies.history import History, Judge
from audit.reports.anomalies.hours import Hours, Sort, Stretch, WorkCalendar
from audit.reports.anomalies.limits import AnomalyLimits
from audit.search.filter import Restriction, parse_filter

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 4, 4, tzinfo=UTC)


@given(st.lists(st.integers(0, 10_000), min_size=9, max_size=60), st.integers(0, 10_000_000))
def test_a_few_wild_days_do_not_move_what_is_usual(counts: list[int], wild: int) -> None:
    usual, shaken = Baseline.of(counts), Baseline.of([*counts, wild])
    assert min(counts) <= usual.middle <= max(counts)
    assert min(counts) <= shaken.middle <= max(counts)
    assert usual.limit(6, 100) >= 100 and usual.limit(6, 1) > usual.middle


def test_nothing_is_usual_where_there_is_no_history() -> None:
    with pytest.raises(ValueError, match="no history"):
        Baseline.of([])


def test_where_every_day_is_the_same_chance_is_still_allowed_for() -> None:
    # The median absolute deviation is zero, and a hundred expected exchanges vary by ten.
    assert Baseline.of([100] * 30).limit(6, 1) == 160
    assert Baseline.of([0] * 30).limit(6, 1) == 6


def tally(key: str, count: int, first: int, last: int) -> Tally:
    return Tally(key=key, records=count, count=count, first=first, last=last, first_ms=first, last_ms=last)


def test_a_key_is_judged_from_its_first_day_on() -> None:
    stretch = Stretch(Sort.WORKED, NOON.date(), NOON, NOON + timedelta(days=1))
    history = History({"old": 0, "young": 50})
    for day in range(10):
        history.add(Sort.WORKED, day * 10 + 10, {"old": 5} if day % 2 else {})
    assert list(history.of("old", Sort.WORKED)) == [0, 5] * 5
    assert list(history.of("young", Sort.WORKED)) == [0] * 5
    judge = Judge(6, 10, 8)
    found = list(
        judge.unusual([(stretch, tally("old", 900, 100, 999)), (stretch, tally("young", 900, 1, 2))], history)
    )
    assert [each.tally.key for each in found] == ["old"] and judge.unjudged == {"young"}
    assert list(judge.unusual([(stretch, tally("old", found[0].limit - 1, 100, 999))], history)) == []


MINUTES = st.lists(
    st.tuples(st.integers(1, 8), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60
)
LEAST, WINDOW, SHARE = 20, 10, 0.2


def as_minutes(raw: list[tuple[int, int, int]]) -> list[Minute]:
    """Minutes in order from gaps, exchanges that were allowed, and denials."""
    number, position, found = 0, 0, []
    for gap, allowed, denials in raw:
        number += gap
        part = tally("s", denials, position, position + denials - 1) if denials else None
        found.append(Minute(number, allowed + denials, part))
        position += allowed + denials
    return found


@given(MINUTES)
def test_there_is_a_burst_exactly_where_a_window_holds_one(raw: list[tuple[int, int, int]]) -> None:
    minutes = as_minutes(raw)

    def holds(last: Minute) -> bool:
        window = [each for each in minutes if last.number - WINDOW < each.number <= last.number]
        denials = sum(each.denials.records for each in window if each.denials)
        return denials >= LEAST and denials >= SHARE * sum(each.exchanges for each in window)

    found = list(BurstFinder(LEAST, WINDOW, SHARE).find(minutes))
    assert bool(found) == any(map(holds, minutes))
    for burst in found:
        inside = [
            each.denials
            for each in minutes
            if each.denials and burst.denials.first <= each.denials.first <= burst.denials.last
        ]
        assert sum(each.records for each in inside) == burst.denials.records >= LEAST
        assert (inside[0].first, inside[-1].last) == (burst.denials.first, burst.denials.last)
    for one, other in pairwise(found):
        assert one.denials.last < other.denials.first


def test_a_busy_system_whose_few_denials_add_up_is_no_burst() -> None:
    busy, refused = [(1, 100, 3)] * 30, [(1, 10, 3)] * 30
    assert list(BurstFinder(LEAST, WINDOW, SHARE).find(as_minutes(busy))) == []
    (found,) = BurstFinder(LEAST, WINDOW, SHARE).find(as_minutes(refused))
    assert (found.denials.records, found.peak) == (90, 30) and 0.2 < found.share < 0.25


def hours() -> Hours:
    return Hours(SHANGHAI, 22, 6, WorkCalendar().is_worked)


@given(st.integers(0, 300 * 24 * 3600), st.integers(1, 60 * 24 * 20))
def test_days_cover_a_period_without_gap_or_overlap(seconds: int, minutes: int) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    until = since + timedelta(minutes=minutes)
    days = list(hours().days(since, until))
    assert (days[0].start, days[-1].end) == (since, until)
    assert all(one.end == other.start for one, other in pairwise(days))
    off = list(hours().off_hours(since, until))
    assert all(one.end <= other.start for one, other in pairwise(off))
    for each in off:
        assert since <= each.start < each.end <= until
        local = each.start.astimezone(SHANGHAI)
        assert local.hour >= 22 or local.hour < 6 or not WorkCalendar().is_worked(local.date())


def test_holidays_make_up_days_and_unknown_years() -> None:
    calendar = WorkCalendar()
    assert not calendar.is_worked(date(2026, 10, 1)), "the National Day, a Thursday"
    assert calendar.is_worked(date(2026, 10, 10)), "a Saturday that is worked for it"
    assert calendar.is_worked(date(2041, 10, 1)), "a Tuesday of a year without a notice"
    assert calendar.assumed_years(iter([date(2026, 1, 1), date(2041, 1, 1)])) == [2041]


def anomaly(weight: float) -> Anomaly:
    return Anomaly(
        kind=Kind.VOLUME, summary="", resource="", start_ms=0, end_ms=0, records=1, filter="", weight=weight
    )


def test_the_most_unusual_are_kept_and_the_others_counted() -> None:
    found, others = weightiest(anomaly(each) for each in range(MOST + 5))
    assert (len(found), others, found[0].weight, found[-1].weight) == (MOST, 5, MOST + 4, 5)


@given(st.text(min_size=1, max_size=50))
def test_whatever_is_quoted_is_read_again(text: str) -> None:
    read = parse_filter(f"caller = {quoted(text)}")
    assert isinstance(read, Restriction) and read.value == text


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Mars/Base"},
        {"min_history": 1},
        {"night_begins": 24},
        {"denial_share": 1.1},
        {"deviations": 0.5},
    ],
)
def test_limits_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        AnomalyLimits(**change)  # type: ignore[arg-type]
