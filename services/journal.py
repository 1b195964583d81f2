"""The node's own journal: one line for each exchange it answered, durable before the answer leaves.

A stream has a line before its first byte leaves, and an ending.

The department keeps it, so that it can compare the platform's records with its own. A line holds subject tokens
and never an identifier. Each exchange has one line at most, which is also what makes a replayed grant worthless,
across threads, processes and restarts.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

_BUSY_SECONDS: Final = 5
_PAGE: Final = 500
_RECEIPT: Final = "receipt_digest"

METADATA: Final = sa.MetaData()
LINES: Final = sa.Table(
    "node_journal",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("exchange", sa.String(64), nullable=False, unique=True),
    sa.Column("grant_id", sa.String(64), nullable=False, index=True),
    sa.Column("served_at", sa.String(32), nullable=False, index=True),
    sa.Column("gateway", sa.String(256), nullable=False),
    sa.Column("consumer", sa.String(128), nullable=False),
    sa.Column("system", sa.String(192), nullable=False),
    sa.Column("contract", sa.String(128), nullable=False),
    sa.Column("terms_digest", sa.String(64), nullable=False),
    sa.Column("dataset", sa.String(192), nullable=False),
    sa.Column("purpose", sa.String(256), nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("subject_tokens", sa.Text, nullable=False),
    sa.Column("served", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("refusals", sa.Text, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("receipt_digest", sa.String(64), nullable=False, server_default=""),
)

ENDINGS: Final = sa.Table(
    "node_journal_ending",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("exchange", sa.String(64), nullable=False, unique=True),
    sa.Column("ended_at", sa.String(32), nullable=False),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("receipt_digest", sa.String(64), nullable=False, server_default=""),
)


class Replayed(Exception):
    """An exchange of the batch has been answered before; nothing of the batch was written."""


class JournalUnavailable(Exception):
    """The journal cannot be written or read now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the node did for one exchange.

    Args:
        served_at: RFC 3339, UTC.
        fields: name and transform of each field.
        served, refused: how many subjects were answered, and how many were not.
        refusals: the reasons, each once.
        digest: the SHA-256 over the digests in the receipt, in hex.
        receipt_digest: the SHA-256 of the signed receipt, in hex, as the platform records it; empty for a stream,
            whose receipt comes at its end, and in lines of a version that did not keep it.
    """

    exchange: str
    grant_id: str
    served_at: str
    gateway: str
    consumer: str
    system: str
    contract: str
    terms_digest: str
    dataset: str
    purpose: str
    mode: str
    fields: tuple[tuple[str, str], ...]
    subject_tokens: tuple[str, ...]
    served: int
    refused: int
    refusals: tuple[str, ...]
    row_count: int
    digest: str
    receipt_digest: str = ""


class How(StrEnum):
    """How a stream ended: sent to its end, given up by its caller, or broken off by a fault or a refusal."""

    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a stream ended, of which the line was written when it began.

    A stream with a line and no ending was cut off with the node itself.

    Args:
        ended_at: RFC 3339, UTC.
        row_count, byte_count: what was given to the network; with CANCELLED, less may have arrived.
        digest: the SHA-256 of these bytes, in hex; with COMPLETE, the one that the receipt states.
        receipt_digest: the SHA-256 of the signed receipt, in hex; only with COMPLETE there is one.
    """

    exchange: str
    ended_at: str
    how: How
    row_count: int
    byte_count: int
    digest: str
    receipt_digest: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line and its position, counted upwards."""

    position: int
    line: Line


class Journal:
    """The journal; safe to use from many threads, and by several nodes of a department at once.

    Args:
        url: an SQLAlchemy URL; the tables are made when they are missing.

    Raises:
        JournalUnavailable: the database cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        try:
            METADATA.create_all(self._engine)
            _add_missing(self._engine)
        except sa.exc.DBAPIError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {type(error).__name__}") from None

    def write(self, lines: Sequence[Line]) -> None:
        """Makes all lines durable, or none.

        Raises:
            Replayed: an exchange has a line already.
            JournalUnavailable: the database does not take them.
        """
        if lines:
            self._insert(LINES, [_to_row(line) for line in lines])

    def end(self, ending: Ending) -> None:
        """Makes the ending of a stream durable.

        Raises:
            Replayed: it has an ending already.
            JournalUnavailable: the database does not take it.
        """
        row = {name: getattr(ending, name) for name in Ending.__dataclass_fields__}
        self._insert(ENDINGS, [row | {"how": ending.how.value}])

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        # SQLite has one writer anyway; waiting here is fairer than its busy handler.
        try:
            with self._lock, self._engine.begin() as connection:
                connection.execute(sa.insert(table), rows)
        except sa.exc.IntegrityError:
            raise Replayed from None
        except sa.exc.SQLAlchemyError as error:
            raise JournalUnavailable(f"the journal cannot be written: {type(error).__name__}") from None

    def entries(self, *, after: int = 0) -> Iterator[Entry]:
        """Every line after a position, oldest first; reads page by page, so it may run while others write."""
        for row in self._pages(LINES, after):
            yield Entry(row["position"], _from_row(row))

    def endings(self) -> Iterator[Ending]:
        """Every ending, oldest first; reads as `entries` does."""
        for row in self._pages(ENDINGS, 0):
            members = {name: row[name] for name in Ending.__dataclass_fields__}
            yield Ending(**(members | {"how": How(row["how"])}))

    def _pages(self, table: sa.Table, after: int) -> Iterator[Any]:
        while True:
            query = sa.select(table).where(table.c.position > after)
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(query.order_by(table.c.position).limit(_PAGE)).mappings().all()
            except sa.exc.SQLAlchemyError as error:
                raise JournalUnavailable(f"the journal cannot be read: {type(error).__name__}") from None
            if not rows:
                return
            yield from rows
            after = rows[-1]["position"]

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()


def _add_missing(engine: sa.Engine) -> None:
    """Adds the columns that a journal of an older version has not; several nodes may do so at once."""
    for table in (LINES, ENDINGS):
        if _RECEIPT in _columns(engine, table):
            continue
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(
                    f"ALTER TABLE {table.name} ADD COLUMN {_RECEIPT} VARCHAR(64) NOT NULL DEFAULT ''"
                )
        except sa.exc.DBAPIError:
            if _RECEIPT not in _columns(engine, table):
                raise


def _columns(engine: sa.Engine, table: sa.Table) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns(table.name)}


def _prepare_sqlite(raw: Any, _: object) -> None:
    cursor = raw.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", f"busy_timeout = {_BUSY_SECONDS * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def _to_row(line: Line) -> dict[str, Any]:
    row = {name: getattr(line, name) for name in Line.__dataclass_fields__}
    for name in ("fields", "subject_tokens", "refusals"):
        row[name] = _ENCODER.encode(row[name])
    return row


def _from_row(row: Any) -> Line:
    members = {name: row[name] for name in Line.__dataclass_fields__}
    members["fields"] = tuple((name, transform) for name, transform in json.loads(row["fields"]))
    members["subject_tokens"] = tuple(json.loads(row["subject_tokens"]))
    members["refusals"] = tuple(json.loads(row["refusals"]))
    return Line(**members)
