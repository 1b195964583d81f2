"""Days of UTC as numbers, and sets of the last few of them in one integer."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from isthmus.errors import InvalidArgument

DAY_MS: Final = 86_400_000
_FIRST: Final = date(1970, 1, 1)


@lru_cache(maxsize=1024)
def day_number(text: str) -> int:
    """The number of a day, counted from 1970-01-01.

    Args:
        text: `2026-11-24`.

    Raises:
        ValueError: there is no such day.
    """
    return (date.fromisoformat(text) - _FIRST).days


def parse_day(text: str, *, field: str) -> int:
    """The same of what somebody asks for.

    Raises:
        InvalidArgument: there is no such day, or none after 1970.
    """
    try:
        number = day_number(text)
    except ValueError:
        number = -1
    if number < 0:
        raise InvalidArgument(field, "is no day: write it as 2026-11-24")
    return number


def day_text(number: int) -> str:
    """The day of a number, as `day_number` takes it."""
    return (_FIRST + timedelta(days=number)).isoformat()


def day_of(moment: datetime) -> int:
    """The number of the day of an aware time."""
    return (moment.astimezone(UTC).date() - _FIRST).days


class Days:
    """A set of days. It forgets those that lie `kept` days or more before its last."""

    __slots__ = ("_bits", "_last")

    def __init__(self) -> None:
        self._last = -1
        self._bits = 0

    def add(self, day: int, *, kept: int) -> None:
        """Take in a day."""
        if day > self._last:
            self._bits = (self._bits << min(day - self._last, kept) | 1) & ((1 << kept) - 1)
            self._last = day
        elif self._last - day < kept:
            self._bits |= 1 << (self._last - day)

    def between(self, first: int, last: int) -> bool:
        """Whether one of them lies between two days, both included."""
        newest, oldest = self._last - max(0, self._last - last), first
        if newest < oldest or newest > last:
            return False
        low, high = self._last - newest, self._last - oldest
        return bool(self._bits >> low & ((1 << (high - low + 1)) - 1))
