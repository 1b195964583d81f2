"""Deleting so that nothing stays behind in the database's files.

SQLite leaves deleted bytes in free pages, and old pages in the write-ahead log. Inside a transaction `secure_delete`
overwrites what is deleted; afterwards the write-ahead log is brought into the database and cut off. Backups, copies and
the disk's own spare blocks are beyond the reach of any of it.
"""

import sqlite3
import time
from contextlib import closing
from typing import Final

import sqlalchemy as sa

_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.05
_SQLITE: Final = "sqlite"


def overwrite_deleted(connection: sa.Connection) -> None:
    """Have what this connection deletes from now on overwritten with zeros."""
    if connection.dialect.name == _SQLITE:
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def empty_write_ahead_log(url: str, *, patience: float = _PATIENCE_S) -> bool:
    """Bring the write-ahead log into the database and cut it off; returns whether that could be done.

    Args:
        url: of the ledger.
        patience: seconds to wait for readers that still need it.
    """
    path = sa.engine.make_url(url).database
    if path is None:
        return False
    deadline = time.monotonic() + patience
    with closing(sqlite3.connect(path, timeout=patience)) as connection:
        while True:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy or time.monotonic() > deadline:
                return not busy
            time.sleep(_PAUSE_S)
