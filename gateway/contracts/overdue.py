"""What time has brought to a version and nobody has written down yet."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import sqlalchemy as sa

from gateway.contracts.deadlines import OVERDUE_EVENT, Deadline, deadlines
from gateway.contracts.states import TRANSITIONS, ContractEventType, ContractState, clock_events
from gateway.rulebook import Rulebook
from gateway.state.contract_events import overdue_since
from gateway.state.contracts import ContractRow, first_release

Due = tuple[ContractEventType, datetime]


def deadlines_of(
    conn: sa.Connection, row: ContractRow, rulebook: Rulebook, now: datetime
) -> tuple[Deadline, ...]:
    """Returns the deadlines of a version; whether data was provided is read from the records."""
    return deadlines(row, rulebook, now, provided=lambda: first_release(conn, row))


def unwritten(conn: sa.Connection, row: ContractRow, rulebook: Rulebook, now: datetime) -> tuple[Due, ...]:
    """Returns the events that time has brought about since a version was written, in order, each with its time.

    An overdue event comes once for each deadline, however late anybody looks, and before an end at the same moment. None
    comes where the table has no place for it: when a corrected calendar makes an answer late after the fact, the
    deadline says so, and the case has gone on.
    """
    overdue = [
        (OVERDUE_EVENT[each.kind], each.due)
        for each in deadlines_of(conn, row, rulebook, now)
        if each.overdue
        and each.due is not None
        and not overdue_since(conn, row, OVERDUE_EVENT[each.kind].value, each.start)
    ]
    due = sorted((*overdue, *clock_events(row, now)), key=lambda each: each[1])
    return tuple(_possible(ContractState(row.state), due))


def _possible(state: ContractState, due: Iterable[Due]) -> Iterator[Due]:
    for event, at in due:
        if (state, event) in TRANSITIONS:
            state = TRANSITIONS[state, event]
            yield event, at
