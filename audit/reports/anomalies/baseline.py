"""What is usual, from history: the median, and how far from it things usually are. Both withstand a few wild days."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import median
from typing import Final

_NORMAL: Final = 1.4826
"""The median absolute deviation times this is the standard deviation, of what is spread normally."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was usual.

    Attributes:
        size: over how many days or nights.
        middle: the median.
        spread: the robust standard deviation; never below the square root of the median, nor below 1.
    """

    size: int
    middle: float
    spread: float

    @classmethod
    def of(cls, counts: Sequence[int]) -> "Baseline":
        """What was usual where these were counted. Raises ValueError for none."""
        if not counts:
            raise ValueError("nothing is usual where there is no history")
        middle = float(median(counts))
        deviation = _NORMAL * float(median(abs(each - middle) for each in counts))
        return cls(len(counts), middle, max(deviation, sqrt(middle), 1.0))

    def limit(self, deviations: float, least: int) -> int:
        """The smallest count that is unusual: more than so many deviations above the median, and `least` at least."""
        return max(least, ceil(self.middle + deviations * self.spread))
