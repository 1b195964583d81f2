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
is_stream_end: Final = records.c.kind == sa.literal_column("'STREAM_END'")
"""Spelled as the partial index is that allows each exchange one."""
sa.Index(
    "records_one_stream_end",
    records.c.exchange,
    unique=True,
    sqlite_where=is_stream_end,
    postgresql_where=is_stream_end,
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

record_subjects: Final = sa.Table(
    "record_subjects",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("idx", sa.ForeignKey("records.idx"), primary_key=True),
    sqlite_with_rowid=False,
)
"""The persons of a batch, by token: a record of one person says so in its own column."""

batch_lines: Final = sa.Table(
    "batch_lines",
    METADATA,
    sa.Column("idx", sa.ForeignKey("records.idx"), primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    sa.Column("lines", sa.LargeBinary, nullable=False),
)
"""What a batch decided about each subject (`audit.batch.lines`), 256 lines a row. A line may be erased at any time; the
hashes stay, and so does what they prove of the other lines."""

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

cosignatures: Final = sa.Table(
    "cosignatures",
    METADATA,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("witness", sa.Text, primary_key=True),
    sa.Column("line", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("cosignatures_witness", "witness", "size"),
    sqlite_with_rowid=False,
)
"""What witnesses signed about checkpoints (`audit.witness.stored`): whole signature lines, ending in a newline."""

timestamps: Final = sa.Table(
    "timestamps",
    METADATA,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("authority", sa.Text, primary_key=True),
    sa.Column("response", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""RFC 3161 timestamps of checkpoints (`audit.timestamps.stored`): the authority's whole response, DER."""

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


def create_missing(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Creates what there is not yet, of tables that an older version made too: `create_all` alone adds no index to those."""
    metadata.create_all(connection)
    for index in (index for table in metadata.sorted_tables for index in table.indexes):
        index.create(connection, checkfirst=True)


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
