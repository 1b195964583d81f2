"""What a witness remembers: of each log the newest checkpoint it vouched for, and proofs that a log split.

One SQLite file. A transaction compares what is remembered with what is asked and replaces it in one step, and is on the
disk before the witness answers, so neither threads, nor processes that share the file, nor a crash can make it vouch for
two histories.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.tlog.merkle import EMPTY_ROOT

_WAIT_S: Final = 5.0
_MAX_SPLITS: Final = 100
_TABLES: Final = """
CREATE TABLE witness (key TEXT NOT NULL);
CREATE TABLE latest (origin TEXT PRIMARY KEY, size TEXT NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL);
CREATE TABLE splits (origin TEXT NOT NULL, size TEXT NOT NULL, root BLOB NOT NULL, ours BLOB NOT NULL,
                     theirs BLOB NOT NULL, PRIMARY KEY (origin, size, root));
"""


class StoreError(ValueError):
    """A witness's memory cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest checkpoint of a log that was cosigned: its size, its root and the note."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Split:
    """Two checkpoints of one size that a log signed and that differ: nobody can explain them away."""

    origin: str
    size: int
    ours: bytes
    theirs: bytes


class Turn:
    """A transaction under way: nobody else reads or writes what it does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def latest(self, origin: str) -> Latest:
        """What was cosigned last; size 0 if nothing was."""
        query = "SELECT size, root, note FROM latest WHERE origin = ?"
        row = self._connection.execute(query, (origin,)).fetchone()
        return Latest() if row is None else Latest(int(row[0]), row[1], row[2])

    def put(self, origin: str, latest: Latest) -> None:
        """Remember this checkpoint instead."""
        # Sizes reach 2^63, one more than SQLite's integers hold.
        values = (origin, str(latest.size), latest.root, latest.note)
        self._connection.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)", values)

    def put_split(self, split: Split, root: bytes) -> None:
        """Keep the proof that a log split, once for each root; a hundred of each log."""
        count = "SELECT count(*) FROM splits WHERE origin = ?"
        if self._connection.execute(count, (split.origin,)).fetchone()[0] < _MAX_SPLITS:
            values = (split.origin, str(split.size), root, split.ours, split.theirs)
            self._connection.execute("INSERT OR IGNORE INTO splits VALUES (?, ?, ?, ?, ?)", values)


class Store:
    """The memory of one witness. Safe to use from many threads and processes.

    Args:
        path: the file; see `create`.
        key: the witness's vkey.

    Raises:
        StoreError: there is no such file, it is no memory of a witness, or another's.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        if not path.is_file():
            raise StoreError(
                f"there is no memory of this witness at {path}. For a key that never cosigned anything, begin one with "
                "`isthmus witness init`. A key that did must not go on without it: restore the newest copy only if "
                "nothing was cosigned since, else make a new key and tell the logs its vkey"
            )
        try:
            with self.turn() as turn:
                found = turn._connection.execute("SELECT key FROM witness").fetchone()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} is not the memory of a witness, or is damaged: {error}") from error
        if found is None or found[0] != key:
            raise StoreError(f"{path} is the memory of another key; each key has its own")

    @classmethod
    def create(cls, path: Path, key: str) -> "Store":
        """Begin a memory, for a key that never cosigned anything.

        Raises:
            StoreError: there is a file.
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under a name of its own until it is whole: what a killed run leaves behind is no memory, and in nobody's way.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            with _opened(temporary) as connection:
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
                connection.execute("INSERT INTO witness VALUES (?)", (key,))
                connection.execute("COMMIT")
            # Unlike a rename, a link replaces nothing.
            os.link(temporary, path)
            _sync(path.parent)
        except FileExistsError as error:
            raise StoreError(f"{path} is there already; a memory is never replaced") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} cannot be written: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return cls(path, key)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """A transaction that is durable when this ends, and undone when it raises.

        Raises:
            sqlite3.DatabaseError: locked for five seconds, full, unwritable or damaged.
        """
        # No connection outlives an error: after a failed fsync nothing that was read before may be believed.
        with _opened(self._path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Turn(connection)
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def splits(self) -> list[Split]:
        """The proofs that logs split, oldest first."""
        with self.turn() as turn:
            query = "SELECT origin, size, ours, theirs FROM splits ORDER BY rowid"
            return [
                Split(row[0], int(row[1]), row[2], row[3])
                for row in turn._connection.execute(query).fetchall()
            ]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # A file that is gone must not be begun again in silence: what it remembered would be cosigned twice.
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        # EXTRA also makes the removal of the journal durable: without it a power cut could undo a commit.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        yield connection
    finally:
        connection.close()
