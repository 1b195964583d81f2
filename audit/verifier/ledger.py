"""The offline verifier: reads a whole ledger, changes nothing, and names the first thing that is wrong.

What the log signed is the truth. The verifier hashes every leaf, builds the tree anew, and compares its root with
every checkpoint. Where they agree the leaves are authentic, and each column, reason and tile is held against them.
It trusts no index and no process, needs the log's public key only, and keeps a bounded amount in memory.

That the *newest* records and checkpoints were cut off together shows only in comparison with a checkpoint from
outside, such as a pin or a receipt's. Erasable detail that is gone cannot be judged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.offline import open_offline
from audit.ledger.schema import (
    METADATA,
    batch_lines,
    checkpoints,
    details,
    meta,
    record_reasons,
    record_subjects,
    records,
    tiles,
)
from audit.ledger.tree import StoredTiles
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE, hash_leaf
from audit.tlog.tiles import TILE_BYTES, TILE_WIDTH, tile_width
from audit.tlog.tree import Edge, Tree
from audit.verifier.batch import check_batch
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.record import check_detail, check_reasons, read_record
from audit.verifier.rules import Rules

Progress = Callable[[int, int], None]

_AT_ONCE: Final = 256
_BESIDES: Final = (
    (sa.select(record_reasons).order_by(record_reasons.c.idx), DamageKind.REASON),
    (sa.select(details).order_by(details.c.idx), DamageKind.DETAIL),
    (sa.select(record_subjects).order_by(record_subjects.c.idx), DamageKind.SUBJECT),
    (sa.select(batch_lines).order_by(batch_lines.c.idx, batch_lines.c.part), DamageKind.DETAIL),
)
"""What belongs to records beside their leaves, in their order."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A ledger in which nothing is wrong.

    Attributes:
        size: number of records.
        root: of the tree, 32 bytes.
        checkpoints: how many signed checkpoints agree.
        checkpoint: the newest.
    """

    size: int
    root: bytes
    checkpoints: int
    checkpoint: str


def verify_ledger(
    location: str,
    key: VerifierKey,
    *,
    known: bytes | None = None,
    progress: Progress = lambda done, total: None,
) -> Verified:
    """Return only if everything in the ledger is as the log signed it.

    Args:
        location: the database's path, or `sqlite:///` and a path. A copy will do.
        key: the log's public key, from a source that whoever runs the log cannot change.
        known: a signed checkpoint from outside, which the ledger must extend.
        progress: called with the number of records verified and of all records, at every checkpoint.

    Raises:
        Damaged: the first thing found wrong.
        OSError: there is no such file.
        ValueError: the location is a database of another kind.
        TlogError: `known` is not a checkpoint that the log signed.
    """
    outside = open_checkpoint(known, key).checkpoint if known is not None else None
    with Rules() as rules:
        try:
            with open_offline(location) as connection:
                found = _Verification(connection, key, rules).run(progress)
                if outside is not None:
                    _require_extension(connection, found, outside)
                return found
        except (sa.exc.DBAPIError, sa.exc.NoSuchColumnError) as error:
            raise Damaged(DamageKind.STORAGE, "the database", f"it cannot be read: {error}") from error


def _require_extension(connection: sa.Connection, found: Verified, outside: Checkpoint) -> None:
    where = f"checkpoint {outside.size}"
    if outside.size > found.size:
        raise Damaged(
            DamageKind.CHECKPOINT, where, f"the log signed it, and the ledger ends at {found.size} records"
        )
    if Tree(StoredTiles(connection)).root(outside.size) != outside.root:
        raise Damaged(
            DamageKind.CHECKPOINT, where, "the log signed it for other records than the ledger's first"
        )


class _Merge:
    """A table in order of position, read along with the records."""

    def __init__(self, rows: Iterator[Any], kind: DamageKind) -> None:
        self._rows = rows
        self._kind = kind
        self._next = next(rows, None)

    def take(self, index: int) -> list[Any]:
        """The rows of one record."""
        found = []
        while self._next is not None and self._next.idx == index:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found

    def require_end(self) -> None:
        """Return only if every row belonged to a record. Raises Damaged."""
        if self._next is not None:
            raise Damaged(
                self._kind, f"record {self._next.idx}", "something belongs to it, and it does not exist"
            )


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A record that disagrees with its hash or its tile, and what is damaged if its leaf turns out authentic."""

    index: int
    damage: Damaged


@dataclass(slots=True)
class _Verification:
    connection: sa.Connection
    key: VerifierKey
    rules: Rules
    edge: Edge = field(default_factory=Edge.empty)
    built: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Tiles that are not compared yet: those of the transaction under way, and the right edge."""
    leaf_tile: tuple[int, bytes] = (-1, b"")
    suspicion: _Suspicion | None = None

    def run(self, progress: Progress) -> Verified:
        self._check_meta()
        total = (self.connection.scalar(sa.select(sa.func.max(records.c.idx))) or 0) + 1
        rows = self._stream(sa.select(records).order_by(records.c.idx))
        besides = [_Merge(self._stream(query), kind) for query, kind in _BESIDES]
        count, last = 0, None
        for row in self._stream(sa.select(checkpoints).order_by(checkpoints.c.size)):
            if last is None and row.size != 0:
                break
            self._check_note(row)
            self._check_transaction(row, rows, besides)
            count, last = count + 1, row
            progress(row.size, total)
        if last is None:
            raise Damaged(DamageKind.CHECKPOINT, "checkpoint 0", "it is missing")
        self._check_ends(next(rows, None), besides)
        self._check_tiles()
        self._check_storage()
        return Verified(self.edge.size, self.edge.root, count, last.note.decode())

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        return iter(self.connection.execute(query, execution_options={"yield_per": _AT_ONCE}))

    def _check_meta(self) -> None:
        values = {row.key: row.value for row in self._stream(sa.select(meta))}
        if values.get("log_key") != self.key.encode():
            raise Damaged(DamageKind.KEY, "meta log_key", "the ledger says that it belongs to another key")
        if values.get("schema") != "1":
            raise Damaged(DamageKind.KEY, "meta schema", "the tables are not of version 1")

    def _check_note(self, row: Any) -> None:
        where = f"checkpoint {row.size}"
        try:
            signed = open_checkpoint(bytes(row.note), self.key).checkpoint
        except (TlogError, TypeError) as error:
            raise Damaged(DamageKind.CHECKPOINT, where, str(error)) from error
        if (signed.size, signed.root) != (row.size, row.root):
            raise Damaged(DamageKind.CHECKPOINT, where, "its note says another size or root than its row")

    def _check_transaction(self, row: Any, rows: Iterator[Any], besides: Sequence[_Merge]) -> None:
        """The records that a checkpoint adds to the one before: those of one transaction."""
        begin, at_ms = self.edge.size, 0
        while self.edge.size < row.size:
            hashes = []
            for index in range(self.edge.size, min(row.size, self.edge.size + _AT_ONCE)):
                record = _require_row(next(rows, None), index)
                hashes.append(self._check_hash(record))
                of_record = [each.take(index) for each in besides]
                if self.suspicion is None:
                    self._check_content(record, begin, of_record)
                at_ms = record.at_ms
            growth = self.edge.append(hashes)
            self.edge = growth.edge
            self.built.update(growth.tiles)
        self._compare_root(row, begin)
        if row.at_ms != at_ms:
            raise Damaged(
                DamageKind.CHECKPOINT, f"checkpoint {row.size}", "its time is not that of its records"
            )

    def _check_content(self, row: Any, begin: int, besides: Sequence[list[Any]]) -> None:
        record = read_record(row, begin)
        reasons, detail, persons, lines = besides
        check_reasons(row.idx, record, reasons)
        check_detail(row.idx, record, detail)
        self.rules.check(row.idx, record)
        for line in check_batch(row.idx, record, lines, persons):
            self.rules.check_line(row.idx, record, line)

    def _check_hash(self, row: Any) -> bytes:
        leaf_hash, tile = hash_leaf(row.leaf), row.idx // TILE_WIDTH
        if self.leaf_tile[0] != tile:
            self.leaf_tile = tile, self._stored(0, tile)
        at = row.idx % TILE_WIDTH * HASH_SIZE
        if self.suspicion is None and self.leaf_tile[1][at : at + HASH_SIZE] != leaf_hash:
            damage = Damaged(
                DamageKind.TILE, f"tile 0/{tile}", f"its hash of record {row.idx} is not the record's"
            )
            self.suspicion = _Suspicion(row.idx, damage)
        if self.suspicion is None and row.leaf_hash != leaf_hash:
            damage = Damaged(
                DamageKind.COLUMN, f"record {row.idx}", "its column leaf_hash is not its leaf's hash"
            )
            self.suspicion = _Suspicion(row.idx, damage)
        return leaf_hash

    def _compare_root(self, row: Any, begin: int) -> None:
        if self.edge.root != row.root:
            which = (
                f"record {self.suspicion.index}" if self.suspicion else f"records {begin} to {row.size - 1}"
            )
            raise Damaged(DamageKind.RECORD, which, "what it says is not what the log signed there")
        if self.suspicion:
            raise self.suspicion.damage
        for place in [place for place, data in self.built.items() if len(data) == TILE_BYTES]:
            self._compare_tile(place, self.built.pop(place))

    def _compare_tile(self, place: tuple[int, int], data: bytes) -> None:
        if self._stored(*place) != data:
            where = f"tile {place[0]}/{place[1]}"
            raise Damaged(
                DamageKind.TILE, where, "it is missing, or does not hold the hashes of the records below"
            )

    def _stored(self, level: int, index: int) -> bytes:
        query = sa.select(tiles.c.data).where(tiles.c.level == level, tiles.c.idx == index)
        data = self.connection.scalar(query)
        return data if isinstance(data, bytes) else b""

    def _check_ends(self, row: Any, besides: Sequence[_Merge]) -> None:
        if row is not None:
            raise Damaged(
                DamageKind.CHECKPOINT,
                f"record {row.idx}",
                "no checkpoint covers it: it was added, or the checkpoint was removed",
            )
        for each in besides:
            each.require_end()

    def _check_tiles(self) -> None:
        for place, data in self.built.items():
            self._compare_tile(place, data)
        for row in self._stream(sa.select(tiles.c.level, tiles.c.idx)):
            if row.level < 0 or row.idx < 0 or not tile_width(row.level, row.idx, self.edge.size):
                raise Damaged(DamageKind.TILE, f"tile {row.level}/{row.idx}", "the tree has no such tile")

    def _check_storage(self) -> None:
        present = {row.name for row in self.connection.exec_driver_sql("SELECT name FROM sqlite_master")}
        for table in METADATA.sorted_tables:
            for index in table.indexes:
                if index.name not in present:
                    raise Damaged(
                        DamageKind.STORAGE, f"index {index.name}", "it is missing, so searches are not sound"
                    )
        (result,) = self.connection.exec_driver_sql("PRAGMA integrity_check(1)").one()
        if result != "ok":
            raise Damaged(DamageKind.STORAGE, "the database", str(result))


def _require_row(row: Any, index: int) -> Any:
    if row is None or row.idx != index:
        raise Damaged(DamageKind.RECORD, f"record {index}", "it is missing, and the log signed one")
    if not isinstance(row.leaf, bytes):
        raise Damaged(DamageKind.RECORD, f"record {index}", "it has no leaf")
    return row
