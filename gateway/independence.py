"""The outage budget: exchange stops when the log has gone too long without anybody outside who vouches for it.

As on X-Road, where a security server stops when its messages have not been timestamped for too long. A thread reads once
a second how far cosignatures and timestamps reach; a decision only compares two times. Should the thread hang or the
database not answer, the time that was known passes, and exchange stops.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge

from audit.background import Background
from audit.independence import Coverage, covered_by_timestamps, covered_by_witnesses
from audit.ledger import Ledger
from audit.tlog.cosignature import CosignerKey
from isthmus.errors import Unavailable
from isthmus.reasons import Reason

_MOST_S: Final = 31 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class IndependenceSection:
    """`[independence]`: how long the log may go without outside witnesses.

    Attributes:
        budget_seconds: how long a record may wait to be covered before exchange stops.
        witnesses: how many witnesses must have cosigned a checkpoint that covers it; 0 when none is needed.
        vkeys: only the witnesses with these keys count; all whose cosignatures the ledger holds, unless given.
        timestamps: whether a timestamp must cover it, too.
        refresh_seconds: how often what covers the log is read.
    """

    budget_seconds: float
    witnesses: int = 0
    vkeys: tuple[str, ...] = ()
    timestamps: bool = False
    refresh_seconds: float = 1.0

    def __post_init__(self) -> None:
        # Written so that a number that is none fails, too.
        if not (0 < self.refresh_seconds <= 60 and 0 < self.budget_seconds <= _MOST_S):
            raise ValueError(
                f"budget_seconds must be more than 0 and at most {_MOST_S}, and refresh_seconds more than 0 and at most 60"
            )
        if self.budget_seconds < 3 * self.refresh_seconds:
            raise ValueError(
                "budget_seconds must be at least three times refresh_seconds: a late reading would stop exchange"
            )
        if self.witnesses < 0 or not (self.witnesses or self.timestamps):
            raise ValueError(
                "say who must vouch for the log: witnesses = 1 or more, timestamps = true, or both"
            )
        keys = self.keys() or ()
        if len({each.public_key for each in keys}) != len(keys) or 0 < len(keys) < self.witnesses:
            raise ValueError("vkeys must name each witness once, and at least as many as must vouch")

    def keys(self) -> tuple[CosignerKey, ...] | None:
        """The keys of the witnesses that count; None when all do."""
        return tuple(CosignerKey.parse(each) for each in self.vkeys) or None


class OutageBudget:
    """Says whether exchange may go on. Safe to use from many threads.

    Args:
        section: the budget.
        ledger: says what covers its log.
        clock: returns the present time, UTC-aware.
        registry: receives the metrics.
    """

    def __init__(
        self,
        section: IndependenceSection,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._section = section
        self._ledger = ledger
        self._clock = clock
        self._budget = timedelta(seconds=section.budget_seconds)
        self._keys = section.keys()
        self._ends: datetime | None = None
        self._missing = "its outside witnesses have not been looked for yet"
        self._background = Background("gateway.independence", self.refresh, section.refresh_seconds)
        total = Gauge(
            "isthmus_outage_budget_seconds",
            "How long a record may wait for outside witnesses before exchange stops.",
            registry=registry,
        )
        total.set(section.budget_seconds)
        left = Gauge(
            "isthmus_outage_budget_left_seconds",
            "Time until exchange stops unless outside witnesses answer; at 0 it has stopped.",
            registry=registry,
        )
        left.set_function(self.left)

    def require(self, now: datetime) -> None:
        """Return only if exchange may go on at `now`, UTC.

        Raises:
            Unavailable: LEDGER_UNWITNESSED, the budget is spent.
        """
        ends = self._ends
        if ends is None or now >= ends:
            raise Unavailable(Reason.LEDGER_UNWITNESSED, self._words())

    def left(self) -> float:
        """Seconds until the budget is spent; 0 when it is."""
        return 0.0 if self._ends is None else max(0.0, (self._ends - self._clock()).total_seconds())

    def refresh(self) -> None:
        """Read what covers the log.

        Raises:
            Unavailable: the ledger cannot be read; what was known still holds.
        """
        now = self._clock()
        with self._ledger.read(deadline_s=self._section.refresh_seconds) as connection:
            found = self._coverage(connection)
        name, coverage = max(found, key=lambda each: each[1].waited(now))
        # When everything is covered, the next record to wait for it is none older than this reading.
        since = now if coverage.waiting_since is None else coverage.waiting_since
        self._missing = f"{name} of the log reaches record {coverage.size} only"
        self._ends = since + self._budget

    def start(self) -> None:
        """Read it once, if the ledger lets us, and then again and again."""
        with suppress(Unavailable):
            self.refresh()
        self._background.start()

    def stop(self) -> None:
        """Read it no more."""
        self._background.stop()

    def _coverage(self, connection: sa.Connection) -> list[tuple[str, Coverage]]:
        section = self._section
        found: list[tuple[str, Coverage]] = []
        if section.witnesses:
            name = f"the cosignature by {section.witnesses} witnesses"
            found.append((name, covered_by_witnesses(connection, section.witnesses, keys=self._keys)))
        if section.timestamps:
            found.append(("the timestamp", covered_by_timestamps(connection)))
        return found

    def _words(self) -> str:
        return (
            f"nobody outside has vouched for the log within the {self._budget} that this deployment allows "
            f"({self._missing}). Exchange goes on by itself as soon as they do: its operator must see to the witnesses "
            "and the timestamp authority, and that the audit service reaches them"
        )
