"""What was measured, as values, and the few statistics made of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One peer under one load, once.

    Attributes:
        calls: all were answered with OK.
        elapsed: seconds.
        p50, p99: milliseconds.
        cpu: user and system seconds of each process, by what it is.
        caller_cpu: the same of the callers, who are no part of any figure.
    """

    calls: int
    elapsed: float
    p50: float
    p99: float
    cpu: Mapping[str, float]
    caller_cpu: float

    @property
    def throughput(self) -> float:
        """Answered calls a second."""
        return self.calls / self.elapsed if self.elapsed else 0.0

    def cpu_us(self, processes: Iterable[str]) -> float:
        """Microseconds of CPU for each answered call, of these processes together; NaN without calls."""
        return sum(self.cpu[each] for each in processes) / self.calls * 1e6 if self.calls else math.nan

    def document(self) -> dict[str, Any]:
        """For bench.json."""
        return {
            "calls": self.calls,
            "elapsed_s": rounded(self.elapsed),
            "throughput_per_s": rounded(self.throughput),
            "p50_ms": rounded(self.p50),
            "p99_ms": rounded(self.p99),
            "cpu_us_per_call": {name: rounded(self.cpu_us([name])) for name in self.cpu},
            "caller_cpu_us_per_call": rounded(self.caller_cpu / self.calls * 1e6) if self.calls else None,
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one figure."""

    values: tuple[float, ...] = field(default=())

    @property
    def median(self) -> float:
        """The middle one; NaN of none."""
        return statistics.median(self.values) if self.values else math.nan

    def document(self) -> dict[str, Any]:
        """For bench.json."""
        if not self.values:
            return {"median": None, "min": None, "max": None, "rounds": 0}
        return {
            "median": rounded(self.median),
            "min": rounded(min(self.values)),
            "max": rounded(max(self.values)),
            "rounds": len(self.values),
        }


def paired(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The ratio of each round's two figures: what slows the machine for a while slows both of them."""
    pairs = zip(above, below, strict=False)
    return Spread(tuple(one / other for one, other in pairs if other and _all_numbers(one, other)))


def differences(minuend: Sequence[float], subtrahend: Sequence[float]) -> Spread:
    """The difference of each round's two figures."""
    pairs = zip(minuend, subtrahend, strict=False)
    return Spread(tuple(one - other for one, other in pairs if _all_numbers(one, other)))


def _all_numbers(*values: float) -> bool:
    return all(map(math.isfinite, values))


def words(value: float | None) -> str:
    """A figure for people: four significant digits, thousands in full; a dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rounded(value: float) -> float | None:
    """Four significant digits; None for what JSON has no number for."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
