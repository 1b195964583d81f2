"""The offline verifier of tile logs: a folder of static files, or a tile server (C2SP tlog-tiles).

The checkpoint vouches for the tiles at the right edge, those for every other tile, and the leaf tiles for the entries.
Entries are held against the rules for records as those of a ledger are. What is not in tiles cannot be judged: erasable
detail, and with it what a batch decided about each subject.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import TileError, TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile, decode_bundle, encode_bundle, parse_path, tile_width
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.extension import require_extension, require_not_behind
from audit.verifier.leaves import Leaves, Read, check_leaves
from audit.verifier.result import Progress, Source, Verified, no_progress
from audit.verifier.rules import Rules
from audit.verifier.source import Folder, TileLog, open_source, read_checkpoint, read_place
from audit.verifier.state import Start, State, open_state
from audit.verifier.times import fault_of
from audit.verifier.upper import Upper
from audit.verifier.workers import in_order

ENTRIES: Final = "tile/entries"
"""What is damaged of a log that should come with its records and does not."""
_TILES_AT_ONCE: Final = 16
_ALONE: Final = 4 * _TILES_AT_ONCE * TILE_WIDTH


def verify_tiles(
    location: str,
    key: VerifierKey,
    *,
    known: bytes | None = None,
    state: Path | None = None,
    jobs: int = 1,
    progress: Progress = no_progress,
    records_required: bool = False,
) -> Verified:
    """Return only if everything in a tile log is as the log signed it.

    Args:
        location: a folder, or the http or https address of a tile server.
        key, known, state, jobs, progress: as `audit.verifier.ledger.verify_ledger`.
        records_required: whether a log that comes without its entries is damaged.

    Raises:
        Damaged: the first thing found wrong.
        SourceUnavailable: the server cannot be reached.
        ValueError: the address is none, or the state cannot be gone on from.
        TlogError: `known` is not a checkpoint that the log signed.
    """
    outside = open_checkpoint(known, key).checkpoint if known is not None else None
    log = open_source(location)
    note, newest = _checkpoint(log, key)
    last = max(0, newest.size - 1) // TILE_WIDTH
    bundles = (
        Bundle(0, tile_width(0, 0, newest.size) or 1),
        Bundle(last, tile_width(0, last, newest.size) or 1),
    )
    entries = not newest.size or log.has_entries(*bundles)
    if records_required and not entries:
        words = "there are none: this log comes without its records, or they were taken away"
        raise Damaged(DamageKind.RECORD, ENTRIES, words)
    with open_state(state, key, Source.ENTRIES if entries else Source.HASHES) as kept:
        signed = [each for each in (_started(kept, key), outside) if each is not None]
        for earlier in signed:
            # Before any tile is read: those of the earlier size need not be there.
            require_not_behind(earlier, newest.size)
        upper = Upper(log, newest)
        for earlier in signed:
            require_extension(earlier, newest, upper)
        begin = kept.start.size if kept.start else 0
        run = _Run(log, upper, Rules(kept.scratch), newest.size, kept.start, entries=entries)
        run.go(jobs, progress)
        if isinstance(log, Folder):
            _check_files(log, upper, newest.size)
        kept.save(Start(note, upper.edge, run.at_ms, {}))
    source = Source.ENTRIES if entries else Source.HASHES
    return Verified(newest.size, newest.root, 1, note.decode(), source, begin)


def _checkpoint(log: TileLog, key: VerifierKey) -> tuple[bytes, Checkpoint]:
    note = read_checkpoint(log)
    if note is None:
        raise Damaged(DamageKind.CHECKPOINT, "checkpoint", "it is missing")
    try:
        return note, open_checkpoint(note, key).checkpoint
    except TlogError as error:
        raise Damaged(DamageKind.CHECKPOINT, "checkpoint", str(error)) from error


def _started(state: State, key: VerifierKey) -> Checkpoint | None:
    return Checkpoint(key.name, state.start.size, state.start.edge.root) if state.start else None


class _Run:
    """The leaf tiles behind `start`, in order; `at_ms` is when the last record read was appended."""

    def __init__(
        self, log: TileLog, upper: Upper, rules: Rules, size: int, start: Start | None, *, entries: bool
    ) -> None:
        begin = start.size if start else 0
        self._log = log
        self._upper = upper
        self._rules = rules
        self._size = size
        self._begin = begin
        self._base = begin
        self._entries = entries
        self.at_ms = start.at_ms if start else None

    def go(self, jobs: int, progress: Progress) -> None:
        """Return only if they are in order. Raises Damaged."""
        alone = jobs == 1 or self._size - self._begin <= _ALONE
        for task, read in in_order(check_leaves, self._tasks(), jobs=1 if alone else jobs):
            self._take(task, read)
            progress(task.end, self._size)

    def _tasks(self) -> Iterator[Leaves]:
        full, rest = divmod(self._size, TILE_WIDTH)
        for first in range(self._begin // TILE_WIDTH, full + bool(rest), _TILES_AT_ONCE):
            end = min(full, first + _TILES_AT_ONCE)
            roots = tuple(self._upper.hashes(1, first, end))
            edge = self._upper.tile(0, full) if rest and first + _TILES_AT_ONCE > full else b""
            yield Leaves(self._log, first, roots, edge, self._begin, self._entries)

    def _take(self, task: Leaves, read: Read) -> None:
        first = max(task.first * TILE_WIDTH, self._begin)
        if read.first_base is not None and read.last_base is not None and read.first_ms is not None:
            if read.first_base not in (self._base, first):
                words = f"its leaf was written for position {read.first_base}, where no transaction began"
                raise Damaged(DamageKind.CONTENT, f"record {first}", words)
            if fault := fault_of(self.at_ms, read.first_ms, begins=read.first_base == first):
                raise Damaged(DamageKind.CONTENT, f"record {first}", fault)
            self._base, self.at_ms = read.last_base, read.last_ms
        self._rules.check_all(read.facts)
        if read.damage is not None:
            raise Damaged(*read.damage)


def _check_files(folder: Folder, upper: Upper, size: int) -> None:
    """Every file must be one of the log: narrower tiles of earlier checkpoints are, if they say the same."""
    for path in folder.names():
        try:
            place = parse_path(path)
        except TileError:
            raise Damaged(DamageKind.TILE, path, "the log has no such file") from None
        width = tile_width(place.level if isinstance(place, Tile) else 0, place.index, size)
        if place.width > width:
            words = f"the checkpoint covers {size} records and not this: it was added, a newer checkpoint was taken"
            raise Damaged(DamageKind.TILE, path, f"{words} away, or an export has not ended")
        if place.width < width and not _is_prefix(folder, upper, place, width):
            raise Damaged(DamageKind.TILE, path, "it is not what the tile of a later checkpoint begins with")


def _is_prefix(folder: Folder, upper: Upper, place: Tile | Bundle, width: int) -> bool:
    if isinstance(place, Tile):
        whole = upper.tile(place.level, place.index)[: place.width * HASH_SIZE]
        return folder.read(place.path, len(whole)) == whole
    data = read_place(folder, Bundle(place.index, width))
    try:
        whole = encode_bundle(decode_bundle(data or b"", place.width))
    except TileError:
        return False
    return folder.read(place.path, len(whole)) == whole
