"""Moves a version along the transition table and writes what happened. Nothing else writes a state."""

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType

from gateway.contracts.overdue import unwritten
from gateway.contracts.states import ContractEventType, ContractState, clock_events, next_state
from gateway.state.change import Change
from gateway.state.contract_events import add_event
from gateway.state.contracts import ContractRow, Facts, get_version, set_state

CLOCK = "clock"
"""The actor of what time brought about."""

_Step = tuple[ContractEventType, str, str, datetime]


def require_possible(row: ContractRow, events: Sequence[ContractEventType], now: datetime) -> ContractState:
    """Returns where `events` lead, after what time has brought about.

    Raises:
        StateConflict: the table refuses one of them.
    """
    state = ContractState(row.state)
    for event in (*(event for event, _ in clock_events(row, now)), *events):
        state = next_state(row.full_name, state, event)
    return state


def advance(
    change: Change,
    row: ContractRow,
    events: Sequence[ContractEventType],
    *,
    position: int,
    reason: str = "",
    facts: Facts = MappingProxyType({}),
) -> ContractRow:
    """Writes what time has brought about, then `events`, and returns the version as it is now.

    Args:
        change: the control call, already recorded.
        row: the version as it was read in this transaction.
        events: what happens, in order.
        position: of the call's record.
        reason: what the caller gave as reason.
        facts: what the events leave behind besides the state.

    Raises:
        StateConflict: the table refuses one of the events.
    """
    state = ContractState(row.state)
    for step in (*_by_time(change, row), *_by_caller(change, events, reason)):
        state = _write(change, row, state, step, position=position)
    moved = state.value != row.state
    set_state(
        change.connection,
        row,
        state=state.value,
        reason=reason if moved and events else row.state_reason,
        at=change.now,
        position=position,
        facts=facts,
    )
    after = get_version(change.connection, row.name, row.version)
    assert after is not None
    return after


def _by_caller(change: Change, events: Sequence[ContractEventType], reason: str) -> list[_Step]:
    return [(event, change.call.identity.uri, reason, change.now) for event in events]


def _by_time(change: Change, row: ContractRow) -> list[_Step]:
    due = unwritten(change.connection, row, change.rulebook, change.now)
    return [(event, CLOCK, "", max(at, row.updated_at)) for event, at in due]


def _write(
    change: Change, row: ContractRow, state: ContractState, step: _Step, *, position: int
) -> ContractState:
    event, actor, words, at = step
    target = next_state(row.full_name, state, event)
    add_event(
        change.connection,
        row,
        type=event.value,
        from_state=state.value,
        to_state=target.value,
        actor=actor,
        reason=words,
        at=at,
        position=position,
    )
    return target
