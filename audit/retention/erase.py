"""Erasing one person: the erasable detail of their records, and their lines of batches.

What goes is what opens the commitments (salts) and what people wrote about the person (reasons of searches and
changes). What stays is each record: that somebody asked, under which contract, for which purpose. A batch keeps the hash
of the erased line, so its record still vouches for the others.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from audit.batch.lines import join_lines, split_lines
from audit.ledger import Ledger, Transaction
from audit.ledger.schema import batch_lines, details, record_subjects, records
from audit.record import AccessRecord, Kind, milliseconds
from audit.retention.actor import Actor
from audit.retention.rule import RetentionRule
from audit.retention.shred import overwrite_deleted
from audit.search.lookup import commit_texts
from isthmus.ids import new_exchange

ACTION: Final = "EraseDetail"
RESOURCE: Final = "retention/erase"
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOrder:
    """What is to be erased, and why.

    Attributes:
        tokens: of the person, in every key epoch.
        reason: why, in words; the log holds a commitment to it.
        ordered_by: the decision that orders it although the legal minimum has not passed, such as an authority's; then
            younger records are erased too. The law allows no more than storage until then (个人信息保护法 47).
    """

    tokens: Collection[str]
    reason: str
    ordered_by: str = ""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: details of records, lines of batches; `kept` records are too young; `positions` are those of the
    records that say so."""

    details: int
    lines: int
    kept: int
    positions: tuple[int, ...]


def erase_subject(
    ledger: Ledger, order: ErasureOrder, actor: Actor, rule: RetentionRule, *, at_once: int = _AT_ONCE
) -> Erased:
    """Erase what can be erased of one person; a second time finds nothing left, and says so in the log too.

    Args:
        ledger: the log, with its key.
        order: what and why.
        actor: who.
        rule: the legal minimum.
        at_once: how many records one transaction reaches.

    Raises:
        RetentionRefused: the actor's certificate was denied.
        LedgerUnavailable: the rest could not be erased; run it again.
    """

    def begin(tx: Transaction) -> tuple[list[int], int]:
        limit = None if order.ordered_by else rule.destructible_before(tx.now)
        found = _positions(tx.connection, order.tokens, limit)
        return found, len(_positions(tx.connection, order.tokens, None)) - len(found)

    wanted, kept = ledger.transact(begin).value
    total_details, total_lines, positions = 0, 0, []
    for chunk in _chunks(wanted, at_once):
        done = ledger.transact(lambda tx, chunk=chunk: _erase(tx, chunk, order, actor)).value  # type: ignore[misc]
        total_details, total_lines = total_details + done[0], total_lines + done[1]
        positions.append(done[2])
    return Erased(total_details, total_lines, kept, tuple(positions))


def _erase(
    tx: Transaction, positions: Sequence[int], order: ErasureOrder, actor: Actor
) -> tuple[int, int, int]:
    actor.require_not_denied(tx.connection)
    overwrite_deleted(tx.connection)
    alone = sa.and_(
        details.c.idx.in_(positions),
        details.c.idx.in_(
            sa.select(records.c.idx).where(
                records.c.idx.in_(positions), records.c.subject_token.in_(list(order.tokens))
            )
        ),
    )
    gone = tx.connection.execute(sa.delete(details).where(alone)).rowcount
    lines = sum(_erase_lines(tx.connection, position, order.tokens) for position in positions)
    texts = {"reason": order.reason, "ordered_by": order.ordered_by}
    commitments, detail = commit_texts(texts)
    record = AccessRecord(
        exchange=str(new_exchange(tx.now)),
        kind=Kind.CONTROL,
        at={"in": tx.now},
        caller=actor.uri,
        certificate=actor.certificate,
        action=ACTION,
        resource=RESOURCE,
        grpc_code="OK",
        change={**commitments, "details": gone, "lines": lines},
    )
    return gone, lines, tx.append(record, detail=detail)


def _erase_lines(connection: sa.Connection, position: int, tokens: Collection[str]) -> int:
    wanted = [f'"token":"{token}"}}'.encode() for token in tokens]
    query = sa.select(batch_lines.c.part, batch_lines.c.lines).where(batch_lines.c.idx == position)
    erased = 0
    for row in connection.execute(query).all():
        texts = split_lines(bytes(row.lines))
        left = [b"" if any(text.endswith(each) for each in wanted) else text for text in texts]
        if changed := sum(one != other for one, other in zip(texts, left, strict=True)):
            same = sa.and_(batch_lines.c.idx == position, batch_lines.c.part == row.part)
            connection.execute(sa.update(batch_lines).where(same).values(lines=join_lines(left)))
            erased += changed
    return erased


def _positions(connection: sa.Connection, tokens: Collection[str], before: datetime | None) -> list[int]:
    """Of what may hold something erasable about the person: records with detail, and batches with lines."""
    bound = [] if before is None else [records.c.at_ms < milliseconds(before)]
    alone = (
        sa.select(records.c.idx)
        .join(details, details.c.idx == records.c.idx)
        .where(records.c.subject_token.in_(list(tokens)), *bound)
    )
    among = (
        sa.select(records.c.idx)
        .join(record_subjects, record_subjects.c.idx == records.c.idx)
        .where(record_subjects.c.token.in_(list(tokens)), *bound)
    )
    return sorted({*connection.scalars(alone), *connection.scalars(among)})


def _chunks(positions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """At least one, so that an erasure that finds nothing is recorded too."""
    yield positions[:size]
    for start in range(size, len(positions), size):
        yield positions[start : start + size]
