"""The log as a folder of static files (C2SP tlog-tiles), which any web server can serve and any verifier can read.

A run adds what is new since the one before; the checkpoint is written last, so that at every moment the folder is
a whole log. What a killed run wrote is kept when it is byte for byte what would be written now.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import sqlalchemy as sa

from audit.ledger.errors import LedgerDamaged
from audit.ledger.tree import StoredTiles
from audit.tiles.folder import StaticFolder, open_folder
from audit.tiles.places import CHECKPOINT, Place, available_width, bundles, count, hash_tiles
from audit.tiles.source import TileSource
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile, decode_bundle
from audit.tlog.tree import Edge, Tree

_TILES_AT_HAND = 16

Progress = Callable[[int, int], None]


class ExportRefused(ValueError):
    """The folder cannot take this log; the message says why and what would."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did: the log's name, how many entries the folder covers, and counts of files."""

    origin: str
    size: int
    written: int
    kept: int
    superseded: int


def export_tiles(
    connection: sa.Connection,
    folder: Path,
    *,
    entries: bool,
    upto: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write the log of a ledger to `folder`, or what is new in it.

    The checkpoint is copied, not verified, since that needs the log's key; but nothing is written that does not
    belong to it: every tile and bundle is hashed up to its root.

    Args:
        connection: one snapshot of the ledger, used only to read.
        folder: made when missing; else one that this function wrote, of the same log.
        entries: whether the records themselves are written, or only their hashes.
        upto: write the log as of its newest checkpoint of at most so many entries; of the newest of all unless given.
        progress: told how many files of how many are done.

    Raises:
        LedgerDamaged: checkpoint, tree and records do not belong together.
        ExportRefused: the folder holds another log, a later state of this one, or entries that were not asked for.
        FolderBusy: another process is writing to the folder.
        OSError: it cannot be written. Run it again; it goes on where it ended.
    """
    source = TileSource(connection, upto=upto)
    checkpoint = _read_checkpoint(source.checkpoint)
    vouched = _Vouched(connection, source, checkpoint)
    with open_folder(folder) as files:
        old_size = _continue(files, connection, checkpoint)
        if not entries and files.holds("tile/entries"):
            raise ExportRefused(
                f"{folder} holds entries of an earlier export; take another folder, or export with entries"
            )
        written = kept = 0
        total = count(checkpoint.size, entries=entries)
        for place in _places(checkpoint.size, entries=entries):
            if _bring(files, vouched, place, old_size=old_size):
                written += 1
            else:
                kept += 1
            progress(written + kept, total)
        files.sync()
        if files.read(CHECKPOINT) != source.checkpoint:
            files.write(CHECKPOINT, source.checkpoint)
            files.sync()
        return Exported(checkpoint.origin, checkpoint.size, written, kept, files.remove_superseded())


class _Vouched:
    """Tiles and bundles that lead to the checkpoint's root, or `LedgerDamaged`.

    The edge tiles give the root; every other tile has its own root in the tile above, up to the edge.
    """

    def __init__(self, connection: sa.Connection, source: TileSource, checkpoint: Checkpoint) -> None:
        self._source = source
        self._hashes = lru_cache(_TILES_AT_HAND)(source.read)
        try:
            root = Edge.load(checkpoint.size, StoredTiles(connection)).root
        except TlogError as error:
            raise LedgerDamaged(f"its tree cannot be read: {error}") from error
        if (checkpoint.size, checkpoint.root) != (source.size, root):
            raise LedgerDamaged("its tree is not the one that its newest checkpoint vouches for")

    def read(self, place: Place) -> bytes:
        return self._tile(place) if isinstance(place, Tile) else self._bundle(place)

    def _tile(self, place: Tile) -> bytes:
        data = self._source.read(place)
        if place.width == TILE_WIDTH and root_of(data) != self._hash(place.level + 1, place.index):
            raise LedgerDamaged(f"its {place.path} does not belong to the tree")
        return data

    def _bundle(self, place: Bundle) -> bytes:
        data = self._source.read(place)
        hashes = b"".join(map(hash_leaf, decode_bundle(data, place.width)))
        if hashes != self._hashes(Tile(0, place.index, place.width)):
            raise LedgerDamaged(f"its {place.path} does not hash to the tree's leaves")
        return data

    def _hash(self, level: int, position: int) -> bytes:
        index, at = divmod(position, TILE_WIDTH)
        width = available_width(Tile(level, index), self._source.size)
        row = self._hashes(Tile(level, index, width))
        return row[at * HASH_SIZE : (at + 1) * HASH_SIZE]


def _places(size: int, *, entries: bool) -> Iterator[Place]:
    return chain(bundles(size) if entries else (), hash_tiles(size))


def _bring(files: StaticFolder, vouched: _Vouched, place: Place, *, old_size: int) -> bool:
    """Have the file in the folder; returns whether it had to be written."""
    if available_width(place, old_size) >= place.width and _is_there(files, place):
        return False
    data = vouched.read(place)
    # Beyond the folder's own checkpoint nothing vouches for a file that a killed run may have left.
    if files.read(place.path) == data:
        files.touch(place.path)
        return False
    # Records are those of all departments; hashes are for anybody.
    files.write(place.path, data, mode=0o666 if isinstance(place, Tile) else 0o600)
    return True


def _is_there(files: StaticFolder, place: Place) -> bool:
    size = files.size(place.path)
    return size == place.width * HASH_SIZE if isinstance(place, Tile) else size is not None


def _continue(files: StaticFolder, connection: sa.Connection, checkpoint: Checkpoint) -> int:
    """How many entries the folder's own checkpoint covers, if this log extends it."""
    note = files.read(CHECKPOINT)
    if note is None:
        return 0
    try:
        old = _parse_unverified(note)
    except TlogError as error:
        raise ExportRefused(
            f"the checkpoint in the folder cannot be read ({error}); take another folder"
        ) from None
    if old.origin != checkpoint.origin:
        raise ExportRefused(
            f"the folder holds the log {old.origin}, and the ledger that of {checkpoint.origin}; take another folder"
        )
    if old.size > checkpoint.size:
        raise ExportRefused(
            f"the folder covers {old.size} entries and the ledger only {checkpoint.size}: it is an old copy, or was "
            "rolled back. Export from the newest copy; if there is none, keep the folder as evidence"
        )
    if _root_at(connection, old.size) != old.root:
        raise ExportRefused(
            f"the first {old.size} entries of the ledger are not those of the folder: one of the two was rewritten. "
            "Keep both as evidence"
        )
    return old.size


def _root_at(connection: sa.Connection, size: int) -> bytes:
    try:
        return Tree(StoredTiles(connection)).root(size)
    except TlogError as error:
        raise LedgerDamaged(f"its tree cannot be read: {error}") from error


def _read_checkpoint(note: bytes) -> Checkpoint:
    try:
        return _parse_unverified(note)
    except TlogError as error:
        raise LedgerDamaged(f"its newest checkpoint cannot be read: {error}") from error


def _parse_unverified(note: bytes) -> Checkpoint:
    text, _, _ = note.decode("utf-8", "replace").rpartition("\n\n")
    return Checkpoint.parse(f"{text}\n")
