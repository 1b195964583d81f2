"""Moves a consent along the transition table and writes what happened. Nothing else writes a state."""

from collections.abc import Sequence

from gateway.consents.states import ConsentEventType, ConsentState, clock_events, next_state
from gateway.state.change import Change
from gateway.state.consents import ConsentRow, add_event, get_consent, set_state

CLOCK = "clock"
"""The actor of what time brought about."""


def require_possible(row: ConsentRow, events: Sequence[ConsentEventType], change: Change) -> ConsentState:
    """Returns where `events` lead, after what time has brought about.

    Raises:
        StateConflict: the table refuses one of them.
    """
    state = ConsentState(row.state)
    for event in (*(event for event, _ in clock_events(row, change.now)), *events):
        state = next_state(row.name, state, event)
    return state


def advance(
    change: Change,
    row: ConsentRow,
    events: Sequence[ConsentEventType],
    *,
    position: int,
    reason: str = "",
    current: bool | None = None,
) -> ConsentRow:
    """Writes what time has brought about, then `events`, and returns the consent as it is now.

    Args:
        change: the control call, already recorded.
        row: the consent as it was read in this transaction.
        events: what happens, in order.
        position: of the call's record.
        reason: what the caller gave as reason.
        current: whether it speaks for the subject from now on; as before unless given.

    Raises:
        StateConflict: the table refuses one of the events.
    """
    due = [(event, CLOCK, "", max(at, row.updated_at)) for event, at in clock_events(row, change.now)]
    done = [(event, change.call.identity.uri, reason, change.now) for event in events]
    state = ConsentState(row.state)
    for event, actor, words, at in (*due, *done):
        target = next_state(row.name, state, event)
        add_event(
            change.connection,
            row.name,
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
        current=row.current if current is None else current,
    )
    after = get_consent(change.connection, row.name)
    assert after is not None
    return after
