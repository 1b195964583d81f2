"""A ledger opened for looking only: no process of its own, no key, and nothing about the file changes."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

_PREFIX = "sqlite:///"


@contextmanager
def open_offline(location: str) -> Iterator[sa.Connection]:
    """One snapshot of a ledger, read-only; other processes may go on appending.

    Args:
        location: the path of a SQLite database, or `sqlite:///` and the path.

    Raises:
        OSError: there is no such file.
        ValueError: the location is a database of another kind.
    """
    path = Path(location.removeprefix(_PREFIX))
    if "://" in str(path) or "://" in location.removeprefix(_PREFIX):
        raise ValueError("this version verifies SQLite ledgers: give the path of the database file")
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    engine = sa.create_engine(_read_only(path), poolclass=NullPool)
    sa.event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect() as connection, connection.begin():
        yield connection


def _read_only(path: Path) -> str:
    # Without a write-ahead log nothing can change under us, and SQLite need not be able to write beside the file.
    log = path.with_name(f"{path.name}-wal")
    settled = not log.exists() and not os.access(path.parent, os.W_OK)
    return f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true{'&immutable=1' if settled else ''}"
