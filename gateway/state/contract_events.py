"""The store of what happened to contracts."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from gateway.state.contracts import ContractRow
from gateway.state.schema import contract_events
from gateway.state.times import from_ms, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractEventRow:
    """Something that happened to a version; `actor` is a SPIFFE URI, or `clock`."""

    contract: str
    version: int
    seq: int
    type: str
    from_state: str
    to_state: str
    actor: str
    reason: str
    at: datetime
    position: int


def add_event(
    conn: sa.Connection,
    row: ContractRow,
    *,
    type: str,
    from_state: str,
    to_state: str,
    actor: str,
    reason: str,
    at: datetime,
    position: int,
) -> None:
    """Appends an event to a contract's history."""
    last = sa.select(sa.func.max(contract_events.c.seq)).where(contract_events.c.contract == row.name)
    conn.execute(
        contract_events.insert().values(
            contract=row.name,
            seq=(conn.execute(last).scalar() or 0) + 1,
            version=row.version,
            type=type,
            from_state=from_state,
            to_state=to_state,
            actor=actor,
            reason=reason,
            at=to_ms(at),
            position=position,
        )
    )


def overdue_since(conn: sa.Connection, row: ContractRow, type: str, since: datetime) -> bool:
    """Whether an event of this type is recorded for a version, `since` or later."""
    events = contract_events.c
    query = sa.select(events.seq).where(
        events.contract == row.name,
        events.version == row.version,
        events.type == type,
        events.at >= to_ms(since),
    )
    return conn.execute(query.limit(1)).first() is not None


def page_of_events(conn: sa.Connection, name: str, *, after: int, limit: int) -> list[ContractEventRow]:
    """Returns the events of `contracts/{contract}`, oldest first, after the one numbered `after`."""
    query = (
        sa.select(contract_events)
        .where(contract_events.c.contract == name, contract_events.c.seq > after)
        .order_by(contract_events.c.seq)
        .limit(limit)
    )
    return [
        ContractEventRow(
            contract=row.contract,
            version=row.version,
            seq=row.seq,
            type=row.type,
            from_state=row.from_state,
            to_state=row.to_state,
            actor=row.actor,
            reason=row.reason,
            at=from_ms(row.at),
            position=row.position,
        )
        for row in conn.execute(query)
    ]
