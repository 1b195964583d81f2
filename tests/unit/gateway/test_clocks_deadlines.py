"""When a limit ends: the vectors of the reference, zones, unknown years, extensions and pauses."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.clocks.calendar import Calendar, LayeredCalendar, StateCouncilCalendar, WeekdayCalendar
from gateway.clocks.deadlines import (
    MAX_SPAN_DAYS,
    DeadlineError,
    Due,
    Pause,
    Span,
    add_working_days,
    due,
    working_days_between,
)
from gateway.clocks.limits import Extension, Limit, LimitKind, SupplementClock, Unit

SHANGHAI = ZoneInfo("Asia/Shanghai")
ZONES = ["Asia/Shanghai", "UTC", "America/New_York", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe"]
OFFICIAL = StateCouncilCalendar()
WEEKDAYS = WeekdayCalendar()

FIRST, LAST = datetime(2004, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
starts = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
zones = st.sampled_from(ZONES).map(ZoneInfo)
calendars = st.sampled_from([OFFICIAL, WEEKDAYS, LayeredCalendar((OFFICIAL,))])


class NeverWorked:
    """A calendar without a single working day; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def is_working_day(self, day: date) -> bool:
        self.asked += 1
        return False

    def known(self, day: date) -> bool:
        return True


def at_noon(*day: int) -> datetime:
    return datetime.combine(date(*day), time(12), SHANGHAI)


def limit(amount: int, unit: Unit = Unit.WORKING_DAYS, *, extension: int = 0) -> Limit:
    more = Extension(amount=extension, authority_consents=True, requester_told=True, article="第二十一条")
    return Limit(
        kind=LimitKind.ANSWER_CONDITIONAL,
        amount=amount,
        unit=unit,
        article="第二十一条",
        title_en="answer",
        title_zh="答复",
        extension=more if extension else None,
    )


@pytest.mark.parametrize(
    ("received", "days", "last"),
    [
        (at_noon(2026, 9, 18), 1, date(2026, 9, 20)),  # a Sunday that is made up
        (at_noon(2026, 9, 18), 10, date(2026, 10, 9)),
        (at_noon(2026, 2, 12), 10, date(2026, 3, 4)),
    ],
)
def test_working_days_follow_the_official_calendar(received: datetime, days: int, last: date) -> None:
    assert add_working_days(received, days, OFFICIAL, zone=SHANGHAI).day == last


@pytest.mark.parametrize(
    ("received", "days", "last"),
    [
        (at_noon(2026, 9, 18), 10, date(2026, 10, 2)),
        (at_noon(2026, 2, 12), 10, date(2026, 2, 26)),
    ],
)
def test_plain_weekdays_give_the_naive_answer(received: datetime, days: int, last: date) -> None:
    assert add_working_days(received, days, WEEKDAYS, zone=SHANGHAI).day == last


def test_a_limit_ends_with_the_local_day() -> None:
    found = add_working_days(at_noon(2026, 9, 18), 1, OFFICIAL, zone=SHANGHAI)
    assert found == Due(datetime(2026, 9, 20, 16, tzinfo=UTC), date(2026, 9, 20))
    assert found.at.tzinfo is UTC
    assert not found.missed(datetime(2026, 9, 20, 15, 59, 59, 999_999, tzinfo=UTC))
    assert found.missed(datetime(2026, 9, 20, 16, tzinfo=UTC))
    assert found.last == datetime(2026, 9, 20, 15, 59, 59, 999_999, tzinfo=UTC)


def test_a_receipt_late_in_utc_is_the_next_day_in_shanghai() -> None:
    received = datetime(2026, 9, 17, 23, 30, tzinfo=UTC)
    assert add_working_days(received, 1, OFFICIAL, zone=SHANGHAI).day == date(2026, 9, 20)
    assert add_working_days(received, 1, OFFICIAL, zone=UTC).day == date(2026, 9, 18)
    same = received.astimezone(ZoneInfo("America/New_York"))
    assert add_working_days(same, 1, OFFICIAL, zone=SHANGHAI).day == date(2026, 9, 20)


def test_a_year_without_data_is_counted_on_weekdays_and_named() -> None:
    found = add_working_days(at_noon(2026, 12, 31), 1, OFFICIAL, zone=SHANGHAI)
    assert (found.day, found.assumed_years) == (date(2027, 1, 1), (2027,))
    assert add_working_days(at_noon(2026, 12, 30), 1, OFFICIAL, zone=SHANGHAI).assumed_years == ()
    counted = working_days_between(at_noon(2026, 12, 31), at_noon(2028, 1, 3), OFFICIAL, zone=SHANGHAI)
    assert counted == Span(262, (2027, 2028))
    assert add_working_days(at_noon(2026, 12, 31), 1, WEEKDAYS, zone=SHANGHAI).assumed_years == ()


@given(starts, st.integers(1, 60), calendars, zones)
def test_adding_then_counting_gives_the_same_number(
    start: datetime, days: int, calendar: Calendar, zone: ZoneInfo
) -> None:
    found = add_working_days(start, days, calendar, zone=zone)
    assert working_days_between(start, found.last, calendar, zone=zone) == Span(days, found.assumed_years)


@given(starts, st.integers(1, 60), calendars, zones)
def test_a_deadline_is_a_working_day_and_ends_exactly_with_it(
    start: datetime, days: int, calendar: Calendar, zone: ZoneInfo
) -> None:
    found = add_working_days(start, days, calendar, zone=zone)
    assert calendar.is_working_day(found.day)
    assert found.day > start.astimezone(zone).date()
    assert found.last.astimezone(zone).date() == found.day
    assert found.at.astimezone(zone).date() == found.day + timedelta(days=1)


@given(starts, st.integers(1, 40), st.timedeltas(timedelta(), timedelta(days=30)), calendars)
def test_a_later_receipt_or_a_longer_limit_never_ends_earlier(
    start: datetime, days: int, later: timedelta, calendar: Calendar
) -> None:
    found = add_working_days(start, days, calendar, zone=SHANGHAI)
    assert add_working_days(start + later, days, calendar, zone=SHANGHAI).at >= found.at
    assert add_working_days(start, days + 1, calendar, zone=SHANGHAI).at > found.at


@pytest.mark.parametrize("days", [0, -1, 1001])
def test_a_number_of_days_out_of_bounds_is_refused(days: int) -> None:
    with pytest.raises(DeadlineError, match="1 to 1000"):
        add_working_days(at_noon(2026, 9, 18), days, OFFICIAL, zone=SHANGHAI)


def test_a_calendar_without_working_days_is_refused_rather_than_searched_for_ever() -> None:
    calendar = NeverWorked()
    with pytest.raises(DeadlineError, match="correct the calendar"):
        add_working_days(at_noon(2026, 9, 18), 1, calendar, zone=SHANGHAI)
    assert calendar.asked == MAX_SPAN_DAYS


@pytest.mark.parametrize(
    "start",
    [datetime(2026, 9, 18), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],  # noqa: DTZ001
)
def test_a_naive_or_absurd_time_is_refused(start: datetime) -> None:
    with pytest.raises(DeadlineError, match="a time must"):
        add_working_days(start, 1, OFFICIAL, zone=SHANGHAI)
    with pytest.raises(DeadlineError, match="a time must"):
        due(limit(1, Unit.HOURS), start, OFFICIAL, zone=SHANGHAI)


def test_a_count_that_ends_before_it_starts_or_never_is_refused() -> None:
    for end in (at_noon(2026, 9, 17), datetime(2026, 9, 18, 11, 59, tzinfo=SHANGHAI), at_noon(2100, 1, 1)):
        with pytest.raises(DeadlineError, match="the end must come after"):
            working_days_between(at_noon(2026, 9, 18), end, OFFICIAL, zone=SHANGHAI)


@pytest.mark.parametrize(
    ("amount", "unit", "start", "at"),
    [
        (2, Unit.HOURS, at_noon(2026, 9, 18), at_noon(2026, 9, 18) + timedelta(hours=2)),
        (15, Unit.DAYS, at_noon(2026, 9, 18), datetime(2026, 10, 4, tzinfo=SHANGHAI)),
        (6, Unit.MONTHS, at_noon(2026, 8, 31), datetime(2027, 3, 1, tzinfo=SHANGHAI)),
        (3, Unit.YEARS, at_noon(2024, 2, 29), datetime(2027, 3, 1, tzinfo=SHANGHAI)),
        (1, Unit.MONTHS, at_noon(2026, 12, 5), datetime(2027, 1, 6, tzinfo=SHANGHAI)),
    ],
)
def test_hours_natural_days_months_and_years(amount: int, unit: Unit, start: datetime, at: datetime) -> None:
    found = due(limit(amount, unit), start, NeverWorked(), zone=SHANGHAI)
    assert found is not None
    assert found.at == at
    assert found.last.astimezone(SHANGHAI).date() == found.day


def test_hours_are_elapsed_hours_when_the_clocks_change() -> None:
    zone = ZoneInfo("America/New_York")
    start = datetime(2026, 10, 31, 12, tzinfo=zone)
    stop, go = datetime(2026, 11, 1, 0, 30, tzinfo=zone), datetime(2026, 11, 1, 3, tzinfo=zone)
    found = due(
        limit(24, Unit.HOURS),
        start,
        WEEKDAYS,
        zone=zone,
        supplement=SupplementClock.PAUSES,
        pauses=[Pause(stop, go)],
    )
    # The day has 25 hours, and between the two wall times lie three and a half, not two and a half.
    plain = due(limit(24, Unit.HOURS), start, WEEKDAYS, zone=zone)
    assert plain is not None
    assert plain.at == start.astimezone(UTC) + timedelta(hours=24)
    assert found is not None
    assert found.at == start.astimezone(UTC) + timedelta(hours=27.5)


def test_an_extension_counts_on_from_the_limit_and_only_as_far_as_the_article_goes() -> None:
    answer = limit(10, extension=10)
    found = due(answer, at_noon(2026, 9, 18), OFFICIAL, zone=SHANGHAI, extended_by=10)
    assert found == add_working_days(at_noon(2026, 9, 18), 20, OFFICIAL, zone=SHANGHAI)
    for by in (11, -1):
        with pytest.raises(DeadlineError, match="at most 10 working_days .第二十一条"):
            due(answer, at_noon(2026, 9, 18), OFFICIAL, zone=SHANGHAI, extended_by=by)
    with pytest.raises(DeadlineError, match="not possible"):
        due(limit(20), at_noon(2026, 9, 18), OFFICIAL, zone=SHANGHAI, extended_by=1)


def paused(policy: SupplementClock, *pauses: Pause) -> Due | None:
    """Ten working days from Monday 2026-06-01, a month whose only holiday is Friday the 19th."""
    return due(limit(10), at_noon(2026, 6, 1), OFFICIAL, zone=SHANGHAI, supplement=policy, pauses=pauses)


WEEK = Pause(at_noon(2026, 6, 3), at_noon(2026, 6, 9))


@pytest.mark.parametrize(
    ("policy", "last"),
    [
        (SupplementClock.CONTINUES, date(2026, 6, 15)),
        # The 2nd is counted; 3rd to 9th are not; then nine more from the 10th around the holiday.
        (SupplementClock.PAUSES, date(2026, 6, 23)),
        (SupplementClock.RESTARTS, date(2026, 6, 24)),
    ],
)
def test_a_supplement_moves_the_deadline_by_the_packs_policy(policy: SupplementClock, last: date) -> None:
    found = paused(policy, WEEK)
    assert found is not None
    assert found.day == last


def test_a_stopped_clock_has_no_deadline_and_one_that_ran_out_before_keeps_it() -> None:
    waiting, too_late = Pause(at_noon(2026, 6, 3)), Pause(at_noon(2026, 6, 16))
    for policy in (SupplementClock.PAUSES, SupplementClock.RESTARTS):
        assert paused(policy, waiting) is None
        assert paused(policy, too_late) == paused(SupplementClock.CONTINUES)
        assert paused(policy, Pause(at_noon(2026, 6, 16), at_noon(2026, 6, 30))) == paused(policy)
    assert paused(SupplementClock.CONTINUES, waiting) == paused(SupplementClock.CONTINUES)


def test_a_notice_on_the_last_day_is_in_time() -> None:
    last_day = Pause(at_noon(2026, 6, 15), at_noon(2026, 6, 17))
    assert paused(SupplementClock.PAUSES, Pause(last_day.begin)) is None
    found = paused(SupplementClock.PAUSES, last_day)
    assert found is not None and found.day == date(2026, 6, 18)


@given(
    st.sampled_from([Unit.WORKING_DAYS, Unit.DAYS, Unit.HOURS, Unit.MONTHS]),
    st.integers(1, 20),
    st.lists(st.timedeltas(timedelta(), timedelta(days=9)), max_size=8).filter(
        lambda gaps: len(gaps) % 2 == 0
    ),
)
def test_no_policy_ends_a_limit_earlier_than_a_stricter_one(
    unit: Unit, amount: int, gaps: list[timedelta]
) -> None:
    moment, pauses = at_noon(2026, 6, 1), []
    for wait, length in zip(gaps[::2], gaps[1::2], strict=True):
        pauses.append(Pause(moment + wait, moment + wait + length))
        moment += wait + length
    ends = []
    for policy in (SupplementClock.CONTINUES, SupplementClock.PAUSES):
        found = due(
            limit(amount, unit),
            at_noon(2026, 6, 1),
            OFFICIAL,
            zone=SHANGHAI,
            supplement=policy,
            pauses=pauses,
        )
        assert found is not None
        ends.append(found.at)
    assert ends == sorted(ends)


@given(st.sampled_from(list(Unit)), st.integers(1, 20), starts, starts)
def test_an_open_pause_stops_exactly_the_clock_that_a_closed_one_would_move(
    unit: Unit, amount: int, start: datetime, begin: datetime
) -> None:
    assume(begin >= start)
    plain = due(limit(amount, unit), start, WEEKDAYS, zone=SHANGHAI)
    assert plain is not None
    for policy in (SupplementClock.PAUSES, SupplementClock.RESTARTS):
        args = {"zone": SHANGHAI, "supplement": policy}
        waiting = due(limit(amount, unit), start, WEEKDAYS, pauses=[Pause(begin)], **args)  # type: ignore[arg-type]
        until = begin + timedelta(days=10)
        resumed = due(limit(amount, unit), start, WEEKDAYS, pauses=[Pause(begin, until)], **args)  # type: ignore[arg-type]
        assert resumed is not None
        assert waiting == (plain if plain.missed(begin) else None)
        assert (resumed.at > plain.at) == (waiting is None)


@pytest.mark.parametrize(
    "pauses",
    [
        [Pause(at_noon(2026, 5, 31))],
        [Pause(at_noon(2026, 6, 3), at_noon(2026, 6, 2))],
        [WEEK, Pause(at_noon(2026, 6, 8))],
        [Pause(at_noon(2026, 6, 3)), Pause(at_noon(2026, 6, 4))],
        [WEEK, Pause(datetime(2026, 6, 10))],  # noqa: DTZ001
        [Pause(at_noon(2026, 6, 2), at_noon(2026, 6, 2))] * 17,
    ],
)
def test_pauses_out_of_order_naive_or_too_many_are_refused(pauses: list[Pause]) -> None:
    with pytest.raises(DeadlineError):
        paused(SupplementClock.PAUSES, *pauses)


def test_two_pauses_that_share_a_day_count_it_once() -> None:
    until = at_noon(2026, 6, 3)
    twice = [Pause(until - timedelta(hours=1), until), Pause(until + timedelta(hours=1), at_noon(2026, 6, 4))]
    found = due(
        limit(1, Unit.MONTHS),
        at_noon(2026, 6, 1),
        OFFICIAL,
        zone=SHANGHAI,
        supplement=SupplementClock.PAUSES,
        pauses=twice,
    )
    assert found is not None and found.day == date(2026, 7, 3)


def test_a_fixed_offset_is_a_zone_too() -> None:
    beijing = timezone(timedelta(hours=8))
    assert add_working_days(at_noon(2026, 9, 18), 10, OFFICIAL, zone=beijing).day == date(2026, 10, 9)
