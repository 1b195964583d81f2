"""The store of emergency uses."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from gateway.state.contracts import ContractRow
from gateway.state.schema import emergency_uses
from gateway.state.times import from_ms, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyRow:
    """One emergency use. `contract` is `contracts/{contract}` and `reviewed_at` None while nobody has reviewed it."""

    exchange: str
    contract: str
    version: int
    provider: str
    consumer: str
    caller: str
    justification: str
    at: datetime
    position: int
    review_hours: int
    review_due: datetime
    reviewer: str = ""
    justified: bool = False
    finding: str = ""
    reviewed_at: datetime | None = None
    escalated_position: int | None = None

    @property
    def parties(self) -> frozenset[str]:
        """The two departments."""
        return frozenset({self.provider, self.consumer})

    def overdue(self, now: datetime) -> bool:
        """Whether the review is past due, or came late."""
        return (self.reviewed_at or now) > self.review_due


def note_use(
    conn: sa.Connection,
    contract: ContractRow,
    *,
    exchange: str,
    caller: str,
    justification: str,
    at: datetime,
    position: int,
) -> None:
    """Writes down a use, in the transaction that records its release.

    Args:
        conn: the connection of that transaction.
        contract: the version it rests on, whose terms say within how many hours it must be reviewed.
        exchange: `exchanges/{uuid}`.
        caller: the system that asked, a SPIFFE URI.
        justification: what it gave as reason.
        at: the time of the release.
        position: of its record.
    """
    hours = int(contract.terms["break_glass"]["review_within_hours"])
    conn.execute(
        emergency_uses.insert().values(
            exchange=exchange,
            contract=contract.name,
            version=contract.version,
            provider=contract.provider,
            consumer=contract.consumer,
            caller=caller,
            justification=justification,
            at=to_ms(at),
            position=position,
            review_hours=hours,
            review_due=to_ms(at + timedelta(hours=hours)),
            reviewer="",
            justified=False,
            finding="",
        )
    )


def get_use(conn: sa.Connection, exchange: str) -> EmergencyRow | None:
    """Returns the use that an exchange was, or None."""
    row = conn.execute(sa.select(emergency_uses).where(emergency_uses.c.exchange == exchange)).one_or_none()
    return None if row is None else _read(row)


def page_of_uses(
    conn: sa.Connection, *, visible_to: str, contract: str, unreviewed: bool, before: int, limit: int
) -> list[EmergencyRow]:
    """Returns uses, newest first.

    Args:
        conn: a read snapshot.
        visible_to: only those of contracts of this department; empty for all.
        contract: only those of `contracts/{contract}`; empty for all.
        unreviewed: only those without a review.
        before: only positions below this one; 0 for the newest.
        limit: at most so many.
    """
    table = emergency_uses.c
    query = sa.select(emergency_uses)
    if visible_to:
        query = query.where(sa.or_(table.provider == visible_to, table.consumer == visible_to))
    if contract:
        query = query.where(table.contract == contract)
    if unreviewed:
        query = query.where(table.reviewed_at.is_(None))
    if before:
        query = query.where(table.position < before)
    return [_read(row) for row in conn.execute(query.order_by(table.position.desc()).limit(limit))]


def unescalated(conn: sa.Connection, now: datetime, *, limit: int) -> list[EmergencyRow]:
    """Returns uses whose review is overdue and of which no record says so yet, the longest overdue first."""
    query = sa.select(emergency_uses).where(
        _awaits_review(now), emergency_uses.c.escalated_position.is_(None)
    )
    return [_read(row) for row in conn.execute(query.order_by(emergency_uses.c.review_due).limit(limit))]


def count_overdue(conn: sa.Connection, now: datetime) -> int:
    """Returns how many uses still await a review that is overdue."""
    return int(conn.execute(sa.select(sa.func.count()).where(_awaits_review(now))).scalar_one())


def put_review(
    conn: sa.Connection, exchange: str, *, reviewer: str, justified: bool, finding: str, at: datetime
) -> None:
    """Writes the review of a use."""
    _update(conn, exchange, reviewer=reviewer, justified=justified, finding=finding, reviewed_at=to_ms(at))


def put_escalation(conn: sa.Connection, exchange: str, *, position: int) -> None:
    """Writes the position of the record which says that the review is overdue."""
    _update(conn, exchange, escalated_position=position)


def _update(conn: sa.Connection, exchange: str, **values: object) -> None:
    conn.execute(emergency_uses.update().where(emergency_uses.c.exchange == exchange).values(**values))


def _awaits_review(now: datetime) -> sa.ColumnElement[bool]:
    table = emergency_uses.c
    return sa.and_(table.reviewed_at.is_(None), table.review_due < to_ms(now))


def _read(row: sa.Row[Any]) -> EmergencyRow:
    return EmergencyRow(
        exchange=row.exchange,
        contract=row.contract,
        version=row.version,
        provider=row.provider,
        consumer=row.consumer,
        caller=row.caller,
        justification=row.justification,
        at=from_ms(row.at),
        position=row.position,
        review_hours=row.review_hours,
        review_due=from_ms(row.review_due),
        reviewer=row.reviewer,
        justified=row.justified,
        finding=row.finding,
        reviewed_at=None if row.reviewed_at is None else from_ms(row.reviewed_at),
        escalated_position=row.escalated_position,
    )
