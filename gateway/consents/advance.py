"""Moves a consent along the transition table and writes what happened. Nothing else writes a state."""

from collections.abc import Sequence

from gateway.consents.states import ConsentEventType, ConsentState, Due, clock_events, next_state
from gateway.consents.uses import used_up
from gateway.state.change import Change
from gateway.state.consents import ConsentRow, add_event, get_consent, set_state
from gateway.state.contracts import ContractRow

CLOCK = "clock"
"""The actor of what time brought about."""


def due_now(change: Change, row: ConsentRow, contract: ContractRow) -> tuple[Due, ...]:
    """Returns what has come about since the consent was written: by time, by its use, or with its contract."""
    exhausted = bool(used_up(change.connection, [row]))
    return clock_events(row, change.now, contract=contract, used_up=exhausted)


def state_now(change: Change, row: ConsentRow, contract: ContractRow) -> ConsentState:
    """Returns where a consent stands now, what has come about included."""
    return require_possible(change, row, contract, ())


def require_possible(
    change: Change, row: ConsentRow, contract: ContractRow, events: Sequence[ConsentEventType]
) -> ConsentState:
    """Returns where `events` lead, after what has come about.

    Raises:
        StateConflict: the table refuses one of them.
    """
    state = ConsentState(row.state)
    for event in (*(due.event for due in due_now(change, row, contract)), *events):
        state = next_state(row.name, state, event)
    return state


def advance(
    change: Change,
    row: ConsentRow,
    contract: ContractRow,
    events: Sequence[ConsentEventType],
    *,
    position: int,
    reason: str = "",
    current: bool | None = None,
) -> ConsentRow:
    """Writes what has come about, then `events`, and returns the consent as it is now.

    Args:
        change: the control call, already recorded.
        row: the consent as it was read in this transaction.
        contract: the version it is bound to.
        events: what happens, in order.
        position: of the call's record.
        reason: what the caller gave as reason.
        current: whether it speaks for the subject from now on; as before unless given.

    Raises:
        StateConflict: the table refuses one of the events.
    """
    due = [
        (each.event, CLOCK, each.why, max(each.at, row.updated_at)) for each in due_now(change, row, contract)
    ]
    done = [(event, change.call.identity.uri, reason, change.now) for event in events]
    state, words = ConsentState(row.state), reason
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
        reason=words,
        at=change.now,
        position=position,
        current=row.current if current is None else current,
    )
    after = get_consent(change.connection, row.name)
    assert after is not None
    return after
