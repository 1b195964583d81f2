"""Some leaf tiles of a tile log with their entries, verified apart from all others: what several processes do at once.

The hash of each tile comes from the tile above it, and so from the checkpoint: every judgement here is final.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from audit.record import RecordError
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.facts import Facts
from audit.verifier.leaf import read_leaf
from audit.verifier.source import TileLog, read_places
from audit.verifier.times import fault_of

_NOT_SIGNED: Final = "what it says is not what the log signed there"


@dataclass(frozen=True, slots=True)
class Leaves:
    """A task.

    Attributes:
        log: the source.
        first: the index of the first leaf tile.
        roots: of each full tile its root.
        edge: the hashes of the partial tile behind them; empty where there is none.
        begin: the first record that is new; those before it only have to hash to their tile.
        entries: whether the log comes with entries.
    """

    log: TileLog
    first: int
    roots: tuple[bytes, ...]
    edge: bytes
    begin: int
    entries: bool

    @property
    def end(self) -> int:
        """The position behind the last record."""
        return (self.first + len(self.roots)) * TILE_WIDTH + len(self.edge) // HASH_SIZE


@dataclass(slots=True)
class Read:
    """What was found.

    Attributes:
        facts: for the rules, of the records before the damage.
        damage: the first, as the arguments of `Damaged`.
        first_base: what the first new record says about where its transaction began; None when there is no new one.
        last_base: the same of the last.
        first_ms: when the first new record was appended, ms since 1970; None when there is no new one.
        last_ms: the same of the last.
    """

    facts: Facts = field(default_factory=Facts)
    damage: tuple[DamageKind, str, str] | None = None
    first_base: int | None = None
    last_base: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None


def check_leaves(task: Leaves) -> Read:
    """What there is to know about some leaf tiles. Raises SourceUnavailable."""
    read = Read()
    try:
        for index, hashes, entries in _tiles(task):
            if task.entries:
                _check_entries(task, read, index, hashes, entries)
    except Damaged as damaged:
        read.damage = (damaged.kind, damaged.where, damaged.problem)
    return read


def tile_of(data: bytes | None, place: Tile, *, exact: bool) -> bytes:
    """The hashes in a tile.

    Args:
        data: what is stored.
        place: where.
        exact: whether it was stored in this width; else it is the full tile that took its place.

    Raises:
        Damaged: it is missing, or of another width.
    """
    width = place.width if exact else TILE_WIDTH
    if data is None:
        raise Damaged(DamageKind.TILE, place.path, "it is missing")
    if len(data) != width * HASH_SIZE:
        raise Damaged(DamageKind.TILE, place.path, "it is longer or shorter than its hashes")
    return data[: place.width * HASH_SIZE]


def _tiles(task: Leaves) -> Iterator[tuple[int, bytes, tuple[bytes | None, bool]]]:
    """Each leaf tile's index, its authentic hashes, and what is stored as its entries."""
    widths = [TILE_WIDTH] * len(task.roots) + [len(task.edge) // HASH_SIZE] * bool(task.edge)
    bundles: list[Bundle | Tile] = [Bundle(task.first + n, width) for n, width in enumerate(widths)]
    tiles: list[Bundle | Tile] = [Tile(0, task.first + n) for n in range(len(task.roots))]
    stored = iter(read_places(task.log, bundles)) if task.entries else None
    for place, root, (data, exact) in zip(tiles, task.roots, read_places(task.log, tiles), strict=True):
        assert isinstance(place, Tile)
        hashes = tile_of(data, place, exact=exact)
        if root_of(hashes) != root:
            raise Damaged(DamageKind.TILE, place.path, "it does not hold what the tile above it vouches for")
        yield place.index, hashes, next(stored) if stored else (None, True)
    if task.edge:
        yield task.first + len(task.roots), task.edge, next(stored) if stored else (None, True)


def _check_entries(
    task: Leaves, read: Read, index: int, hashes: bytes, stored: tuple[bytes | None, bool]
) -> None:
    data, exact = stored
    where = Bundle(index, len(hashes) // HASH_SIZE).path
    if data is None:
        raise Damaged(DamageKind.RECORD, where, "it is missing")
    at = 0
    for number in range(len(hashes) // HASH_SIZE):
        position = index * TILE_WIDTH + number
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : end]
        if end > len(data) or hash_leaf(entry) != hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE]:
            raise Damaged(DamageKind.RECORD, f"record {position}", _NOT_SIGNED)
        at = end
        if position >= task.begin:
            _read_record(read, position, entry)
    if exact and at != len(data):
        raise Damaged(DamageKind.RECORD, where, "something follows its last entry")


def _read_record(read: Read, position: int, entry: bytes) -> None:
    where = f"record {position}"
    try:
        record, at_ms = read_leaf(entry)
    except RecordError as error:
        raise Damaged(DamageKind.CONTENT, where, str(error)) from error
    if record.base is None or at_ms is None:
        words = "its leaf does not say when and on what state it was appended"
        raise Damaged(DamageKind.CONTENT, where, words)
    if read.first_base is None:
        read.first_base, read.first_ms = record.base, at_ms
    elif record.base not in (read.last_base, position):
        words = f"its leaf was written for position {record.base}, where no transaction began"
        raise Damaged(DamageKind.CONTENT, where, words)
    if fault := fault_of(read.last_ms, at_ms, begins=record.base == position):
        raise Damaged(DamageKind.CONTENT, where, fault)
    read.last_base, read.last_ms = record.base, at_ms
    read.facts.add(position, record)
