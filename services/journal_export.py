"""The journal as a file for an auditor, who compares it with the platform's records (`isthmus audit reconcile`).

One JSON document a line, UTF-8. First a head, `{"isthmus_journal": 1, "department", "since", "until"}`; then the lines in
order of their exchanges; at the end `{"lines": N}`, so that a file that was cut off is not taken for a whole one. A line
says what the node served, and about whom only as `person`, the SHA-256 of the subject's token: not even the token that
the log shows leaves the department.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from isthmus.canonical import sha256_hex
from isthmus.ids import earliest_exchange
from services.journal import ENDINGS, LINES

VERSION: Final = 1
_AT_ONCE: Final = 500
_COPIED: Final = (
    "exchange",
    "served_at",
    "consumer",
    "system",
    "contract",
    "terms_digest",
    "dataset",
    "purpose",
    "mode",
    "served",
    "refused",
    "row_count",
)
_RECEIPT: Final = "receipt_digest"
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def export_journal(
    connection: sa.Connection,
    department: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[bytes]:
    """Yields the documents of the file, each without its line break; reads as they are taken.

    Args:
        connection: to the journal's database; nothing is written.
        department: `departments/{department}`.
        since, until: only exchanges that began in this time (aware), as their names say; the end is left out.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it cannot be read, or is no journal.
    """
    times = {"since": since.isoformat() if since else "", "until": until.isoformat() if until else ""}
    yield _ENCODER.encode({"isthmus_journal": VERSION, "department": department, **times}).encode()
    count = 0
    for row in connection.execute(_query(connection, since, until)).mappings():
        yield _ENCODER.encode(_document(row)).encode()
        count += 1
    yield _ENCODER.encode({"lines": count}).encode()


def _query(connection: sa.Connection, since: datetime | None, until: datetime | None) -> sa.Select[Any]:
    ending = ENDINGS.c
    columns = [column for column in LINES.c if column.name != _RECEIPT]
    query = (
        sa.select(
            *columns,
            _receipt_of(connection, LINES).label("receipt"),
            ending.how,
            ending.row_count.label("end_rows"),
            ending.byte_count.label("end_bytes"),
            _receipt_of(connection, ENDINGS).label("end_receipt"),
        )
        .outerjoin(ENDINGS, ending.exchange == LINES.c.exchange)
        .order_by(LINES.c.exchange)
        .execution_options(yield_per=_AT_ONCE)
    )
    if since is not None:
        query = query.where(LINES.c.exchange >= earliest_exchange(since))
    if until is not None:
        query = query.where(LINES.c.exchange < earliest_exchange(until))
    return query


def _receipt_of(connection: sa.Connection, table: sa.Table) -> sa.ColumnElement[str]:
    """The digest of the receipt; a copy of an older version's journal has no such column, and gets none here."""
    names = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    return table.c[_RECEIPT] if _RECEIPT in names else sa.literal("")


def _document(row: Any) -> dict[str, Any]:
    tokens = json.loads(row["subject_tokens"])
    document = {name: row[name] for name in _COPIED}
    document |= {
        "fields": json.loads(row["fields"]),
        "person": sha256_hex(tokens[0].encode()) if len(tokens) == 1 else "",
        "refusals": json.loads(row["refusals"]),
        "receipt": row["receipt"],
    }
    if row["how"] is not None:
        document["ending"] = {
            "how": row["how"],
            "row_count": row["end_rows"],
            "byte_count": row["end_bytes"],
            "receipt": row["end_receipt"] or "",
        }
    return document
