"""Counting records by what they hold: over the columns of segments, and over the leaves where these are not kept."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import compress, product
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from audit.ledger.errors import LedgerDamaged
from audit.search.columns import ColumnDamaged, span
from audit.search.facts import LedgerFacts
from audit.search.find import Finder, Search, Stored, size_of
from audit.search.plan import Facts, Plan, bounds, mask_of
from audit.search.segments import SEGMENT, Fresh, Run, read_leaves
from isthmus.errors import DeadlineExceeded, InvalidArgument
from isthmus.reasons import Reason

LONGEST_S: Final = 30.0
"""How long a count may take, however much time its caller allows it."""
MOST: Final = 250_000
"""How many different lines are kept in memory."""

_SPIFFE: Final = "spiffe://"
Read = Callable[[str], str]


def _system(caller: str) -> str:
    parts = caller.removeprefix(_SPIFFE).split("/")
    if len(parts) != 5 or (parts[1], parts[3]) != ("department", "system"):
        return ""
    return f"departments/{parts[2]}/systems/{parts[4]}"


_DERIVED: Final[Mapping[str, tuple[str, Read]]] = MappingProxyType(
    {
        "system": ("caller", _system),
        "emergency": ("emergency", lambda text: text or "false"),
        "day": ("hour", lambda text: text[:10]),
        "month": ("hour", lambda text: text[:7]),
    }
)
"""What is counted by, the column that says it, and how."""
_HELD: Final = (
    *("consumer", "provider", "dataset", "contract", "purpose", "legal_basis", "decision", "reason", "mode"),
    *("kind", "caller", "case_reference", "action", "hour"),
)
BY: Final = tuple(sorted((*_HELD, *_DERIVED)))
"""What records can be counted by."""


@dataclass(slots=True)
class Counts:
    """What was counted.

    Attributes:
        lines: values and how many records hold them, the most frequent first.
        total: how many records there are.
        truncated: whether there are more lines.
    """

    lines: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    total: int = 0
    truncated: bool = False


def check_by(by: Sequence[str]) -> None:
    """Return only if records can be counted by these. Raises InvalidArgument."""
    for each in by:
        if each not in BY:
            raise InvalidArgument("by", f"counts by {', '.join(BY)}")


def count_records(
    finder: Finder,
    connection: sa.Connection,
    search: Search,
    *,
    by: Sequence[str],
    limit: int,
    deadline_s: float | None = None,
) -> Counts:
    """Counts the records that a search finds.

    Args:
        finder: knows the segments that are kept.
        connection: a snapshot of the ledger.
        search: what is counted.
        by: at most three of `BY`.
        limit: how many lines there may be.
        deadline_s: seconds after which it gives up; 30 at most.

    Raises:
        InvalidArgument: of the search or `by`; or there are too many different lines to be counted.
        DeadlineExceeded: it takes longer than it may.
        LedgerDamaged: a record is missing or cannot be read.
    """
    check_by(by)
    ends = time.monotonic() + (LONGEST_S if deadline_s is None else min(LONGEST_S, deadline_s))
    facts = LedgerFacts(connection, size_of(connection))
    plan = search.plan(facts)
    found: Counter[tuple[str, ...]] = Counter()
    total = 0
    for run in _runs(finder, connection, bounds(plan), ends):
        held, lines = _count(run, plan, facts, by)
        total += held
        found.update(lines)
        if len(found) > MOST:
            raise InvalidArgument(
                "by", f"there are over {MOST} different lines; narrow the filter, such as by time"
            )
    most = heapq.nsmallest(limit, found.items(), key=lambda line: (-line[1], line[0]))
    return Counts(most, total, len(found) > limit)


def _runs(
    finder: Finder, connection: sa.Connection, between: tuple[int, int], ends: float
) -> Iterator["_Readable"]:
    low, high = between[0], min(between[1], size_of(connection))
    kept = finder.kept(connection)
    for segment in range(low // SEGMENT, -(-high // SEGMENT)):
        if time.monotonic() > ends:
            raise DeadlineExceeded(
                Reason.DEADLINE_EXCEEDED,
                f"counting takes longer than the call may, which is {LONGEST_S:.0f} seconds at most; allow it more time, or "
                "narrow the filter, such as by time",
                retry_after=timedelta(seconds=1),
            )
        yield _Readable(connection, segment, high, kept.get(segment))


@dataclass(frozen=True, slots=True)
class _Readable:
    """A segment: from its columns where they are kept and sound, otherwise from its leaves."""

    connection: sa.Connection
    segment: int
    high: int
    kept: Stored | None

    def fresh(self) -> Fresh:
        """The columns made from the leaves. Raises LedgerDamaged."""
        start = self.segment * SEGMENT
        end = min(self.high, start + SEGMENT)
        leaves = read_leaves(self.connection, start, end)
        if len(leaves) != end - start:
            # Their places say which records they are, so one that is missing would move all behind it.
            raise LedgerDamaged(f"it holds {len(leaves)} of the records {start} to {end - 1}")
        return Fresh(start, leaves)


def _count(
    readable: _Readable, plan: Plan, facts: Facts, by: Sequence[str]
) -> tuple[int, Counter[tuple[str, ...]]]:
    if readable.kept is not None:
        try:
            return _of_run(readable.kept, plan, facts, by)
        except ColumnDamaged:
            pass
    return _of_run(readable.fresh(), plan, facts, by)


def _of_run(run: Run, plan: Plan, facts: Facts, by: Sequence[str]) -> tuple[int, Counter[tuple[str, ...]]]:
    everything = span(0, run.size)
    mask = mask_of(plan, run, facts, among=everything)
    total = mask.bit_count()
    if not total or not by:
        return total, Counter({(): total} if total else {})
    columns = [run.column(_DERIVED[each][0] if each in _DERIVED else each) for each in by]
    places = zip(*(column.places() for column in columns), strict=True)
    wanted = places if mask == everything else compress(places, mask.to_bytes(run.size, "little"))
    texts = [_readings(name, column.texts()) for name, column in zip(by, columns, strict=True)]
    lines: Counter[tuple[str, ...]] = Counter()
    for line, count in Counter(wanted).items():
        for values in product(*(texts[n][place] for n, place in enumerate(line))):
            lines[values] += count
    return total, lines


def _readings(name: str, texts: Sequence[str]) -> list[tuple[str, ...]]:
    """What each value of a column counts for: one thing, but several where a record has several reasons."""
    if name == "reason":
        return [tuple(text.strip(",").split(",")) for text in texts]
    read = _DERIVED[name][1] if name in _DERIVED else str
    return [(read(text),) for text in texts]
