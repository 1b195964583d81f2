"""The file in which the columns of segments are kept, beside the ledger and never part of it.

The gateway does not know it: nothing that happens to this file can stop the log or cost an exchange anything. It can be
deleted at any time; the audit service makes it anew. Nothing in it is believed but what this log's key sealed, for the
very records that the tree holds now (`audit.search.seal`): whoever can write the file and nothing else can slow searches
down, and neither hide nor invent a record.
"""

import os
import queue
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from audit.search.columns import Column, ColumnDamaged
from audit.search.seal import Seal
from audit.search.segments import SEGMENT
from audit.tlog.keys import SignerKey
from isthmus.log import logger

VERSION: Final = 2
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS segments (segment INTEGER PRIMARY KEY, node BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS columns (segment INTEGER, name TEXT, data BLOB NOT NULL, PRIMARY KEY (segment, name))",
)
_PRAGMAS: Final = ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16384", "busy_timeout = 2000")
_SIDES: Final = ("", "-wal", "-shm", "-journal")


def beside(ledger: str) -> Path:
    """Where the file of a ledger is, unless the configuration says otherwise: the database's path and `.search`."""
    return Path(f"{ledger.removeprefix('sqlite:///')}.search")


def delete(path: Path) -> None:
    """Delete such a file, and what SQLite keeps beside it. Raises OSError."""
    for side in _SIDES:
        Path(f"{path}{side}").unlink(missing_ok=True)


class SegmentStore:
    """The columns of segments; safe to use from many threads, and by several processes.

    What cannot be read is deleted and made anew, as it would be if it had never been there.

    Args:
        path: the file; it is made when it is missing.
        log_key: the log's key, of which the key of the seals is derived.
    """

    def __init__(self, path: Path, log_key: SignerKey) -> None:
        self._path = path
        self._seal = Seal(log_key)
        self._idle: queue.LifoQueue[tuple[int, sqlite3.Connection]] = queue.LifoQueue()
        self._generation = 0
        self._repair = threading.Lock()
        self._closed = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def nodes(self) -> dict[int, bytes]:
        """The segments that the file says it keeps, and of which records: the node of the tree over each.

        Empty when unreadable. Only the seal of a column shows whether it is true.
        """
        try:
            with self._connection() as connection:
                rows = connection.execute("SELECT segment, node FROM segments").fetchall()
            return {segment: node for segment, node in rows if isinstance(segment, int)}
        except (sqlite3.Error, OSError) as error:
            self._discard(error)
            return {}

    def put(self, segment: int, node: bytes, columns: Mapping[str, Column]) -> None:
        """Keep the columns of a segment.

        Args:
            segment: its number.
            node: the node of the log's tree over its records, which the caller held against them.
            columns: by name.

        Raises:
            sqlite3.Error, OSError: they cannot be kept.
        """
        rows = [
            (segment, name, self._seal.seal((segment, name, node), column.encode()))
            for name, column in columns.items()
        ]
        with self._connection() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO columns VALUES (?, ?, ?)", rows)
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (segment, node))

    def column(self, segment: int, name: str, node: bytes) -> Column:
        """A column of a segment.

        Args:
            segment: its number.
            name: the column's.
            node: the node of the log's tree over the segment, from the log itself.

        Raises:
            ColumnDamaged: it is not there, or not sealed for these records; the segment is forgotten.
        """
        try:
            with self._connection() as connection:
                query = "SELECT data FROM columns WHERE segment = ? AND name = ?"
                row = connection.execute(query, (segment, name)).fetchone()
            if row is None:
                raise ColumnDamaged("it is missing")
            found = Column.decode(self._seal.open((segment, name, node), row[0]))
            if found.size != SEGMENT:
                raise ColumnDamaged("it is of another length")
            return found
        except (sqlite3.Error, OSError) as error:
            self._discard(error)
            raise ColumnDamaged("the file cannot be read") from error
        except ColumnDamaged as error:
            logger("search").warning("index damaged", segment=segment, column=name, problem=str(error))
            self.forget(segment)
            raise

    def forget(self, segment: int) -> None:
        """Let go of a segment; where it is still wanted it is made anew."""
        try:
            with self._connection() as connection, connection:
                for table in ("segments", "columns"):
                    connection.execute(f"DELETE FROM {table} WHERE segment = ?", (segment,))
        except (sqlite3.Error, OSError) as error:
            self._discard(error)

    def delete(self) -> None:
        """Delete the file."""
        self._generation += 1
        self._let_go()
        delete(self._path)

    def close(self) -> None:
        """Let go of the file."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait()[1].close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            generation, connection = self._idle.get_nowait()
        except queue.Empty:
            generation, connection = self._generation, _open(self._path)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed or generation != self._generation:
            connection.close()
        else:
            self._idle.put((generation, connection))

    def _discard(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        damaged = code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        logger("search").warning(
            "index unreadable", path=str(self._path), problem=str(error), deleted=damaged
        )
        if damaged:
            with self._repair, suppress(OSError):
                self.delete()


def _open(path: Path) -> sqlite3.Connection:
    made = not path.exists()
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level="DEFERRED")
    try:
        if made:
            # It says what the records say, so it is for the same eyes only.
            os.chmod(path, 0o600)
            connection.execute("PRAGMA page_size = 16384")
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    with closing(connection.cursor()) as cursor, connection:
        for table in ("segments", "columns"):
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES:
            cursor.execute(statement)
        cursor.execute(f"PRAGMA user_version = {VERSION}")
