"""Segments: runs of 16,384 records, and the columns by which they are searched, made from the leaves alone.

The first segment begins at position 0. Only a whole one is kept (`audit.search.store`): its records never change, so
neither do its columns.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import sqlalchemy as sa

from audit.ledger.errors import LedgerDamaged
from audit.ledger.schema import records
from audit.record import LOGGED
from audit.search.columns import Column
from audit.tlog.errors import TileError
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of
from audit.tlog.tiles import TILE_WIDTH
from audit.tlog.tree import TileReader

SEGMENT: Final = 16_384
TILES: Final = SEGMENT // TILE_WIDTH
"""Tiles of leaf hashes under a segment."""

Leaf = Mapping[str, Any]
_TEXTS: Final = (
    *("kind", "caller", "consumer", "provider", "dataset", "contract", "purpose", "legal_basis"),
    *("case_reference", "subject_token", "mode", "decision", "action", "resource"),
)


def _reasons(leaf: Leaf) -> str:
    return f",{','.join(dict.fromkeys(leaf['reasons']))}," if leaf.get("reasons") else ""


def _emergency(leaf: Leaf) -> str:
    return "true" if leaf.get("emergency") else ""


def _of_person(leaf: Leaf) -> str:
    return "true" if leaf.get("kind") == "CONTROL" and leaf.get("subject_token") else ""


def _hour(leaf: Leaf) -> str:
    return str(leaf.get("at", {}).get(LOGGED, ""))[:13]


DERIVED: Final[Mapping[str, Callable[[Leaf], str]]] = MappingProxyType(
    {"reason": _reasons, "emergency": _emergency, "of_person": _of_person, "hour": _hour}
)
"""Columns that are no member of the leaf: every reason between commas; whether it was an emergency; whether it is a
control record about a person; and the hour in which it was logged, `2026-11-01T09`."""
COLUMNS: Final = (*_TEXTS, *DERIVED)


class Run(Protocol):
    """Some records one after another, and their columns."""

    @property
    def start(self) -> int:
        """The position of the first."""

    @property
    def size(self) -> int:
        """How many there are."""

    def column(self, name: str) -> Column:
        """One of `COLUMNS`."""


class Fresh:
    """The columns of records that are in no segment yet; each is made when it is asked for.

    Args:
        start: the position of the first record.
        leaves: the leaves of that record and those that follow, none left out.

    Raises:
        LedgerDamaged: a leaf is none.
    """

    def __init__(self, start: int, leaves: Iterable[bytes]) -> None:
        self.start = start
        self._leaves = [_parsed(index, leaf) for index, leaf in enumerate(leaves, start)]
        self._made: dict[str, Column] = {}

    @property
    def size(self) -> int:
        """How many records there are."""
        return len(self._leaves)

    def column(self, name: str) -> Column:
        """One of `COLUMNS`."""
        if name not in self._made:
            self._made[name] = Column.of(_texts(name, self._leaves))
        return self._made[name]


def read_leaves(connection: sa.Connection, low: int, high: int) -> Sequence[bytes]:
    """The leaves from a position up to before another."""
    query = sa.select(records.c.leaf).where(records.c.idx >= low, records.c.idx < high)
    return connection.scalars(query.order_by(records.c.idx)).all()


def node(tiles: TileReader, segment: int) -> bytes:
    """The node of the log's tree over a segment, 32 bytes: what the log says that its records are.

    Raises:
        TileError: the tree does not reach so far, or the tile is missing.
    """
    tile, place = divmod(segment * TILES, TILE_WIDTH)
    end = (place + TILES) * HASH_SIZE
    data = tiles.read_tile(1, tile, place + TILES)
    if len(data) < end:
        raise TileError(f"tile {tile} of level 1 is not {place + TILES} hashes wide")
    return root_of(data[place * HASH_SIZE : end])


def node_of(leaves: Sequence[bytes]) -> bytes:
    """The same, from the leaves of a segment."""
    return root_of(b"".join(map(hash_leaf, leaves)))


def _parsed(index: int, leaf: bytes) -> Leaf:
    try:
        found = json.loads(leaf)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LedgerDamaged(f"record {index} cannot be read")
    return found


def _texts(name: str, leaves: Iterable[Leaf]) -> list[str]:
    if name in DERIVED:
        return [DERIVED[name](leaf) for leaf in leaves]
    return [leaf.get(name, "") for leaf in leaves]
