"""Keeping the columns of segments: made from leaves that the log's tree vouches for, while nobody waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import sqlalchemy as sa

from audit.ledger.tree import StoredTiles
from audit.search.find import size_of
from audit.search.segments import COLUMNS, SEGMENT, Fresh, node, node_of, read_leaves
from audit.search.store import SegmentStore
from audit.tlog.errors import TileError
from isthmus.log import logger

INTERVAL_S: Final = 5.0
"""Seconds between two looks for segments that are whole."""

Read = Callable[[], AbstractContextManager[sa.Connection]]


class SegmentMismatch(ValueError):
    """The leaves of a segment are not those that the log's tree vouches for."""

    def __init__(self, segment: int) -> None:
        first = segment * SEGMENT
        super().__init__(
            f"records {first} to {first + SEGMENT - 1} are not what the tree vouches for; run `isthmus audit verify`"
        )


class SegmentKeeper:
    """Keeps what is missing in a store, the newest segment first.

    Args:
        read: opens a snapshot of the ledger.
        store: where the columns are kept.
        pause: seconds between two segments, so that searches are answered meanwhile.
    """

    def __init__(self, read: Read, store: SegmentStore, *, pause: float = 0.0) -> None:
        self._read = read
        self._store = store
        self._pause = pause
        self._refused: set[int] = set()

    def keep(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Keeps every whole segment that is not kept, or is kept of other records; returns how many it made.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
            sqlite3.Error, OSError: a segment cannot be kept.
        """
        made = 0
        for segment in self._missing():
            if stopping():
                break
            try:
                self._make(segment)
                made += 1
            except SegmentMismatch as error:
                # Searches read the ledger there, and verification says what is wrong.
                self._refused.add(segment)
                logger("search").error("not indexed", problem=str(error))
            if self._pause:
                time.sleep(self._pause)
        return made

    def _missing(self) -> Iterator[int]:
        with self._read() as connection:
            whole = range(size_of(connection) // SEGMENT)
            tiles, kept = StoredTiles(connection), self._store.nodes()
            wanted = (each for each in reversed(whole) if each not in self._refused)
            missing = [each for each in wanted if kept.get(each) != _node(tiles, each)]
        yield from missing

    def _make(self, segment: int) -> None:
        with self._read() as connection:
            leaves = read_leaves(connection, segment * SEGMENT, (segment + 1) * SEGMENT)
            expected = _node(StoredTiles(connection), segment)
        sound = len(leaves) == SEGMENT and all(isinstance(leaf, bytes) for leaf in leaves)
        if expected is None or not sound or node_of(leaves) != expected:
            raise SegmentMismatch(segment)
        run = Fresh(segment * SEGMENT, leaves)
        self._store.put(segment, expected, {name: run.column(name) for name in COLUMNS})


def _node(tiles: StoredTiles, segment: int) -> bytes | None:
    try:
        return node(tiles, segment)
    except TileError:
        return None
