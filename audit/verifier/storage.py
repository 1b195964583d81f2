"""The database file itself: its pages, and that every index finds every row."""

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

import sqlalchemy as sa

from audit.ledger.offline import open_offline
from audit.ledger.schema import METADATA
from audit.verifier.damage import Damaged, DamageKind


class StorageCheck:
    """Runs beside the verification of the records, where there is somebody to run it; it may be left at any time.

    Args:
        location: of the ledger.
        beside: whether it begins at once, in a thread; else when it is asked for.
    """

    def __init__(self, location: str, *, beside: bool) -> None:
        self._location = location
        self._beside = beside
        self._driver: sqlite3.Connection | None = None
        self._result: Future[str] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self._beside:
            pool = self._open.enter_context(ThreadPoolExecutor(1))
            self._open.callback(self._stop)
            self._result = pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def require_sound(self) -> None:
        """Return only if it found nothing. Raises Damaged, DBAPIError."""
        result = self._result.result() if self._result is not None else self._run()
        if result != "ok":
            raise Damaged(DamageKind.STORAGE, "the database", result)

    def _run(self) -> str:
        with open_offline(self._location) as connection:
            driver = connection.connection.driver_connection
            self._driver = driver if isinstance(driver, sqlite3.Connection) else None
            try:
                (result,) = connection.exec_driver_sql("PRAGMA integrity_check(1)").one()
                return str(result)
            finally:
                self._driver = None

    def _stop(self) -> None:
        if (driver := self._driver) is not None:
            driver.interrupt()


def require_indexes(connection: sa.Connection) -> None:
    """Return only if every index is there by which records are found. Raises Damaged."""
    present = {row.name for row in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
    # A table that there is not yet was brought by a newer version than the one that wrote the ledger.
    for table in (table for table in METADATA.sorted_tables if table.name in present):
        for index in table.indexes:
            if index.name not in present:
                words = "it is missing, so searches are not sound"
                raise Damaged(DamageKind.STORAGE, f"index {index.name}", words)
