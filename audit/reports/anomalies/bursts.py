"""Bursts of denials: a window that slides over the minutes of one system. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from audit.reports.anomalies.found import Tally


@dataclass(frozen=True, slots=True)
class Minute:
    """What one system asked in one minute: how many exchanges, and its denials, None without any."""

    number: int
    exchanges: int
    denials: Tally | None


@dataclass(frozen=True, slots=True)
class Burst:
    """All denials of a system from the first of a burst to its last, and how many the fullest window held."""

    denials: Tally
    peak: int
    share: float


@dataclass(slots=True)
class BurstFinder:
    """Finds the bursts of one system at a time; it never holds more minutes than the window has.

    Args:
        least: denials within the window.
        window: minutes.
        share: which part of the exchanges in the window they are at least.
    """

    least: int
    window: int
    share: float
    _minutes: deque[Minute] = field(default_factory=deque)
    _burst: Burst | None = None

    def find(self, minutes: Iterable[Minute]) -> Iterator[Burst]:
        """The bursts in the minutes of one system, in order."""
        self._minutes.clear()
        self._burst = None
        for minute in minutes:
            self._forget(minute.number - self.window)
            # Before the new minute is added: a burst may have ended while nothing was asked.
            if self._burst is not None and not self._minutes:
                yield self._end()
            self._minutes.append(minute)
            if not self._is_burst():
                if self._burst is not None:
                    yield self._end()
                continue
            self._grow(minute)
        if self._burst is not None:
            yield self._end()

    def _forget(self, upto: int) -> None:
        while self._minutes and self._minutes[0].number <= upto:
            self._minutes.popleft()

    def _is_burst(self) -> bool:
        denials, exchanges = self._sums()
        return denials >= self.least and denials >= self.share * exchanges

    def _sums(self) -> tuple[int, int]:
        denials = sum(each.denials.records for each in self._minutes if each.denials)
        return denials, sum(each.exchanges for each in self._minutes)

    def _grow(self, minute: Minute) -> None:
        denials, exchanges = self._sums()
        if self._burst is None:
            parts = [each.denials for each in self._minutes if each.denials]
            whole = parts[0]
            for part in parts[1:]:
                whole = _joined(whole, part)
            self._burst = Burst(whole, denials, denials / exchanges)
            return
        whole = self._burst.denials
        if minute.denials:
            whole = _joined(whole, minute.denials)
        fullest = max(denials, self._burst.peak)
        share = denials / exchanges if denials >= self._burst.peak else self._burst.share
        self._burst = Burst(whole, fullest, share)

    def _end(self) -> Burst:
        burst, self._burst = self._burst, None
        assert burst is not None
        # The next one begins anew: no denial belongs to two.
        while self._minutes and (
            self._minutes[0].denials is None or self._minutes[0].denials.first <= burst.denials.last
        ):
            self._minutes.popleft()
        return burst


def _joined(one: Tally, other: Tally) -> Tally:
    records = one.records + other.records
    return replace(one, records=records, count=records, last=other.last, last_ms=other.last_ms)
