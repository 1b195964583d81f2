"""Moves a version along the transition table and writes what happened. Nothing else writes a state."""

from collections.abc import Sequence
from datetime import datetime

from gateway.contracts.states import ContractEventType, ContractState, clock_events, next_state
from gateway.state.change import Change
from gateway.state.contracts import ContractRow, add_event, get_version, set_state

CLOCK = "clock"
"""The actor of what time brought about."""


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
    suspended_by: str | None = None,
    rectify_by: datetime | None = None,
) -> ContractRow:
    """Writes what time has brought about, then `events`, and returns the version as it is now.

    Args:
        change: the control call, already recorded.
        row: the version as it was read in this transaction.
        events: what happens, in order.
        position: of the call's record.
        reason: what the caller gave as reason.
        suspended_by: the department that suspends it.
        rectify_by: by when the cause of a suspension should be put right.

    Raises:
        StateConflict: the table refuses one of the events.
    """
    due = [(event, CLOCK, "", max(at, row.updated_at)) for event, at in clock_events(row, change.now)]
    done = [(event, change.call.identity.uri, reason, change.now) for event in events]
    state = ContractState(row.state)
    for event, actor, words, at in (*due, *done):
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
        state = target
    set_state(
        change.connection,
        row,
        state=state.value,
        reason=reason,
        at=change.now,
        position=position,
        suspended_by=suspended_by,
        rectify_by=rectify_by,
    )
    after = get_version(change.connection, row.name, row.version)
    assert after is not None
    return after
