"""The tables of the ledger. The leaf is the record; every other column of a record only finds it again."""

from typing import Any, Final

import sqlalchemy as sa

from audit.record import LOGGED, AccessRecord, milliseconds

METADATA: Final = sa.MetaData()

records: Final = sa.Table(
    "records",
    METADATA,
    sa.Column(
        "idx", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
    sa.Column("exchange", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("consumer", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("legal_basis", sa.Text, nullable=False),
    sa.Column("case_reference", sa.Text, nullable=False),
    sa.Column("subject_token", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
)
# Searches page by position, so each index ends in it. A dataset is found through its provider, and what has few
# values by reading backwards: every index is paid for by every exchange.
for _name in ("at_ms", "consumer", "provider", "contract", "subject_token"):
    sa.Index(f"records_{_name}", records.c[_name], records.c.idx)
is_decision: Final = records.c.kind == sa.literal_column("'DECISION'")
"""Spelled as the two partial indexes by exchange are, so that they serve a query that says it."""
sa.Index(
    "records_one_decision",
    records.c.exchange,
    unique=True,
    sqlite_where=is_decision,
    postgresql_where=is_decision,
)
for _name in ("exchange", "resource"):
    sa.Index(
        f"records_{_name}",
        records.c[_name],
        records.c.idx,
        sqlite_where=~is_decision,
        postgresql_where=~is_decision,
    )

record_reasons: Final = sa.Table(
    "record_reasons",
    METADATA,
    sa.Column("idx", sa.ForeignKey("records.idx"), primary_key=True),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Index("record_reasons_reason", "reason", "idx"),
    sqlite_with_rowid=False,
)

tiles: Final = sa.Table(
    "tiles",
    METADATA,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

checkpoints: Final = sa.Table(
    "checkpoints",
    METADATA,
    sa.Column(
        "size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

# Nonces and free text. A row may be deleted at any time: the leaf holds only a commitment to it.
details: Final = sa.Table(
    "details",
    METADATA,
    sa.Column("idx", sa.ForeignKey("records.idx"), primary_key=True, autoincrement=False),
    sa.Column("json", sa.LargeBinary, nullable=False),
)

meta: Final = sa.Table(
    "meta",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

INDEX_COLUMNS: Final = tuple(column.name for column in records.c)[3:]
"""The columns of `records` that `index_values` fills, in order."""


def index_values(record: AccessRecord, at_ms: int | None = None) -> tuple[Any, ...]:
    """The values by which a record can be found, in the order of `INDEX_COLUMNS`.

    Args:
        record: the record.
        at_ms: when it was appended, milliseconds since 1970; from the record's own times unless given.
    """
    contract, _, version = record.contract.partition("@")
    return (
        record.exchange,
        record.kind.value,
        milliseconds(record.at[LOGGED]) if at_ms is None else at_ms,
        record.caller,
        record.consumer,
        record.provider,
        record.dataset,
        contract,
        int(version or 0),
        record.purpose,
        record.legal_basis,
        record.case_reference,
        record.subject_token,
        record.mode,
        record.decision,
        record.action,
        record.resource,
    )
