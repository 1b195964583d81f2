"""The clerk's part in consents: writes down which have ended without anybody's act."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa

from gateway.clerk.job import NewCall
from gateway.consents.access import contract_of_consent
from gateway.consents.advance import advance, due_now
from gateway.consents.states import EFFECTIVE, ConsentState, clock_events
from gateway.consents.uses import used_up
from gateway.contracts.states import ContractState
from gateway.quotas import CONSENT
from gateway.state.change import Change, Control
from gateway.state.consents import ConsentRow, consents_where, get_consent
from gateway.state.schema import consents, contracts, quota_usage
from gateway.state.times import to_ms

MOST_AT_ONCE: Final = 200
"""How many consents one round of the job looks after; the next round goes on."""

_GIVEN: Final = sorted(EFFECTIVE)
_OPEN: Final = sorted({*EFFECTIVE, ConsentState.REQUESTED})
_ENDED: Final = sorted({ContractState.SUPERSEDED, ContractState.TERMINATED, ContractState.EXPIRED})


def due_consents(conn: sa.Connection, now: datetime, *, limit: int = MOST_AT_ONCE) -> list[ConsentRow]:
    """Returns consents that have lapsed, expired or been used up, or whose contract has ended, and are not written so.

    Args:
        conn: a read snapshot.
        now: the present time.
        limit: at most so many.
    """
    found = dict[str, ConsentRow]()
    for condition in _conditions(to_ms(now)):
        rows = consents_where(conn, condition, limit=limit - len(found))
        exhausted = used_up(conn, rows)
        for row in rows:
            contract = contract_of_consent(conn, row)
            if clock_events(row, now, contract=contract, used_up=row.name in exhausted):
                found[row.name] = row
        if len(found) >= limit:
            break
    return list(found.values())


def materialise(change: Change, name: str) -> bool:
    """Writes what has come about with a consent, with its record and its events; returns whether anything had.

    Args:
        change: the clerk's change.
        name: `consents/{uuid}`. It is read again, for another gateway may have been first.
    """
    row = get_consent(change.connection, name)
    if row is None:
        return False
    contract = contract_of_consent(change.connection, row)
    due = due_now(change, row, contract)
    if not due:
        return False
    told = {"event": " ".join(each.event.value for each in due)}
    position = change.record(row.name, told, about=contract, subject_token=row.subject_token)
    advance(change, row, contract, (), position=position)
    return True


class ConsentClerk:
    """The clerk's job for consents."""

    @property
    def name(self) -> str:
        """`consents`."""
        return "consents"

    def run(self, control: Control, new_call: NewCall) -> int:
        """Writes at most `MOST_AT_ONCE` consents, each in a transaction of its own; returns how many.

        Args:
            control: runs the changes; its clock is the time.
            new_call: the caller of each change.
        """
        with control.read(new_call()) as conn:
            names: Sequence[str] = [row.name for row in due_consents(conn, control.clock())]
        written = 0
        for name in names:
            written += control.change(new_call(), partial(materialise, name=name)).value
        return written


def _conditions(now: int) -> Iterator[sa.ColumnElement[bool]]:
    """What a consent must look like to be worth a closer look; each finds its rows by itself."""
    mine = consents.c
    yield sa.and_(mine.state.in_(_GIVEN), sa.or_(mine.not_after <= now, mine.of_age_at <= now))
    yield sa.and_(mine.state == ConsentState.REQUESTED.value, mine.answer_by <= now)
    yield sa.and_(
        mine.state.in_(_OPEN),
        sa.exists().where(
            contracts.c.contract == mine.contract,
            contracts.c.version == mine.version,
            sa.or_(
                contracts.c.state.in_(_ENDED),
                contracts.c.not_after <= now,
                contracts.c.superseded_at <= now,
            ),
        ),
    )
    yield sa.and_(
        mine.state.in_(_GIVEN),
        mine.max_uses > 0,
        sa.exists().where(
            quota_usage.c.contract == mine.contract + "@" + sa.cast(mine.version, sa.String),
            quota_usage.c.scope == CONSENT,
            quota_usage.c.scope_key == mine.name,
            quota_usage.c.calls >= mine.max_uses,
        ),
    )
