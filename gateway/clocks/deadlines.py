"""When a limit ends, on a calendar, in a zone, around the pauses of its clock.

The day something is received is not counted (as in 民法典 art. 201), and a limit of days or longer ends with the
last day, local time, whether or not that day is worked: only working days are moved by a calendar.
"""

from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from gateway.clocks.calendar import Calendar
from gateway.clocks.limits import MAX_AMOUNT, Limit, SupplementClock, Unit

MAX_SPAN_DAYS: Final = 20_000
MAX_PAUSES: Final = 16
FIRST_YEAR: Final = 1949
LAST_YEAR: Final = 2999

_DAY: Final = timedelta(days=1)
_MONTHS: Final = {Unit.MONTHS: 1, Unit.YEARS: 12}


class DeadlineError(ValueError):
    """A deadline cannot be computed from what was given; says what would be accepted."""


@dataclass(frozen=True, slots=True)
class Due:
    """When a limit ends.

    Args:
        at: the first moment that is too late, UTC: the end of `day` unless the limit counts hours.
        day: the last day in local time, the one to show to people.
        assumed_years: years the calendar had no data for, so that Monday to Friday were taken.
    """

    at: datetime
    day: date
    assumed_years: tuple[int, ...] = ()

    @property
    def last(self) -> datetime:
        """The last moment that is in time, UTC."""
        return self.at - datetime.resolution

    def missed(self, now: datetime) -> bool:
        """Whether `now` is too late."""
        return now >= self.at


@dataclass(frozen=True, slots=True)
class Span:
    """A number of working days; `assumed_years` as in `Due`."""

    days: int
    assumed_years: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """A clock is stopped from the notice `begin` until the supplement is received; None while it is awaited."""

    begin: datetime
    until: datetime | None = None


def add_working_days(start: datetime, days: int, calendar: Calendar, *, zone: tzinfo) -> Due:
    """The end of the `days`-th working day after the day of `start`.

    Args:
        start: the receipt, aware.
        days: 1 to 1000.
        calendar: says which days are worked.
        zone: the zone whose days are counted.

    Raises:
        DeadlineError: `start` is naive or outside 1949 to 2999, `days` is out of bounds, or the calendar has
            fewer working days in the next 20000.
    """
    most = MAX_AMOUNT[Unit.WORKING_DAYS]
    if not 1 <= days <= most:
        raise DeadlineError(f"the working days must be from 1 to {most}")
    return _Count(days, Unit.WORKING_DAYS, calendar, zone).due(_utc(start), ())


def working_days_between(start: datetime, end: datetime, calendar: Calendar, *, zone: tzinfo) -> Span:
    """How many working days come after the day of `start`, up to and including the day of `end`.

    Raises:
        DeadlineError: a time is naive or outside 1949 to 2999, `end` is before `start`, or they are more than
            20000 days apart.
    """
    first, last = _local_day(_utc(start), zone), _local_day(_utc(end), zone)
    if _utc(end) < _utc(start) or (last - first).days > MAX_SPAN_DAYS:
        raise DeadlineError(f"the end must come after the start, at most {MAX_SPAN_DAYS} days")
    watch = _Watch(calendar)
    worked = sum(watch(first + n * _DAY) for n in range(1, (last - first).days + 1))
    return Span(worked, watch.assumed_years)


def due(
    limit: Limit,
    start: datetime,
    calendar: Calendar,
    *,
    zone: tzinfo,
    extended_by: int = 0,
    supplement: SupplementClock = SupplementClock.CONTINUES,
    pauses: Sequence[Pause] = (),
) -> Due | None:
    """When `limit` ends; None while its clock is stopped.

    A notice given after the limit has ended changes nothing. Where the clock PAUSES, the day of the notice, the
    day the supplement is received and those between are not counted (a limit of hours: exactly the time
    between); where it RESTARTS, the whole limit is counted again from the supplement.

    Args:
        limit: what ends.
        start: when it begins, aware; its own day is not counted.
        calendar: asked only where the limit counts working days.
        zone: the zone whose days are counted.
        extended_by: granted in addition, in the limit's unit, at most `limit.extension.amount`.
        supplement: the policy of the pack that the case began under.
        pauses: in order, not overlapping, at most 16; only the last may be open.

    Raises:
        DeadlineError: as `add_working_days`, or for an extension or pauses that are not as said above.
    """
    start = _utc(start)
    pauses = _in_order(start, pauses)
    count = _Count(limit.amount + _extension(limit, extended_by), limit.unit, calendar, zone)
    if supplement is SupplementClock.CONTINUES:
        return count.due(start, ())
    if supplement is SupplementClock.RESTARTS:
        return _restarting(count, start, pauses)
    return _pausing(count, start, pauses)


def _pausing(count: "_Count", start: datetime, pauses: Sequence[Pause]) -> Due | None:
    closed = [(pause.begin, pause.until) for pause in pauses if pause.until is not None]
    found = count.due(start, closed)
    stopped = len(closed) < len(pauses) and found.at > pauses[-1].begin
    return None if stopped else found


def _restarting(count: "_Count", start: datetime, pauses: Sequence[Pause]) -> Due | None:
    for pause in pauses:
        found = count.due(start, ())
        if found.at <= pause.begin:
            return found
        if pause.until is None:
            return None
        start = pause.until
    return count.due(start, ())


def _extension(limit: Limit, extended_by: int) -> int:
    most = limit.extension.amount if limit.extension else 0
    if not 0 <= extended_by <= most:
        what = f"at most {most} {limit.unit.value}" if most else "not possible"
        raise DeadlineError(f"an extension of {limit.kind.value} is {what} ({limit.article})")
    return extended_by


def _in_order(start: datetime, pauses: Sequence[Pause]) -> list[Pause]:
    if len(pauses) > MAX_PAUSES:
        raise DeadlineError(f"a clock is paused at most {MAX_PAUSES} times")
    result: list[Pause] = []
    free: datetime | None = start
    for each in pauses:
        pause = Pause(_utc(each.begin), None if each.until is None else _utc(each.until))
        if free is None or pause.begin < free:
            raise DeadlineError("a pause must begin after the limit does and after the pause before it ended")
        if pause.until is not None and pause.until < pause.begin:
            raise DeadlineError("a pause must end after it began")
        free = pause.until
        result.append(pause)
    return result


def _utc(moment: datetime) -> datetime:
    # Everything is UTC from here on: two times of one zone would be subtracted as a wall clock shows them.
    if moment.utcoffset() is None:
        raise DeadlineError("a time must have a zone: 2026-09-18T08:00:00Z, not 2026-09-18T08:00:00")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise DeadlineError(f"a time must be in {FIRST_YEAR} to {LAST_YEAR}")
    return moment.astimezone(UTC)


def _local_day(moment: datetime, zone: tzinfo) -> date:
    return moment.astimezone(zone).date()


def _end_of(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day + _DAY, time(), zone).astimezone(UTC)


def _plus_months(day: date, months: int) -> date:
    # A day that the month lacks becomes the month's last (as in 民法典 art. 202).
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


class _Watch:
    """Asks a calendar, and remembers the years in which it had to assume."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._assumed: set[int] = set()

    def __call__(self, day: date) -> bool:
        if not self._calendar.known(day):
            self._assumed.add(day.year)
        return self._calendar.is_working_day(day)

    @property
    def assumed_years(self) -> tuple[int, ...]:
        return tuple(sorted(self._assumed))


class _Count:
    """A number of units to be counted from some moment."""

    def __init__(self, amount: int, unit: Unit, calendar: Calendar, zone: tzinfo) -> None:
        self._amount = amount
        self._unit = unit
        self._calendar = calendar
        self._zone = zone

    def due(self, start: datetime, pauses: Sequence[tuple[datetime, datetime]]) -> Due:
        first = _local_day(start, self._zone)
        if self._unit is Unit.HOURS:
            return self._hours_from(start, pauses)
        stopped = [(_local_day(begin, self._zone), _local_day(until, self._zone)) for begin, until in pauses]
        if self._unit in _MONTHS:
            return self._until(self._months_from(first, stopped))
        watch = _Watch(self._calendar)
        counted = watch if self._unit is Unit.WORKING_DAYS else _every_day
        last = self._days_from(first, lambda day: not _within(day, stopped) and counted(day))
        return self._until(last, watch.assumed_years)

    def _until(self, day: date, assumed_years: tuple[int, ...] = ()) -> Due:
        return Due(_end_of(day, self._zone), day, assumed_years)

    def _hours_from(self, start: datetime, pauses: Sequence[tuple[datetime, datetime]]) -> Due:
        at = start + timedelta(hours=self._amount)
        for begin, until in pauses:
            if begin < at:
                at += until - begin
        return Due(at, at.astimezone(self._zone).date())

    def _months_from(self, first: date, stopped: Sequence[tuple[date, date]]) -> date:
        last = _plus_months(first, self._amount * _MONTHS[self._unit])
        free = first + _DAY
        for begin, until in stopped:
            if begin <= last:
                last += max(until - max(begin, free) + _DAY, timedelta())
                free = max(free, until + _DAY)
        return last

    def _days_from(self, first: date, counts: Callable[[date], bool]) -> date:
        day, left = first, self._amount
        for _ in range(MAX_SPAN_DAYS):
            day += _DAY
            left -= counts(day)
            if left == 0:
                return day
        raise DeadlineError(
            f"{self._amount} {self._unit.value} do not end within {MAX_SPAN_DAYS} days; correct the calendar"
        )


def _every_day(_day: date) -> bool:
    return True


def _within(day: date, stopped: Sequence[tuple[date, date]]) -> bool:
    return any(begin <= day <= until for begin, until in stopped)
