"""The offline verifier of ledgers: reads a whole ledger, changes nothing, and names the first thing that is wrong.

It trusts no index and no process, needs the log's public key only, and keeps a bounded amount in memory. Chunks of
transactions are verified apart from each other (`audit.verifier.chunk`), and taken in their order; where one is in
doubt, it is read again step by step (`audit.verifier.careful`), so that the number of processes changes no answer.

That the *newest* records and checkpoints were cut off together shows only in comparison with a checkpoint from
outside, such as a pin, a receipt's, or the state of an earlier verification. Erasable detail that is gone cannot be judged.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from audit.batch.lines import PART
from audit.ledger.offline import open_offline
from audit.ledger.schema import batch_lines, checkpoints, meta, record_subjects, records
from audit.ledger.tree import StoredTiles
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.keys import VerifierKey
from audit.tlog.tree import Edge
from audit.verifier.careful import Careful, check_note, compare_tile, require_none_beyond, stream
from audit.verifier.chunk import Chunk, Sound, check_chunk
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.extension import require_extension, require_not_behind
from audit.verifier.result import Progress, Source, Verified, no_progress
from audit.verifier.rows import counts_of, require_kept, require_tiles, require_vouched
from audit.verifier.rules import Rules
from audit.verifier.state import Start, State, open_state
from audit.verifier.storage import StorageCheck, require_indexes
from audit.verifier.times import fault_of
from audit.verifier.workers import in_order

_CHUNK_RECORDS: Final = 4096
_CHUNK_CHECKPOINTS: Final = 1024
_CHUNK_LINES: Final = 50_000
"""Lines or persons of batches: of a line there is about a kilobyte in memory."""
_MOST_AT_ONCE: Final = 4 * _CHUNK_LINES
"""A transaction with more of them is left to be read record by record."""
_ALONE: Final = 4 * _CHUNK_RECORDS
"""Up to so many records this process is done before others are under way."""


def verify_ledger(
    location: str,
    key: VerifierKey,
    *,
    known: bytes | None = None,
    state: Path | None = None,
    jobs: int = 1,
    progress: Progress = no_progress,
) -> Verified:
    """Return only if everything in the ledger is as the log signed it.

    Args:
        location: the database's path, or `sqlite:///` and a path. A copy will do.
        key: the log's public key, from a source that whoever runs the log cannot change.
        known: a signed checkpoint from outside, which the ledger must extend.
        state: a file that an earlier run left, or for the next one to go on from: then only what is new is verified.
        jobs: how many processes.
        progress: told how far it is.

    Raises:
        Damaged: the first thing found wrong.
        OSError: there is no such file.
        ValueError: the location is a database of another kind, or the state cannot be gone on from.
        TlogError: `known` is not a checkpoint that the log signed.
    """
    outside = open_checkpoint(known, key).checkpoint if known is not None else None
    try:
        with open_offline(location) as connection, open_state(state, key, Source.LEDGER) as kept:
            verification = _Verification(connection, location, key, kept)
            found = verification.run(jobs, progress)
            newest = Checkpoint(key.name, found.size, found.root)
            if outside is not None:
                require_extension(outside, newest, StoredTiles(connection))
            kept.save(verification.end(found.checkpoint.encode()))
            return found
    except (sa.exc.DBAPIError, sa.exc.NoSuchColumnError) as error:
        raise Damaged(DamageKind.STORAGE, "the database", f"it cannot be read: {error}") from error


class _Batches:
    """The persons and lines of batches, counted along with the chunks: no index has the persons in this order."""

    def __init__(self, connection: sa.Connection, begin: int) -> None:
        self._persons = _Rows(connection, sa.select(record_subjects), record_subjects.c.idx, begin)
        self._parts = _Rows(connection, sa.select(batch_lines.c.idx), batch_lines.c.idx, begin)

    def take(self, end: int) -> tuple[dict[int, list[str]] | None, int]:
        """By record the persons of those up to `end`, None where they are too many; and how many persons or lines."""
        found: dict[int, list[str]] = {}
        count = 0
        for count, row in enumerate(self._persons.take(end), start=1):
            if count <= _MOST_AT_ONCE:
                found.setdefault(row.idx, []).append(row.token)
        weight = max(count, PART * sum(1 for _ in self._parts.take(end)))
        return (found if weight <= _MOST_AT_ONCE else None), weight


class _Rows:
    """The rows of a query in order of position."""

    def __init__(
        self, connection: sa.Connection, query: sa.Select[Any], idx: sa.Column[Any], begin: int
    ) -> None:
        self._rows = stream(connection, query.where(idx >= begin).order_by(idx))
        self._next = next(self._rows, None)

    def take(self, end: int) -> Iterator[Any]:
        """Those before `end`. What is no number comes behind all numbers, and is named at the end."""
        while self._next is not None and isinstance(self._next.idx, int | float) and self._next.idx < end:
            yield self._next
            self._next = next(self._rows, None)


class _Verification:
    """One run; `edge` is that of what is verified so far, and `at_ms` when the last of that was appended."""

    def __init__(self, connection: sa.Connection, location: str, key: VerifierKey, state: State) -> None:
        self._connection = connection
        self._location = location
        self._key = key
        self._state = state
        self._rules = Rules(state.scratch)
        self.edge = state.start.edge if state.start else Edge.empty()
        self.at_ms = state.start.at_ms if state.start else None
        self._checkpoints = 0

    def end(self, note: bytes) -> Start:
        """Where it ended, for the next run; `note` is the newest checkpoint."""
        return Start(note, self.edge, self.at_ms, counts_of(self._connection, self.edge.size))

    def run(self, jobs: int, progress: Progress) -> Verified:
        self._check_meta()
        start = self._state.start
        if start is not None:
            self._require_extension(start)
        total = max((self._connection.scalar(sa.select(sa.func.max(records.c.idx))) or 0) + 1, self.edge.size)
        alone = jobs == 1 or total - self.edge.size <= _ALONE
        with StorageCheck(self._location, beside=not alone) as storage:
            for chunk, sound in in_order(check_chunk, self._chunks(), jobs=1 if alone else jobs):
                self._take(chunk, sound)
                progress(self.edge.size, total)
            return self._finish(start, storage)

    def _take(self, chunk: Chunk, sound: Sound | None) -> None:
        if sound is not None and sound.before == self.edge.root and not self._is_before(sound.first_ms):
            self._rules.check_all(sound.facts)
            self.edge, self._checkpoints = sound.edge, self._checkpoints + sound.checkpoints
            self.at_ms = self.at_ms if sound.last_ms is None else sound.last_ms
        else:
            self._look_again(chunk)

    def _is_before(self, at_ms: int | None) -> bool:
        return at_ms is not None and bool(fault_of(self.at_ms, at_ms, begins=True))

    def _check_meta(self) -> None:
        values = {row.key: row.value for row in stream(self._connection, sa.select(meta))}
        if values.get("log_key") != self._key.encode():
            raise Damaged(DamageKind.KEY, "meta log_key", "the ledger says that it belongs to another key")
        if values.get("schema") != "1":
            raise Damaged(DamageKind.KEY, "meta schema", "the tables are not of version 1")

    def _require_extension(self, start: Start) -> None:
        """The ledger must still hold the checkpoint at which the last verification ended."""
        earlier = Checkpoint(self._key.name, start.size, start.edge.root)
        newest = self._connection.scalar(sa.select(sa.func.max(checkpoints.c.size)))
        require_not_behind(earlier, newest or 0)
        row = self._connection.execute(sa.select(checkpoints).where(checkpoints.c.size == start.size)).first()
        if row is None:
            raise Damaged(DamageKind.CHECKPOINT, f"checkpoint {start.size}", "it is missing")
        check_note(row, self._key)
        signed = Checkpoint(self._key.name, row.size, row.root)
        require_extension(earlier, signed, StoredTiles(self._connection))
        require_kept(self._connection, start.size, start.counts)

    def _chunks(self) -> Iterator[Chunk]:
        start = self._state.start
        after = -1 if start is None else start.size
        column = checkpoints.c.size
        query = sa.select(column).where(column > after).order_by(column)
        sizes = (row.size for row in stream(self._connection, query))
        first = next(sizes, None)
        if start is None and first != 0:
            raise Damaged(DamageKind.CHECKPOINT, "checkpoint 0", "it is missing")
        batches = _Batches(self._connection, max(0, after))
        persons: dict[int, list[str]] | None = {}
        count, held, end = 0, 0, after
        for size in itertools.chain(() if first is None else (first,), sizes):
            more, weight = batches.take(size)
            if count and held + weight > _CHUNK_LINES:
                yield Chunk(self._location, self._key, after, end, persons)
                persons, count, held, after = {}, 0, 0, end
            if persons is None or more is None:
                persons = None
            else:
                persons.update(more)
            count, held, end = count + 1, held + weight, size
            if count == _CHUNK_CHECKPOINTS or end - max(0, after) >= _CHUNK_RECORDS:
                yield Chunk(self._location, self._key, after, end, persons)
                persons, count, held, after = {}, 0, 0, end
        if count:
            yield Chunk(self._location, self._key, after, end, persons)

    def _look_again(self, chunk: Chunk) -> None:
        careful = Careful(self._connection, self._key, self._rules, self.edge, self.at_ms)
        careful.run(chunk.after, chunk.end)
        self.edge, self._checkpoints = careful.edge, self._checkpoints + careful.checkpoints
        self.at_ms = careful.at_ms

    def _finish(self, start: Start | None, storage: StorageCheck) -> Verified:
        size = self.edge.size
        require_none_beyond(self._connection, size)
        self._check_tiles()
        require_vouched(self._connection)
        if start is None or start.size < size:
            require_indexes(self._connection)
            storage.require_sound()
        query = sa.select(checkpoints.c.note).where(checkpoints.c.size == size)
        note = bytes(self._connection.scalars(query).one())
        begin = start.size if start else 0
        return Verified(size, self.edge.root, self._checkpoints, note.decode(), Source.LEDGER, begin)

    def _check_tiles(self) -> None:
        size = self.edge.size
        for level, data in enumerate(self.edge.tiles):
            if data:
                compare_tile(self._connection, (level, size >> 8 * (level + 1)), data)
        require_tiles(self._connection, size)
