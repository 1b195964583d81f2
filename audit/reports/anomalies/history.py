"""Whether what was counted in a stretch of time is unusual for the same contract or system in earlier ones. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from audit.reports.anomalies.baseline import Baseline
from audit.reports.anomalies.found import Tally
from audit.reports.anomalies.hours import Sort, Stretch


@dataclass(frozen=True, slots=True)
class Unusual:
    """A tally that is unusual, what was usual, and from which count on it would have been unusual."""

    stretch: Stretch
    tally: Tally
    usual: Baseline
    limit: int

    @property
    def weight(self) -> float:
        """How unusual: 1 where it just is."""
        return self.tally.count / self.limit


@dataclass(slots=True)
class History:
    """What was counted for some keys in earlier stretches.

    Args:
        began: the keys that are judged, each with the position of its first record within the history, 0 for one that is
            older; a key that is not in it is new.
    """

    began: Mapping[str, int]
    _counts: dict[tuple[str, Sort], list[int]] = field(default_factory=dict)

    def add(self, sort: Sort, stop: int, counts: Mapping[str, int]) -> None:
        """Adds a stretch that ends before the position `stop`; a key that existed and is not in `counts` had none."""
        for key, first in self.began.items():
            if first < stop:
                self._counts.setdefault((key, sort), []).append(counts.get(key, 0))

    def of(self, key: str, sort: Sort) -> Sequence[int]:
        """What was counted for a key in stretches of a sort."""
        return self._counts.get((key, sort), ())


@dataclass(slots=True)
class Judge:
    """Compares tallies with their history.

    Attributes:
        deviations, least, min_history: see `AnomalyLimits`.
        unjudged: the keys of which there is too little history.
    """

    deviations: float
    least: int
    min_history: int
    unjudged: set[str] = field(default_factory=set)

    def unusual(self, tallies: Iterable[tuple[Stretch, Tally]], history: History) -> Iterator[Unusual]:
        """The tallies that are unusual for their key and their sort of time."""
        for stretch, tally in tallies:
            counts = history.of(tally.key, stretch.sort)
            if len(counts) < self.min_history:
                self.unjudged.add(tally.key)
                continue
            usual = Baseline.of(counts)
            limit = usual.limit(self.deviations, self.least)
            if tally.count >= limit:
                yield Unusual(stretch, tally, usual, limit)
