"""Days, nights and days of rest of a period, in local time, by the State Council's calendar with its make-up days.

The calendar is that of the package `chinesecalendar`, made from the yearly notices 国务院办公厅关于部分节假日安排的通知. For a
year that it has no notice of, Monday to Friday are taken as worked, and `assumed_years` says so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

import chinese_calendar  # type: ignore[import-untyped]

_SATURDAY = 5
_DAY = timedelta(days=1)


class Sort(Enum):
    """What sort of time it is; only times of one sort are compared. The value names several of them."""

    WORKED = "working days"
    REST = "days of rest"
    NIGHT = "nights"
    REST_DAYTIME = "days of rest "

    @property
    def many(self) -> str:
        """Its name for several."""
        return self.value.strip()


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time from `start` up to before `end` (UTC): a day, a night, or the day of a day of rest; `day` is its local date,
    of a night the one on which it begins.
    """

    sort: Sort
    day: date
    start: datetime
    end: datetime

    def __str__(self) -> str:
        name = f"{self.day:%A} {self.day.day} {self.day:%B %Y}"
        return f"in the night after {name}" if self.sort is Sort.NIGHT else f"on {name}"


class WorkCalendar:
    """Which days are worked."""

    def __init__(self) -> None:
        self._holidays = frozenset(chinese_calendar.holidays)
        self._made_up = frozenset(chinese_calendar.workdays)
        self._years = frozenset(day.year for day in self._holidays)

    def is_worked(self, day: date) -> bool:
        """Whether a day is worked; Monday to Friday in a year that the calendar has no notice of."""
        return day in self._made_up or (day.weekday() < _SATURDAY and day not in self._holidays)

    def assumed_years(self, days: Iterator[date]) -> list[int]:
        """The years of these days of which there is no notice."""
        return sorted({day.year for day in days} - self._years)


@dataclass(frozen=True, slots=True)
class Hours:
    """Cuts a period into stretches.

    Attributes:
        zone: whose days are meant.
        night_begins, night_ends: hours of the day.
        is_worked: the calendar.
    """

    zone: ZoneInfo
    night_begins: int
    night_ends: int
    is_worked: Callable[[date], bool]

    def dates(self, since: datetime, until: datetime) -> Iterator[date]:
        """The local dates of a period."""
        day, last = since.astimezone(self.zone).date(), (until - _TICK).astimezone(self.zone).date()
        while day <= last:
            yield day
            day += _DAY

    def days(self, since: datetime, until: datetime) -> Iterator[Stretch]:
        """The local days of a period, the first and the last cut off by it."""
        for day in self.dates(since, until):
            sort = Sort.WORKED if self.is_worked(day) else Sort.REST
            yield from _cut(sort, day, (self._at(day, 0), self._at(day + _DAY, 0)), (since, until))

    def off_hours(self, since: datetime, until: datetime) -> Iterator[Stretch]:
        """The nights of a period and what lies between them on days of rest, cut off by it, in order."""
        for day in self.dates(since - _DAY, until):
            dawn, dusk = self._at(day, self.night_ends), self._at(day, self.night_begins)
            if not self.is_worked(day):
                yield from _cut(Sort.REST_DAYTIME, day, (dawn, dusk), (since, until))
            yield from _cut(Sort.NIGHT, day, (dusk, self._at(day + _DAY, self.night_ends)), (since, until))

    def _at(self, day: date, hour: int) -> datetime:
        return datetime.combine(day, time(hour), self.zone).astimezone(UTC)


_TICK = timedelta(milliseconds=1)


def _cut(
    sort: Sort, day: date, whole: tuple[datetime, datetime], period: tuple[datetime, datetime]
) -> Iterator[Stretch]:
    start, end = max(whole[0], period[0]), min(whole[1], period[1])
    if start < end:
        yield Stretch(sort, day, start, end)
