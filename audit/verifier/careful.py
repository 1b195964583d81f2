"""Reads transactions of a ledger one by one, and names the first thing that is wrong in them.

What the log signed is the truth: every leaf is hashed, the tree is built anew, and its root compared with every
checkpoint. Where they agree the leaves are authentic, and each column, reason and tile is held against them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import sqlalchemy as sa

from audit.ledger.schema import (
    batch_lines,
    checkpoints,
    details,
    record_reasons,
    record_subjects,
    records,
    tiles,
)
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE, hash_leaf
from audit.tlog.tiles import TILE_BYTES, TILE_WIDTH
from audit.tlog.tree import Edge
from audit.verifier.batch import check_batch
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.record import check_detail, check_reasons, read_record
from audit.verifier.rules import Rules
from audit.verifier.times import fault_of

_AT_ONCE: Final = 256
_BESIDES: Final = (
    (record_reasons, (), DamageKind.REASON),
    (details, (), DamageKind.DETAIL),
    (record_subjects, (), DamageKind.SUBJECT),
    (batch_lines, (batch_lines.c.part,), DamageKind.DETAIL),
)
"""What belongs to records beside their leaves, how it is ordered within a record, and what is damaged if it is."""


def stream(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Any]:
    """The rows of a query, a few at a time."""
    return iter(connection.execute(query, execution_options={"yield_per": _AT_ONCE}))


def stored_tile(connection: sa.Connection, level: int, index: int) -> bytes:
    """What is stored as a tile, or nothing."""
    data = connection.scalar(sa.select(tiles.c.data).where(tiles.c.level == level, tiles.c.idx == index))
    return data if isinstance(data, bytes) else b""


def compare_tile(connection: sa.Connection, place: tuple[int, int], data: bytes) -> None:
    """Return only if the tile at `place` (level, index) is stored as it should be. Raises Damaged."""
    if stored_tile(connection, *place) != data:
        where = f"tile {place[0]}/{place[1]}"
        raise Damaged(
            DamageKind.TILE, where, "it is missing, or does not hold the hashes of the records below"
        )


def check_note(row: Any, key: VerifierKey) -> None:
    """Return only if a row of `checkpoints` is what its note says, and the log signed that. Raises Damaged."""
    where = f"checkpoint {row.size}"
    try:
        signed = open_checkpoint(bytes(row.note), key).checkpoint
    except (TlogError, TypeError) as error:
        raise Damaged(DamageKind.CHECKPOINT, where, str(error)) from error
    if (signed.size, signed.root) != (row.size, row.root):
        raise Damaged(DamageKind.CHECKPOINT, where, "its note says another size or root than its row")


def require_none_beyond(connection: sa.Connection, size: int) -> None:
    """Return only if every record is covered by the checkpoint of `size`, and everything else belongs to a record.

    Raises:
        Damaged: it does not.
    """
    idx = records.c.idx
    found = connection.scalar(sa.select(idx).where((idx < 0) | (idx >= size)).order_by(idx).limit(1))
    if found is not None:
        words = "no checkpoint covers it: it was added, or the checkpoint was removed"
        raise Damaged(DamageKind.CHECKPOINT, f"record {found}", words)
    for table, _, kind in _BESIDES:
        column = table.c.idx
        query = sa.select(column).where((column < 0) | (column >= size)).order_by(column).limit(1)
        found = connection.scalar(query)
        if found is not None:
            raise Damaged(kind, f"record {found}", "something belongs to it, and it does not exist")


class _Merge:
    """A table in order of position, read along with the records."""

    def __init__(self, rows: Iterator[Any], kind: DamageKind) -> None:
        self._rows = rows
        self._kind = kind
        self._next = next(rows, None)

    def take(self, index: int) -> list[Any]:
        """The rows of one record, which come behind those of the records before. Raises Damaged."""
        found = []
        while self._next is not None and self._next.idx <= index:
            if self._next.idx < index:
                self._refuse(self._next.idx)
            found.append(self._next)
            self._next = next(self._rows, None)
        return found

    def require_end(self) -> None:
        """Return only if every row belonged to a record. Raises Damaged."""
        if self._next is not None:
            self._refuse(self._next.idx)

    def _refuse(self, index: object) -> NoReturn:
        raise Damaged(self._kind, f"record {index}", "something belongs to it, and it does not exist")


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A record that disagrees with its hash or its tile, and what is damaged if its leaf turns out authentic."""

    index: int
    damage: Damaged


@dataclass(slots=True)
class Careful:
    """Verifies transactions from an edge on that is known to be authentic.

    Attributes:
        connection: a snapshot of the ledger.
        key: the log's.
        rules: what they remember of all that came before.
        edge: the tree before, and afterwards the tree behind what was verified.
        at_ms: when the last record before was appended, ms since 1970, and afterwards the last that was verified; None
            where there is none.
        checkpoints: how many were.
    """

    connection: sa.Connection
    key: VerifierKey
    rules: Rules
    edge: Edge
    at_ms: int | None = None
    checkpoints: int = 0
    _built: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Tiles of the transaction under way."""
    _leaf_tile: tuple[int, bytes] = (-1, b"")
    _suspicion: _Suspicion | None = None

    def run(self, after: int, end: int) -> None:
        """Return only if all is well in the transactions whose checkpoints are of more than `after` and up to `end` records.

        Raises:
            Damaged: the first thing that is wrong.
        """
        span = (max(0, after), end)
        rows = self._rows(records, *span)
        besides = [_Merge(self._rows(table, *span, *order), kind) for table, order, kind in _BESIDES]
        size = checkpoints.c.size
        query = sa.select(checkpoints).where(size > after, size <= end).order_by(size)
        for row in stream(self.connection, query):
            check_note(row, self.key)
            self._check_transaction(row, rows, besides)
            self.checkpoints += 1
        for each in besides:
            each.require_end()

    def _rows(self, table: sa.Table, begin: int, end: int, *order: sa.ColumnElement[Any]) -> Iterator[Any]:
        idx = table.c.idx
        query = sa.select(table).where(idx >= begin, idx < end).order_by(idx, *order)
        return stream(self.connection, query)

    def _check_transaction(self, row: Any, rows: Iterator[Any], besides: Sequence[_Merge]) -> None:
        """The records that a checkpoint adds to the one before: those of one transaction."""
        begin, at_ms = self.edge.size, 0
        while self.edge.size < row.size:
            hashes = []
            for index in range(self.edge.size, min(row.size, self.edge.size + _AT_ONCE)):
                record = _require_row(next(rows, None), index)
                hashes.append(self._check_hash(record))
                of_record = [each.take(index) for each in besides]
                if self._suspicion is None:
                    self._check_content(record, begin, of_record)
                at_ms = record.at_ms
            growth = self.edge.append(hashes)
            self.edge = growth.edge
            self._built.update(growth.tiles)
        self._compare_root(row, begin)
        if row.at_ms != at_ms:
            raise Damaged(
                DamageKind.CHECKPOINT, f"checkpoint {row.size}", "its time is not that of its records"
            )

    def _check_content(self, row: Any, begin: int, besides: Sequence[list[Any]]) -> None:
        record = read_record(row, begin)
        if fault := fault_of(self.at_ms, row.at_ms, begins=row.idx == begin):
            raise Damaged(DamageKind.CONTENT, f"record {row.idx}", fault)
        self.at_ms = row.at_ms
        reasons, detail, persons, lines = besides
        check_reasons(row.idx, record, reasons)
        check_detail(row.idx, record, detail)
        self.rules.check(row.idx, record)
        for line in check_batch(row.idx, record, lines, persons):
            self.rules.check_line(row.idx, record, line)

    def _check_hash(self, row: Any) -> bytes:
        leaf_hash, tile = hash_leaf(row.leaf), row.idx // TILE_WIDTH
        if self._leaf_tile[0] != tile:
            self._leaf_tile = tile, stored_tile(self.connection, 0, tile)
        at = row.idx % TILE_WIDTH * HASH_SIZE
        if self._suspicion is None and self._leaf_tile[1][at : at + HASH_SIZE] != leaf_hash:
            damage = Damaged(
                DamageKind.TILE, f"tile 0/{tile}", f"its hash of record {row.idx} is not the record's"
            )
            self._suspicion = _Suspicion(row.idx, damage)
        if self._suspicion is None and row.leaf_hash != leaf_hash:
            damage = Damaged(
                DamageKind.COLUMN, f"record {row.idx}", "its column leaf_hash is not its leaf's hash"
            )
            self._suspicion = _Suspicion(row.idx, damage)
        return leaf_hash

    def _compare_root(self, row: Any, begin: int) -> None:
        if self.edge.root != row.root:
            which = (
                f"record {self._suspicion.index}" if self._suspicion else f"records {begin} to {row.size - 1}"
            )
            raise Damaged(DamageKind.RECORD, which, "what it says is not what the log signed there")
        if self._suspicion:
            raise self._suspicion.damage
        for place in [place for place, data in self._built.items() if len(data) == TILE_BYTES]:
            compare_tile(self.connection, place, self._built.pop(place))
        # What is not full grows on; at the end of the log all of those are compared.
        self._built.clear()


def _require_row(row: Any, index: int) -> Any:
    if row is None or row.idx != index:
        raise Damaged(DamageKind.RECORD, f"record {index}", "it is missing, and the log signed one")
    if not isinstance(row.leaf, bytes):
        raise Damaged(DamageKind.RECORD, f"record {index}", "it has no leaf")
    return row
