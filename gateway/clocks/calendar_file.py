"""A calendar that a deployment loads itself: one TOML file a year, for a notice newer than the software.

    year = 2027
    source = "国务院办公厅关于2027年部分节假日安排的通知"
    holidays = [2027-01-01, 2027-02-05]
    working_days = [2027-02-07]

`holidays` are days off, `working_days` the make-up days: Saturdays and Sundays that are worked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from gateway.clocks.calendar import is_weekday
from isthmus.config import ConfigError, load

MAX_FILES: Final = 100
MAX_DAYS: Final = 200
MAX_SOURCE_CHARS: Final = 500
FIRST_YEAR: Final = 1949
LAST_YEAR: Final = 2999


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarYear:
    """One year's notice. Raises ValueError when a day contradicts the year, another day, or its own list.

    Args:
        year: 1949 to 2999.
        source: the notice the days are from, to be cited.
        holidays: at most 200 days off; days of a weekend may be among them, as in the notices.
        working_days: at most 200 make-up days, each a Saturday or Sunday.
    """

    year: int
    source: str
    holidays: tuple[date, ...]
    working_days: tuple[date, ...]

    def __post_init__(self) -> None:
        if not FIRST_YEAR <= self.year <= LAST_YEAR:
            raise ValueError(f"year must be from {FIRST_YEAR} to {LAST_YEAR}")
        if not self.source.strip() or len(self.source) > MAX_SOURCE_CHARS:
            raise ValueError(f"source must name the notice in 1 to {MAX_SOURCE_CHARS} characters")
        self._require_days("holidays", self.holidays)
        self._require_days("working_days", self.working_days)
        for day in self.working_days:
            if is_weekday(day):
                raise ValueError(f"working_days: {day} is a Monday to Friday; leave it out of both lists")
        for day in sorted(set(self.holidays) & set(self.working_days)):
            raise ValueError(f"{day} is both a holiday and a working day; leave it in one list")

    def _require_days(self, key: str, days: tuple[date, ...]) -> None:
        if len(days) > MAX_DAYS:
            raise ValueError(f"{key} has {len(days)} days; at most {MAX_DAYS} are possible")
        for day, times in Counter(days).items():
            if day.year != self.year:
                raise ValueError(f"{key}: {day} is not in {self.year}; put it into that year's file")
            if times > 1:
                raise ValueError(f"{key}: {day} is there {times} times; write it once")


class FileCalendar:
    """The calendar of some years, as loaded; see `gateway.clocks.calendar.Calendar`.

    Raises:
        ValueError: two of `years` are for the same year.
    """

    def __init__(self, years: Iterable[CalendarYear]) -> None:
        found: dict[int, CalendarYear] = {}
        for each in years:
            if each.year in found:
                raise ValueError(f"the year {each.year} is given twice")
            found[each.year] = each
        self._sources = {year: each.source for year, each in found.items()}
        self._holidays = frozenset(day for each in found.values() for day in each.holidays)
        self._working_days = frozenset(day for each in found.values() for day in each.working_days)

    @property
    def sources(self) -> Mapping[int, str]:
        """The notice cited for each year."""
        return dict(self._sources)

    def is_working_day(self, day: date) -> bool:
        """See `Calendar`."""
        return day in self._working_days or (is_weekday(day) and day not in self._holidays)

    def known(self, day: date) -> bool:
        """Whether a file for the year of `day` was loaded."""
        return day.year in self._sources


def load_calendar(folder: Path) -> FileCalendar:
    """Reads every `*.toml` of a folder, one year each, at most 100.

    Raises:
        ConfigError: the folder or a file cannot be read, a file does not fit, or two are for the same year;
            names the file, the key and what is wrong.
    """
    if not folder.is_dir():
        raise ConfigError(str(folder), "", "is no folder; name the folder of the calendar's files")
    paths = sorted(folder.glob("*.toml"))
    if len(paths) > MAX_FILES:
        raise ConfigError(str(folder), "", f"has {len(paths)} files; at most {MAX_FILES} are read")
    found: dict[int, tuple[Path, CalendarYear]] = {}
    for path in paths:
        each = load(path, CalendarYear)
        if each.year in found:
            other = found[each.year][0].name
            raise ConfigError(str(path), "year", f"{each.year} is in {other} too; keep one of the two files")
        found[each.year] = (path, each)
    return FileCalendar(each for _, each in found.values())
