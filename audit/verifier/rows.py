"""The rows of a ledger as a whole: none that belongs to nothing, and none gone that an earlier run saw."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.schema import checkpoints, cosignatures, record_reasons, records, tiles, timestamps
from audit.tlog.tiles import TILE_WIDTH, tile_width
from audit.verifier.careful import stream
from audit.verifier.damage import Damaged, DamageKind

_VOUCHING: Final = (cosignatures, timestamps)
_SEEN: Final[Mapping[str, sa.Column[Any]]] = {
    "checkpoints": checkpoints.c.size,
    "reasons": record_reasons.c.idx,
}


def require_tiles(connection: sa.Connection, size: int) -> None:
    """Return only if the tiles stored are those of a tree of `size` records, whatever is in them. Raises Damaged."""
    stored = stream(connection, sa.select(tiles.c.level, tiles.c.idx).order_by(tiles.c.level, tiles.c.idx))
    for level, index in _places(size):
        row = next(stored, None)
        if row is not None and tuple(row) == (level, index):
            continue
        if row is not None and not _is_place(row, size):
            raise _superfluous(row)
        raise Damaged(DamageKind.TILE, f"tile {level}/{index}", "it is missing")
    for row in stored:
        raise _superfluous(row)


def require_vouched(connection: sa.Connection) -> None:
    """Return only if every checkpoint has a size, and every cosignature and timestamp a checkpoint. Raises Damaged."""
    size = checkpoints.c.size
    found = connection.scalar(sa.select(size).where(size < 0).order_by(size).limit(1))
    if found is not None:
        raise Damaged(DamageKind.CHECKPOINT, f"checkpoint {found}", "no log has so many records")
    present = sa.inspect(connection).get_table_names()
    # A table that there is not yet was brought by a newer version than the one that wrote the ledger.
    for table in (table for table in _VOUCHING if table.name in present):
        query = sa.select(table.c.size).where(table.c.size.not_in(sa.select(size))).order_by(table.c.size)
        found = connection.scalar(query.limit(1))
        if found is not None:
            words = f"the table {table.name} holds something about it, and there is no such checkpoint"
            raise Damaged(DamageKind.CHECKPOINT, f"checkpoint {found}", words)


def counts_of(connection: sa.Connection, size: int) -> dict[str, int]:
    """How many rows there are up to the checkpoint of `size`, of what may never be erased, by name."""
    found = {}
    for name, column in _SEEN.items():
        below = column <= size if column.table is checkpoints else column < size
        found[name] = connection.scalar(sa.select(sa.func.count()).where(below)) or 0
    return found


def require_kept(connection: sa.Connection, size: int, counts: Mapping[str, int]) -> None:
    """Return only if all is still there that an earlier run saw.

    Args:
        connection: a snapshot of the ledger.
        size: number of records that it verified.
        counts: as `counts_of` told it then.

    Raises:
        Damaged: something is gone.
    """
    idx = records.c.idx
    if connection.scalar(sa.select(sa.func.count()).where(idx >= 0, idx < size)) != size:
        rows = stream(connection, sa.select(idx).where(idx >= 0, idx < size).order_by(idx))
        gone = next((index for index, row in enumerate(rows) if row.idx != index), size - 1)
        raise Damaged(DamageKind.RECORD, f"record {gone}", "it is missing, and an earlier run verified it")
    found = counts_of(connection, size)
    for name, kind in (("checkpoints", DamageKind.CHECKPOINT), ("reasons", DamageKind.REASON)):
        if found[name] != counts.get(name):
            words = f"there are {found[name]} {name}, and an earlier run counted {counts.get(name)}"
            raise Damaged(kind, f"records 0 to {size - 1}", words)


def _places(size: int) -> Iterator[tuple[int, int]]:
    level = 0
    while width := size >> 8 * level:
        yield from ((level, index) for index in range(-(-width // TILE_WIDTH)))
        level += 1


def _is_place(row: Any, size: int) -> bool:
    whole = isinstance(row.level, int) and isinstance(row.idx, int)
    return whole and row.level >= 0 and row.idx >= 0 and tile_width(row.level, row.idx, size) > 0


def _superfluous(row: Any) -> Damaged:
    return Damaged(DamageKind.TILE, f"tile {row.level}/{row.idx}", "the tree has no such tile")
