"""Destroying erasable detail that has had its period, a chunk a transaction, with a certificate at the end.

What goes are the details (salts and free text) and the lines of batches. What stays is every leaf, and the tokens by which
records are found. Each chunk is destroyed in the same transaction as the record that says so and that carries the sums so
far: so a purge that was killed is gone on with where it ended, and its certificate counts all of it.

The digest is a chain over what was destroyed, in the order of the log: for each record its detail and then the parts of its
lines, `d = SHA-256(d || kind || index || part || SHA-256(content))` from 32 zero bytes, with the kind 0 or 1 in a byte, and
the two numbers in 8 bytes each. Whoever archived the same detail before can show by it that it is the same.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger import Ledger, Transaction
from audit.ledger.schema import batch_lines, details, records
from audit.record import AccessRecord, Kind, format_time, milliseconds
from audit.retention.actor import Actor
from audit.retention.rule import RetentionRefused, RetentionRule
from audit.retention.shred import overwrite_deleted
from audit.search.lookup import commit_texts
from isthmus.ids import new_exchange

ACTION: Final = "PurgeDetail"
"""Of the last record of a purge, to which its certificate belongs."""
PART: Final = "PurgeDetailPart"
"""Of the record of a chunk."""
RESOURCE: Final = "retention/purge"
AT_ONCE: Final = 500
_CHUNK_BYTES: Final = 4 << 20
_DETAIL, _LINES = b"\0", b"\1"
_INDEX_BYTES: Final = 8

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Purged:
    """The sums of a purge so far.

    Attributes:
        purge: its name, `exchanges/{uuid}` of its first record.
        before: only records logged before this time (RFC 3339).
        first, last: the positions of the first and last record of which something was destroyed.
        details, lines: how many details, and how many parts of lines, were destroyed.
        digest: the chain over them, hex.
    """

    purge: str
    before: str
    first: int
    last: int
    details: int
    lines: int
    digest: str

    def change(self) -> dict[str, Any]:
        """The members of a record's `change`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, record: AccessRecord) -> "Purged":
        """The sums that a record carries."""
        return cls(**{name: record.change[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one transaction came to: the sums, and the position of the last record when the purge is complete."""

    sums: Purged
    complete: int | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    before: datetime
    reason: str
    actor: Actor
    rule: RetentionRule
    at_once: int


def purge(
    ledger: Ledger,
    before: datetime,
    *,
    reason: str,
    actor: Actor,
    rule: RetentionRule,
    at_once: int = AT_ONCE,
    progress: Progress = lambda records: None,
) -> int | None:
    """Destroy the erasable detail of the records logged before a time.

    Args:
        ledger: the log, with its key.
        before: aware.
        reason: why, in words; the log holds a commitment to it.
        actor: who.
        rule: the legal minimum.
        at_once: how many records with detail one transaction reaches at most.
        progress: told after each chunk how many details and parts are destroyed so far.

    Returns:
        The position of the record that ends the purge; None when there was nothing to destroy.

    Raises:
        RetentionRefused: it would reach records younger than the minimum, another purge was begun and not ended, or the
            certificate was denied.
        LedgerUnavailable: the rest could not be destroyed; run it again.
    """
    order = _Order(before, reason, actor, rule, at_once)
    while True:
        chunk = ledger.transact(lambda tx: _step(tx, order)).value
        if chunk is None:
            return None
        if chunk.complete is not None:
            return chunk.complete
        progress(chunk.sums.details + chunk.sums.lines)


def newest_purge(connection: sa.Connection) -> tuple[int, AccessRecord] | None:
    """The newest record of a purge, of a chunk or of its end, and its position."""
    query = (
        sa.select(records.c.idx, records.c.leaf)
        .where(records.c.kind != sa.literal_column("'DECISION'"), records.c.resource == RESOURCE)
        .order_by(records.c.idx.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (row.idx, AccessRecord.parse(row.leaf))


def first_since(connection: sa.Connection, moment: datetime) -> int | None:
    """The position of the first record logged at a moment or later; times never go back in the log."""
    at_ms = records.c.at_ms
    query = sa.select(records.c.idx).where(at_ms >= milliseconds(moment))
    return connection.scalar(query.order_by(at_ms, records.c.idx).limit(1))


def _step(tx: Transaction, order: _Order) -> Chunk | None:
    order.rule.require(order.before, tx.now)
    order.actor.require_not_denied(tx.connection)
    sums = _begun(tx.connection, order)
    found = _destroy(tx.connection, sums or _fresh(tx, order), order)
    if found is not None:
        tx.append(_record(tx, PART, found, order))
        return Chunk(found)
    if sums is None:
        return None
    commitments, detail = commit_texts({"reason": order.reason})
    record = _record(tx, ACTION, sums, order)
    record = replace(record, change={**record.change, **commitments, "rule": order.rule.words})
    return Chunk(sums, tx.append(record, detail=detail))


def _begun(connection: sa.Connection, order: _Order) -> Purged | None:
    """The sums of the purge that is under way, if one is."""
    newest = newest_purge(connection)
    if newest is None or newest[1].action != PART:
        return None
    sums = Purged.of(newest[1])
    if sums.before != format_time(order.before):
        raise RetentionRefused(
            f"a purge of what was logged before {sums.before} was begun and not ended; end it first: give that date"
        )
    return sums


def _fresh(tx: Transaction, order: _Order) -> Purged:
    name = str(new_exchange(tx.now))
    return Purged(name, format_time(order.before), -1, -1, 0, 0, bytes(32).hex())


def _destroy(connection: sa.Connection, sums: Purged, order: _Order) -> Purged | None:
    end = _end(connection, order.before)
    positions = _candidates(connection, sums.last, end, order.at_once)
    if not positions:
        return None
    digest, size, gone, parts, last = bytes.fromhex(sums.digest), 0, 0, 0, sums.last
    for position in positions:
        if size > _CHUNK_BYTES:
            break
        for kind, part, content in _contents(connection, position):
            numbers = position.to_bytes(_INDEX_BYTES) + part.to_bytes(_INDEX_BYTES)
            digest = hashlib.sha256(digest + kind + numbers + hashlib.sha256(content).digest()).digest()
            size, gone, parts = size + len(content), gone + (kind == _DETAIL), parts + (kind == _LINES)
        last = position
    overwrite_deleted(connection)
    for table in (details, batch_lines):
        connection.execute(sa.delete(table).where(table.c.idx > sums.last, table.c.idx <= last))
    first = positions[0] if sums.first < 0 else sums.first
    return Purged(sums.purge, sums.before, first, last, sums.details + gone, sums.lines + parts, digest.hex())


def _end(connection: sa.Connection, before: datetime) -> int:
    found = first_since(connection, before)
    return (connection.scalar(sa.select(sa.func.max(records.c.idx))) or 0) + 1 if found is None else found


def _candidates(connection: sa.Connection, after: int, end: int, limit: int) -> list[int]:
    positions: set[int] = set()
    for table in (details, batch_lines):
        query = sa.select(table.c.idx).where(table.c.idx > after, table.c.idx < end).distinct()
        positions.update(connection.scalars(query.order_by(table.c.idx).limit(limit)))
    return sorted(positions)[:limit]


def _contents(connection: sa.Connection, position: int) -> list[tuple[bytes, int, bytes]]:
    detail = connection.scalar(sa.select(details.c.json).where(details.c.idx == position))
    found = [] if detail is None else [(_DETAIL, 0, bytes(detail))]
    parts = sa.select(batch_lines).where(batch_lines.c.idx == position).order_by(batch_lines.c.part)
    rows = connection.execute(parts).all()
    return found + [(_LINES, row.part, bytes(row.hashes) + bytes(row.lines)) for row in rows]


def _record(tx: Transaction, action: str, sums: Purged, order: _Order) -> AccessRecord:
    return AccessRecord(
        exchange=sums.purge,
        kind=Kind.CONTROL,
        at={"in": tx.now},
        caller=order.actor.uri,
        certificate=order.actor.certificate,
        action=action,
        resource=RESOURCE,
        grpc_code="OK",
        change=sums.change(),
    )
