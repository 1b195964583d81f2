"""The node's own journal: one line for each exchange it answered, durable before the answer leaves.

The department keeps it, so that it can compare the platform's records with its own. A line holds subject tokens
and never an identifier. Each exchange has one line at most, which is also what makes a replayed grant worthless,
across threads, processes and restarts.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

_BUSY_SECONDS: Final = 5
_PAGE: Final = 500

METADATA: Final = sa.MetaData()
_LINES: Final = sa.Table(
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
        except sa.exc.DBAPIError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {type(error).__name__}") from None

    def write(self, lines: Sequence[Line]) -> None:
        """Makes all lines durable, or none.

        Raises:
            Replayed: an exchange has a line already.
            JournalUnavailable: the database does not take them.
        """
        if not lines:
            return
        # SQLite has one writer anyway; waiting here is fairer than its busy handler.
        try:
            with self._lock, self._engine.begin() as connection:
                connection.execute(sa.insert(_LINES), [_to_row(line) for line in lines])
        except sa.exc.IntegrityError:
            raise Replayed from None
        except sa.exc.SQLAlchemyError as error:
            raise JournalUnavailable(f"the journal cannot be written: {type(error).__name__}") from None

    def entries(self, *, after: int = 0) -> Iterator[Entry]:
        """Every line after a position, oldest first; reads page by page, so it may run while others write."""
        while True:
            query = sa.select(_LINES).where(_LINES.c.position > after)
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(query.order_by(_LINES.c.position).limit(_PAGE)).mappings().all()
            except sa.exc.SQLAlchemyError as error:
                raise JournalUnavailable(f"the journal cannot be read: {type(error).__name__}") from None
            if not rows:
                return
            for row in rows:
                after = row["position"]
                yield Entry(after, _from_row(row))

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()


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
