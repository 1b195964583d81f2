"""Pages of records: through the columns of segments where these are kept, and reading the ledger where they are not.

A page ends when it is full, or when it took its time: then it holds fewer records, or none, and says where to go on
(AIP-158). So a first page takes a tenth of a second however long the log is. Whatever a column found is compared with
the condition in SQL before it is shown. Where the two disagree the leaf decides which of them is wrong: columns that are
wrong are forgotten and the ledger is read instead; an index of the ledger that is wrong has to be mended by a person.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

import sqlalchemy as sa

from audit.ledger.errors import IndexDamaged
from audit.ledger.schema import checkpoints, records
from audit.ledger.tree import StoredTiles
from audit.search.access import seen_by, visible_to
from audit.search.columns import Column, ColumnDamaged, newest_first, span
from audit.search.facts import LedgerFacts
from audit.search.filter import parse_filter
from audit.search.plan import Facts, Listed, Plan, all_of, bounds, mask_of, plan_of
from audit.search.query import Condition, Found, compile_filter, of_subject
from audit.search.segments import SEGMENT, Fresh, node
from audit.search.store import SegmentStore
from audit.tlog.errors import TileError
from isthmus.identity import Identity
from isthmus.log import logger

PATIENCE_S: Final = 0.06
"""How long a page looks for records before it says where to go on."""
PAGE_BYTES: Final = 1 << 20
"""Leaves in one answer: with the members that repeat their content they stay below a message's 4 MiB."""
_WINDOW: Final = 2_048
"""Records that are read at once where there are no columns."""
_FETCH: Final = 100


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    Attributes:
        identity: the caller, who sees its own part only.
        filter: an AIP-160 filter.
        tokens: of the person that it is about, in every key epoch; None where it is about nobody.
    """

    identity: Identity
    filter: str = ""
    tokens: tuple[str, ...] | None = None

    def conditions(self) -> list[Condition]:
        """The search in SQL, for few records at a time. Raises InvalidArgument."""
        found = [*visible_to(self.identity), compile_filter(self.filter, correlated=True)]
        return found if self.tokens is None else [*found, of_subject(self.tokens, correlated=True)]

    def plan(self, facts: Facts) -> Plan:
        """The search over columns. Raises InvalidArgument."""
        compile_filter(self.filter)  # The one place that refuses what a filter must not say.
        found = [*seen_by(self.identity), plan_of(parse_filter(self.filter), facts)]
        return all_of(found if self.tokens is None else [*found, Listed(facts.of_subject(self.tokens))])


@dataclass(slots=True)
class Page:
    """Records, newest first, and the position below which the next page begins; None at the end."""

    found: list[Found] = field(default_factory=list)
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment that is kept, as a `Run`."""

    store: SegmentStore
    segment: int
    node: bytes

    @property
    def start(self) -> int:
        """The position of the first record."""
        return self.segment * SEGMENT

    @property
    def size(self) -> int:
        """How many records there are."""
        return SEGMENT

    def column(self, name: str) -> Column:
        """One of its columns. Raises ColumnDamaged."""
        return self.store.column(self.segment, name, self.node)

    def forget(self) -> None:
        """Let go of it; it is made anew."""
        self.store.forget(self.segment)


class Finder:
    """Finds records.

    Args:
        store: where the columns of segments are kept; None to read the ledger alone.
        patience: seconds that a page may look for records.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        store: SegmentStore | None,
        *,
        patience: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._patience = patience
        self._monotonic = monotonic
        self._nodes: dict[int, bytes] = {}

    def page(self, connection: sa.Connection, search: Search, *, before: int | None, limit: int) -> Page:
        """A page of records with positions below `before`, newest first.

        Args:
            connection: a snapshot of the ledger.
            search: what is looked for.
            before: where the page before ended; None for the first.
            limit: how many records it holds at most. It ends earlier at 1 MiB, or when it took its time.

        Raises:
            InvalidArgument: of the search.
            IndexDamaged: by the ledger's own columns or indexes a record does not say what its leaf says.
        """
        deadline = self._monotonic() + self._patience
        size = size_of(connection)
        facts = LedgerFacts(connection, size)
        plan = search.plan(facts)
        low, high = bounds(plan)
        top = min(size, high, size if before is None else before)
        reading = _Reading(connection, search, plan, facts, limit)
        kept = self.kept(connection)
        while top > low:
            segment = (top - 1) // SEGMENT
            if segment in kept and (left := reading.segment(kept[segment], top)) is not None:
                top = left
            else:
                kept.pop(segment, None)
                top = reading.window(max(low, segment * SEGMENT, top - _WINDOW), top)
            if reading.full or (top > low and self._monotonic() > deadline):
                reading.page.next = top
                break
        return reading.page

    def kept(self, connection: sa.Connection) -> dict[int, Stored]:
        """The segments whose columns are kept, and are those of this log."""
        if self._store is None:
            return {}
        tiles, nodes = StoredTiles(connection), self._store.nodes()
        for segment in nodes.keys() - self._nodes.keys():
            # Of records that never change, so it is asked once.
            with suppress(TileError):
                self._nodes[segment] = node(tiles, segment)
        held = self._nodes
        return {
            each: Stored(self._store, each, nodes[each]) for each in nodes if nodes[each] == held.get(each)
        }


def size_of(connection: sa.Connection) -> int:
    """How many records a snapshot holds."""
    return connection.scalar(sa.select(sa.func.max(checkpoints.c.size))) or 0


@dataclass(slots=True)
class _Reading:
    """A page while it fills."""

    connection: sa.Connection
    search: Search
    plan: Plan
    facts: Facts
    limit: int
    page: Page = field(default_factory=Page)
    room: int = PAGE_BYTES
    full: bool = False

    def segment(self, run: Stored, top: int) -> int | None:
        """Takes what a segment holds below `top`; returns above what it left off, or None where its columns are damaged."""
        taken, room = len(self.page.found), self.room
        try:
            mask = mask_of(self.plan, run, self.facts, among=span(0, min(top - run.start, run.size)))
            return self._take_all([run.start + each for each in newest_first(mask)], run.start)
        except ColumnDamaged:
            run.forget()
            # Columns that say one wrong thing may hide another: nothing that they found is shown.
            del self.page.found[taken:]
            self.room, self.full = room, False
            return None

    def _take_all(self, positions: Sequence[int], low: int) -> int:
        step = min(_FETCH, self.limit + 1)
        for first in range(0, len(positions), step):
            for found in self._fetch(positions[first : first + step]):
                if not self._take(found):
                    return found.index + 1
        return low

    def window(self, low: int, top: int) -> int:
        """Takes what the ledger holds from `low` up to before `top`; returns above what it left off."""
        query = sa.select(records.c.idx, records.c.leaf).where(
            *self.search.conditions(), records.c.idx >= low, records.c.idx < top
        )
        rows = self.connection.execute(query.order_by(records.c.idx.desc()).limit(self.limit + 1))
        for row in rows:
            if not self._take(Found(row.idx, row.leaf)):
                return int(row.idx) + 1
        return low

    def _take(self, found: Found) -> bool:
        self.room -= len(found.leaf)
        self.full = bool(self.page.found) and (len(self.page.found) == self.limit or self.room < 0)
        if not self.full:
            self.page.found.append(found)
        return not self.full

    def _fetch(self, positions: Sequence[int]) -> Iterator[Found]:
        agrees = sa.and_(*self.search.conditions()).label("agrees")
        query = sa.select(records.c.idx, records.c.leaf, agrees).where(records.c.idx.in_(positions))
        for row in self.connection.execute(query.order_by(records.c.idx.desc())):
            if not row.agrees:
                self._blame(row.idx, row.leaf)
            yield Found(row.idx, row.leaf)

    def _blame(self, index: int, leaf: bytes) -> NoReturn:
        """Raises about a record that columns found and the condition in SQL does not hold for."""
        if mask_of(self.plan, Fresh(index, [leaf]), self.facts, among=1):
            raise IndexDamaged(f"what finds record {index} is not what it says")
        logger("search").error("index wrong", record=index)
        raise ColumnDamaged("it finds a record that says something else")
