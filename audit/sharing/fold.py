"""What the log says about sharing, taken in record by record: enough for every figure, and no more."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from audit.sharing.catalogue import Catalogue
from audit.sharing.days import DAY_MS, Days, day_number
from audit.sharing.negotiation import Negotiations

KEPT_DAYS: Final = 62
"""How many days back, the newest included, a report can go that is made from what is kept ready."""
QUOTA: Final = "QUOTA_EXHAUSTED"
_OF_PERSONS: Final = frozenset({"QUERY", "BATCH"})
_DAY_LENGTH: Final = len("2026-11-24")


@dataclass(slots=True)
class Use:
    """What happened between a provider and a consumer about one dataset: exchanges by decision, rows, facts about persons
    that nobody was asked again for, and why exchanges were denied."""

    allowed: int = 0
    denied: int = 0
    failed: int = 0
    rows: int = 0
    facts: int = 0
    denials: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Use") -> None:
        """Take in another."""
        self.allowed += other.allowed
        self.denied += other.denied
        self.failed += other.failed
        self.rows += other.rows
        self.facts += other.facts
        self.denials.update(other.denials)


Key = tuple[str, str, str]
"""Provider, consumer and dataset."""


class SharingFold:
    """Takes in every leaf of a log, in order.

    What is kept is bounded by the departments, datasets and contracts there are, and the days: never by the exchanges.

    Args:
        kept: how many days back, the newest included, exchanges are remembered.
        since: of earlier days exchanges are not even looked at, by `audit.sharing.days.day_number`.
    """

    def __init__(self, *, kept: int = KEPT_DAYS, since: int = 0) -> None:
        self.kept = kept
        self.size = 0
        self.newest_ms: int | None = None
        self.catalogue = Catalogue()
        self.negotiations = Negotiations()
        self._since = since
        self._today = since
        self._days: dict[int, dict[Key, Use]] = {}

    @property
    def oldest_day(self) -> int:
        """The first day of which exchanges are remembered."""
        return max(self._since, self._today - self.kept + 1)

    def add(self, leaf: bytes) -> None:
        """Take in the next leaf, which `audit.record` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is no record.
        """
        record = json.loads(leaf)
        logged = record["at"]["logged"]
        day = day_number(logged[:_DAY_LENGTH])
        self.newest_ms = day * DAY_MS + _of_day(logged)
        self.size += 1
        if day > self._today:
            self._begin(day)
        kind = record["kind"]
        if kind == "DECISION":
            self._decided(record, day)
        elif kind == "STREAM_END":
            self._streamed(record, day)
        elif kind == "CONTROL" and record.get("grpc_code", "OK") == "OK" and "reasons" not in record:
            self._changed(record)

    def uses(self, first: int, last: int) -> Iterator[tuple[Key, Use]]:
        """What happened on each day from `first` to `last`, both included."""
        for day, found in self._days.items():
            if first <= day <= last:
                yield from found.items()

    def _begin(self, day: int) -> None:
        self._today = day
        for old in [each for each in self._days if each < self.oldest_day]:
            del self._days[old]
        self.catalogue.forget(self.oldest_day * DAY_MS)
        self.negotiations.forget(self.oldest_day * DAY_MS)

    def _decided(self, record: Mapping[str, Any], day: int) -> None:
        use = self._use(record, day)
        if use is None:
            return
        decision, mode = record["decision"], record.get("mode", "")
        rows = record.get("row_count", 0)
        use.rows += rows
        if decision == "ALLOW":
            use.allowed += 1
            if mode in _OF_PERSONS:
                use.facts += rows * len(record.get("fields", ()))
            elif mode == "VERIFY":
                use.facts += 1
            self._mark(record, day, lambda contract: contract.given)
        elif decision == "DENY":
            use.denied += 1
            use.denials.update(record.get("reasons", ()))
        else:
            use.failed += 1
        if QUOTA in record.get("reasons", ()) or QUOTA in record.get("outcomes", ()):
            self._mark(record, day, lambda contract: contract.throttled)

    def _streamed(self, record: Mapping[str, Any], day: int) -> None:
        use = self._use(record, day)
        if use is not None:
            use.rows += record.get("row_count", 0)

    def _use(self, record: Mapping[str, Any], day: int) -> Use | None:
        """Where an exchange counts; nowhere when it was no other department's, or before the days that matter."""
        provider, consumer = record.get("provider", ""), record.get("consumer", "")
        if not provider or not consumer or provider == consumer or day < self.oldest_day:
            return None
        found = self._days.setdefault(day, {})
        key = (provider, consumer, record.get("dataset", ""))
        use = found.get(key)
        if use is None:
            use = found[key] = Use()
        return use

    def _mark(self, record: Mapping[str, Any], day: int, which: Any) -> None:
        contract = self.negotiations.contract(record.get("contract", ""))
        if contract is not None:
            days: Days = which(contract)
            days.add(day, kept=self.kept)

    def _changed(self, record: Mapping[str, Any]) -> None:
        assert self.newest_ms is not None
        resource = record.get("resource", "")
        if resource.startswith("contracts/"):
            self.negotiations.learn(record, self.newest_ms)
        elif "/datasets/" in resource:
            self.catalogue.learn(resource, record.get("change", {}), self.newest_ms)


def _of_day(logged: str) -> int:
    """Milliseconds since midnight of what `audit.record.format_time` writes: `2026-11-24T06:27:58.123Z`."""
    hours, minutes, seconds = int(logged[11:13]), int(logged[14:16]), int(logged[17:19])
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + int(logged[20:23])
