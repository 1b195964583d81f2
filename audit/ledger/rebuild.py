"""A ledger written anew from its leaves: every column, table and index by which records are found.

A damaged index must not be walked, not even to delete it: its pages may point anywhere. So nothing is mended in place.
What cannot be derived (leaves, tiles, checkpoints, details, the gateway's own tables) is copied row by row from the
tables themselves, everything else is made again, and the new file takes the place of the old one in one step. Before
that each leaf is held against the tree, and the tree against the newest checkpoint: damaged records are never given a
new index. The old file is kept beside it.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from audit.batch.lines import Line, LineError, read_line, split_lines
from audit.ledger.schema import INDEX_COLUMNS, METADATA, create_missing, index_values
from audit.record import AccessRecord, RecordError
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE, hash_leaf
from audit.tlog.tiles import TILE_WIDTH
from audit.tlog.tree import Edge

DERIVED: Final = ("records", "record_reasons", "record_subjects")
"""The tables that are written from the leaves; of `records` the leaf alone is copied."""
OLD: Final = ".before-rebuild"
"""What the old file's name ends in afterwards."""
_NEW: Final = ".rebuilding"
_AT_ONCE: Final = 2_048
_PREFIX: Final = "sqlite:///"

Progress = Callable[[int, int], None]


class RebuildRefused(ValueError):
    """Nothing was changed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was written anew.

    Attributes:
        records: how many records there are.
        mended: how many had a column that did not say what their leaf says.
        lost: how many persons of batches whose lines were erased are no longer found at most, because what found them
            could not all be read.
        old: where the old file is.
    """

    records: int
    mended: int
    lost: int
    old: Path


def rebuild_index(location: str, *, progress: Progress = lambda done, total: None) -> Rebuilt:
    """Writes a ledger anew, so that everything that finds a record says what its leaf says.

    Args:
        location: the path of a SQLite database, or `sqlite:///` and the path. Nothing else may be using it.
        progress: called with the number of records written and of all.

    Raises:
        RebuildRefused: it is in use, there is no room, or its records themselves are damaged.
        OSError: there is no such file, or it cannot be replaced.
    """
    path = Path(location.removeprefix(_PREFIX))
    if "://" in str(path):
        raise RebuildRefused("give the path of a SQLite ledger")
    if not path.is_file():
        raise FileNotFoundError(f"there is no ledger at {path}")
    new, old = Path(f"{path}{_NEW}"), Path(f"{path}{OLD}")
    if old.exists():
        raise RebuildRefused(f"{old} is there already: look at it, move it away, and begin again")
    _require_room(path)
    new.unlink(missing_ok=True)
    try:
        with closing(_seize(path)) as connection:
            found = _Rebuilding(connection, new, progress).run()
            _settle(path, new)
            # Both at once are in place at no time; the first step keeps the old file whatever happens next.
            os.link(path, old)
            os.replace(new, path)
            _sync(path.parent)
    except sqlite3.DatabaseError as error:
        raise RebuildRefused(
            f"it cannot be read, and that is no matter of its indexes ({error}). Restore a backup that the pinned "
            "checkpoint agrees with"
        ) from error
    finally:
        new.unlink(missing_ok=True)
    return Rebuilt(found.size, found.mended, found.lost, old)


def _require_room(path: Path) -> None:
    needed, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    if free < needed:
        raise RebuildRefused(f"it needs {needed} bytes beside the ledger, and there are {free}")


def _seize(path: Path) -> sqlite3.Connection:
    """A connection that holds the whole file, its write-ahead log settled, until it is closed."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0, isolation_level=None
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode == "wal":
            raise RebuildRefused("something else uses it: stop every gateway and the audit service first")
        connection.execute("BEGIN EXCLUSIVE")
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        raise RebuildRefused(
            "something else uses it: stop every gateway and the audit service first"
        ) from error
    except BaseException:
        connection.close()
        raise


def _settle(path: Path, new: Path) -> None:
    shutil.copymode(path, new)
    stat = path.stat()
    with suppress(PermissionError):
        os.chown(new, stat.st_uid, stat.st_gid)
    _sync(new)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Rebuilding:
    """The writing of one new file.

    Args:
        old: the old database, which is only read.
        new: the path of the new one.
        progress: as for `rebuild_index`.
    """

    def __init__(self, old: sqlite3.Connection, new: Path, progress: Progress) -> None:
        self._old = old
        self._path = new
        self._progress = progress
        self.size = 0
        self.mended = 0
        self.lost = 0

    def run(self) -> "_Rebuilding":
        """Write it."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as new:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536"):
                new.execute(f"PRAGMA {pragma}")
            new.execute("BEGIN")
            names = self._tables(new)
            for name in (each for each in names if each not in DERIVED):
                self._copy(new, name)
            self._records(new)
            self._subjects(new)
            self._indexes(new)
            new.execute("COMMIT")
        self._complete()
        return self

    def _tables(self, new: sqlite3.Connection) -> list[str]:
        """Makes the tables; those that find records as they should be, the others as they are."""
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        found = dict(self._old.execute(query).fetchall())
        dialect = SQLiteDialect()
        for name in DERIVED:
            found[name] = str(sa.schema.CreateTable(METADATA.tables[name]).compile(dialect=dialect))
        for sql in found.values():
            new.execute(sql)
        return list(found)

    def _copy(self, new: sqlite3.Connection, name: str) -> None:
        # A condition keeps SQLite from choosing an index to read the table by.
        rows = self._old.execute(f'SELECT * FROM "{name}" NOT INDEXED WHERE true')
        marks = ", ".join("?" * len(rows.description))
        new.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)

    def _records(self, new: sqlite3.Connection) -> None:
        head = _head(new)
        edge = Edge.empty()
        names = ("idx", "leaf", "leaf_hash", *INDEX_COLUMNS)
        query = f"SELECT {', '.join(names)} FROM records NOT INDEXED ORDER BY idx"
        insert = f"INSERT INTO records ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        for rows in _in_parts(self._old.execute(query), TILE_WIDTH):
            made = [_row(index, row) for index, row in enumerate(rows, self.size)]
            self._require_signed(new, made)
            self._mend(rows, made)
            new.executemany(insert, [row for row, _ in made])
            reasons = [(row[0], reason) for row, said in made for reason in said]
            new.executemany("INSERT INTO record_reasons (idx, reason) VALUES (?, ?)", reasons)
            edge = edge.append([row[2] for row, _ in made]).edge
            self.size += len(rows)
            if self.size % _AT_ONCE == 0:
                self._progress(self.size, head[0])
        if (self.size, edge.root) != head:
            raise RebuildRefused(
                f"its {self.size} records are not the {head[0]} that its newest checkpoint vouches for. {_RESTORE}"
            )
        self._progress(self.size, self.size)

    def _require_signed(
        self, new: sqlite3.Connection, made: Sequence[tuple[tuple[Any, ...], tuple[str, ...]]]
    ) -> None:
        query = "SELECT data FROM tiles WHERE level = 0 AND idx = ?"
        tile = new.execute(query, (self.size // TILE_WIDTH,)).fetchone()
        for place, (row, _) in enumerate(made):
            if tile is None or tile[0][place * HASH_SIZE : (place + 1) * HASH_SIZE] != row[2]:
                raise RebuildRefused(f"record {row[0]} is not what the tree vouches for. {_RESTORE}")

    def _mend(
        self, rows: Sequence[tuple[Any, ...]], made: Sequence[tuple[tuple[Any, ...], tuple[str, ...]]]
    ) -> None:
        self.mended += sum(tuple(old) != new for old, (new, _) in zip(rows, made, strict=True))

    def _subjects(self, new: sqlite3.Connection) -> None:
        """The persons of batches, from the lines that are left; of erased lines, from what found them before."""
        insert = "INSERT OR IGNORE INTO record_subjects (token, idx) VALUES (?, ?)"
        counts: dict[int, int] = {}
        for index, lines in new.execute("SELECT idx, lines FROM batch_lines"):
            read = _lines(index, lines)
            counts[index] = counts.get(index, 0) + len(read)
            new.executemany(insert, [(token, index) for token in {line.token for line in read} - {""}])
        short = dict(self._batches(new, counts))
        if not short:
            return
        problems: list[sqlite3.DatabaseError] = []
        new.executemany(insert, self._found_before(short, problems))
        if problems:
            left = dict(new.execute("SELECT idx, count(*) FROM record_subjects GROUP BY idx"))
            self.lost = sum(max(0, persons - left.get(index, 0)) for index, persons in short.items())

    def _found_before(
        self, short: Mapping[int, int], problems: list[sqlite3.DatabaseError]
    ) -> Iterator[tuple[str, int]]:
        """The persons by which these batches were found, as far as they can be read."""
        try:
            for token, index in self._old.execute("SELECT token, idx FROM record_subjects"):
                if index in short:
                    yield token, index
        except sqlite3.DatabaseError as error:
            problems.append(error)

    def _batches(self, new: sqlite3.Connection, counts: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """The batches of which lines are missing, and how many subjects each has."""
        query = "SELECT idx, leaf FROM records WHERE mode = 'BATCH'"
        for index, leaf in new.execute(query):
            members = json.loads(leaf)
            if members.get("subjects_root") and counts.get(index, 0) < members.get("subject_count", 0):
                yield index, members["subject_count"]

    def _indexes(self, new: sqlite3.Connection) -> None:
        query = "SELECT tbl_name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL"
        for table, sql in self._old.execute(query):
            if table not in DERIVED:
                new.execute(sql)

    def _complete(self) -> None:
        engine = sa.create_engine(f"{_PREFIX}{self._path}")
        try:
            with engine.begin() as connection:
                create_missing(connection, METADATA)
                (result,) = connection.exec_driver_sql("PRAGMA integrity_check(1)").one()
        except sa.exc.IntegrityError as error:
            raise RebuildRefused(
                "two of its records decide about one exchange, or end one stream. Run `isthmus audit verify` on a copy"
            ) from error
        finally:
            engine.dispose()
        if result != "ok":
            raise RebuildRefused(f"the new file is not sound ({result}); the disk may be failing")


_RESTORE: Final = (
    "No index can mend that. Run `isthmus audit verify` on a copy, and restore a backup that the pinned checkpoint "
    "agrees with"
)


def _row(index: int, row: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """What a row of `records` should say, and the reasons of its record."""
    leaf = row[1]
    try:
        if row[0] != index or not isinstance(leaf, bytes):
            raise RecordError("it is missing")
        record = AccessRecord.parse(leaf)
        values = index_values(record)
    except (RecordError, KeyError) as error:
        raise RebuildRefused(f"record {index} cannot be read. {_RESTORE}") from error
    return (index, leaf, hash_leaf(leaf), *values), tuple(dict.fromkeys(record.reasons))


def _lines(index: int, lines: object) -> list[Line]:
    """The lines of a part of a batch that are left."""
    try:
        if not isinstance(lines, bytes):
            raise LineError("it is no line")
        return [read_line(text) for text in split_lines(lines) if text]
    except LineError as error:
        raise RebuildRefused(f"a line of the batch of record {index} cannot be read. {_RESTORE}") from error


def _head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """What the newest checkpoint vouches for: a size and a root."""
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    row = connection.execute("SELECT size, root, note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    try:
        if row is None:
            raise TlogError("there is none")
        signed = open_checkpoint(row[2], VerifierKey.parse(meta.get("log_key", ""))).checkpoint
    except (TlogError, ValueError) as error:
        raise RebuildRefused(f"its newest checkpoint cannot be used: {error}. {_RESTORE}") from error
    if (signed.size, signed.root) != (row[0], row[1]):
        raise RebuildRefused(f"its newest checkpoint does not say what its row says. {_RESTORE}")
    return signed.size, signed.root


def _in_parts(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rows = iter(rows)
    while part := list(islice(rows, size)):
        yield part
