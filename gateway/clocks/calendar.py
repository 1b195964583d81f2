"""Which days are worked: the State Council's calendar with make-up days, plain weekdays, and layers of both.

No calendar ever fails for a year it has no data for: it answers Monday to Friday and `known` is False, so that
whoever computes a deadline can say which years were assumed.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final, Protocol

import chinese_calendar  # type: ignore[import-untyped]

_SATURDAY: Final = 5


class Calendar(Protocol):
    """A calendar of local dates; the caller chooses the zone."""

    def is_working_day(self, day: date) -> bool:
        """Whether `day` is worked. Never raises; Monday to Friday where `known(day)` is False."""
        ...

    def known(self, day: date) -> bool:
        """Whether the calendar itself says so, rather than assuming Monday to Friday."""
        ...


def is_weekday(day: date) -> bool:
    """Whether `day` is a Monday to Friday."""
    return day.weekday() < _SATURDAY


class WeekdayCalendar:
    """Monday to Friday are worked, in every year, by definition: nothing is assumed."""

    def is_working_day(self, day: date) -> bool:
        """See `Calendar`."""
        return is_weekday(day)

    def known(self, day: date) -> bool:
        """Always True."""
        return True


class StateCouncilCalendar:
    """The yearly notices 国务院办公厅关于部分节假日安排的通知: statutory holidays and make-up days (调休).

    The data is that of the package `chinesecalendar`; a year is known once a release of it carries the notice.
    A notice can make the last weekend of the year before it a working day (as for 2006-12-30): when the next
    notice says so, load it as a file, see `gateway.clocks.calendar_file`.
    """

    def __init__(self) -> None:
        self._holidays = frozenset(chinese_calendar.holidays)
        self._working_days = frozenset(chinese_calendar.workdays)
        self._years = frozenset(day.year for day in self._holidays)

    @property
    def years(self) -> frozenset[int]:
        """The years there is data for."""
        return self._years

    def is_working_day(self, day: date) -> bool:
        """See `Calendar`."""
        return day in self._working_days or (is_weekday(day) and day not in self._holidays)

    def known(self, day: date) -> bool:
        """Whether the notice for the year of `day` is in the data."""
        return day.year in self._years


class LayeredCalendar:
    """The first layer that knows a day decides it; a day that none knows is assumed to be Monday to Friday.

    Args:
        layers: the most specific first, such as an operator's file over the State Council's calendar.
    """

    def __init__(self, layers: Sequence[Calendar]) -> None:
        self._layers = tuple(layers)

    def is_working_day(self, day: date) -> bool:
        """See `Calendar`."""
        for layer in self._layers:
            if layer.known(day):
                return layer.is_working_day(day)
        return is_weekday(day)

    def known(self, day: date) -> bool:
        """Whether any layer knows the day."""
        return any(layer.known(day) for layer in self._layers)
