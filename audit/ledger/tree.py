"""The tree as the database keeps it: tiles, and the newest checkpoint that vouches for them."""

from dataclasses import dataclass

import sqlalchemy as sa

from audit.ledger.errors import LedgerDamaged, LedgerForked, LedgerRolledBack
from audit.ledger.schema import checkpoints, records, tiles
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import TileError, TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.tree import Edge

NEWEST = (
    sa.select(checkpoints.c.size, checkpoints.c.root, checkpoints.c.note, checkpoints.c.at_ms)
    .order_by(checkpoints.c.size.desc())
    .limit(1)
)
"""One row, whatever the number of checkpoints: every transaction begins with it."""
_ROOT_AT = sa.select(checkpoints.c.root).where(checkpoints.c.size == sa.bindparam("at_size"))
_LAST = sa.select(sa.func.max(records.c.idx))
_TILE = sa.select(tiles.c.data).where(
    tiles.c.level == sa.bindparam("at_level"), tiles.c.idx == sa.bindparam("at_index")
)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest checkpoint: its size, its 32-byte root, the signed note, and when it was signed (ms since 1970)."""

    size: int
    root: bytes
    note: bytes
    at_ms: int


def newest_checkpoint(connection: sa.Connection, *, upto: int | None = None) -> Head | None:
    """The newest checkpoint, or the newest of at most `upto` leaves; None in a database without one."""
    query = NEWEST if upto is None else NEWEST.where(checkpoints.c.size <= upto)
    row = connection.execute(query).first()
    return None if row is None else Head(*row)


class StoredTiles:
    """The tiles of one connection's snapshot, a `TileReader`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the tile. Raises TileError when there is none; `audit.tlog.tree` checks its width."""
        data: bytes | None = self._connection.scalar(_TILE, {"at_level": level, "at_index": index})
        if data is None:
            raise TileError(f"tile {index} of level {level}, {width} hashes wide, is missing")
        return data


def load_edge(connection: sa.Connection, head: Head, key: VerifierKey) -> Edge:
    """The right edge of the tree, only if the log's own signature vouches for it.

    Raises:
        LedgerDamaged: checkpoint, tiles and records do not belong together.
    """
    try:
        signed = open_checkpoint(head.note, key).checkpoint
        edge = Edge.load(head.size, StoredTiles(connection))
    except TlogError as error:
        raise LedgerDamaged(f"its newest checkpoint or its tree cannot be used: {error}") from error
    if (signed.size, signed.root) != (head.size, head.root) or edge.root != head.root:
        raise LedgerDamaged("its tree is not the one that its newest checkpoint vouches for")
    if (connection.scalar(_LAST) or 0) != max(0, head.size - 1):
        raise LedgerDamaged(f"its newest checkpoint covers {head.size} records, and it holds others")
    return edge


def require_progress(connection: sa.Connection, head: Head, seen: Head) -> None:
    """Return only if the database still holds the checkpoint that this process saw before.

    Raises:
        LedgerRolledBack: it ends before it.
        LedgerForked: it holds another at that size.
    """
    if head.size < seen.size:
        raise LedgerRolledBack(head.size, seen.size)
    if connection.scalar(_ROOT_AT, {"at_size": seen.size}) != seen.root:
        raise LedgerForked(seen.size)
