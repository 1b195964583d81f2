"""Where a version of a contract stands, and what may happen to it (DESIGN section 8). Pure.

The table is the whole truth: a pair it does not list is refused, whoever asks.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from isthmus.errors import StateConflict


class ContractState(StrEnum):
    """The states of isthmus.v1.ContractState, by name."""

    DRAFT = "DRAFT"
    PROPOSED = "PROPOSED"
    COUNTERED = "COUNTERED"
    AGREED = "AGREED"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    EXPIRED = "EXPIRED"
    TERMINATED = "TERMINATED"
    SUPERSEDED = "SUPERSEDED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class ContractEventType(StrEnum):
    """What can happen to a version; the names are those of ContractEvent.type."""

    PROPOSED = "PROPOSED"
    SIGNED = "SIGNED"
    AGREED = "AGREED"
    COUNTERED = "COUNTERED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    ACTIVATED = "ACTIVATED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    TERMINATED = "TERMINATED"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"
    SUPPLEMENT_REQUESTED = "SUPPLEMENT_REQUESTED"
    SUPPLEMENTED = "SUPPLEMENTED"
    ANSWER_EXTENDED = "ANSWER_EXTENDED"
    ANSWER_OVERDUE = "ANSWER_OVERDUE"
    PROVIDE_OVERDUE = "PROVIDE_OVERDUE"
    RECTIFY_OVERDUE = "RECTIFY_OVERDUE"


_S, _E = ContractState, ContractEventType

TRANSITIONS: Final[Mapping[tuple[ContractState, ContractEventType], ContractState]] = {
    (_S.DRAFT, _E.PROPOSED): _S.PROPOSED,
    (_S.PROPOSED, _E.SIGNED): _S.PROPOSED,
    (_S.PROPOSED, _E.SUPPLEMENT_REQUESTED): _S.PROPOSED,
    (_S.PROPOSED, _E.SUPPLEMENTED): _S.PROPOSED,
    (_S.PROPOSED, _E.ANSWER_EXTENDED): _S.PROPOSED,
    (_S.PROPOSED, _E.ANSWER_OVERDUE): _S.PROPOSED,
    (_S.PROPOSED, _E.AGREED): _S.AGREED,
    (_S.PROPOSED, _E.COUNTERED): _S.COUNTERED,
    (_S.PROPOSED, _E.REJECTED): _S.REJECTED,
    (_S.PROPOSED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.AGREED, _E.ACTIVATED): _S.ACTIVE,
    (_S.AGREED, _E.TERMINATED): _S.TERMINATED,
    (_S.AGREED, _E.SUPERSEDED): _S.SUPERSEDED,
    (_S.ACTIVE, _E.SUSPENDED): _S.SUSPENDED,
    (_S.ACTIVE, _E.TERMINATED): _S.TERMINATED,
    (_S.ACTIVE, _E.SUPERSEDED): _S.SUPERSEDED,
    (_S.ACTIVE, _E.EXPIRED): _S.EXPIRED,
    (_S.ACTIVE, _E.PROVIDE_OVERDUE): _S.ACTIVE,
    (_S.SUSPENDED, _E.PROVIDE_OVERDUE): _S.SUSPENDED,
    (_S.SUSPENDED, _E.RECTIFY_OVERDUE): _S.SUSPENDED,
    (_S.SUSPENDED, _E.RESUMED): _S.ACTIVE,
    (_S.SUSPENDED, _E.TERMINATED): _S.TERMINATED,
    (_S.SUSPENDED, _E.SUPERSEDED): _S.SUPERSEDED,
    (_S.SUSPENDED, _E.EXPIRED): _S.EXPIRED,
}

FINAL: Final = frozenset(ContractState) - {state for state, _ in TRANSITIONS}
"""The states nothing leads out of."""

AGREED_ONCE: Final = frozenset({_S.AGREED, _S.ACTIVE, _S.SUSPENDED, _S.EXPIRED, _S.TERMINATED, _S.SUPERSEDED})
"""The states of a version that both departments signed; its terms and signatures never change again."""

IN_FORCE: Final = frozenset({_S.AGREED, _S.ACTIVE, _S.SUSPENDED})
"""The states that a later agreed version puts an end to."""


class Dated(Protocol):
    """A version as far as the clock concerns it: its stored state, its period, the end exclusive, and when a later
    version takes over, None for never."""

    @property
    def state(self) -> str: ...
    @property
    def not_before(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def superseded_at(self) -> datetime | None: ...


def next_state(name: str, state: ContractState, event: ContractEventType) -> ContractState:
    """Returns the state that `event` leads to.

    Args:
        name: the contract's name, for the error.
        state: where it stands, the clock included.
        event: what is to happen.

    Raises:
        StateConflict: the table does not list the pair; says in which states the event is possible.
    """
    if (target := TRANSITIONS.get((state, event))) is not None:
        return target
    possible = " or ".join(sorted(source for source, kind in TRANSITIONS if kind is event))
    raise StateConflict(name, f"it is {state.value}; {event.value} is possible only when it is {possible}")


def clock_events(row: Dated, now: datetime) -> tuple[tuple[ContractEventType, datetime], ...]:
    """Returns what time has brought to a version since it was written, in order, each with the time it was due.

    An agreed version whose whole period passed unnoticed was active once, and then expired. One that a later version
    takes over from, before its own period begins, was never active.
    """
    state, events = ContractState(row.state), []
    if state not in IN_FORCE:
        return ()
    end, at = _E.EXPIRED, row.not_after
    if row.superseded_at is not None and row.superseded_at < row.not_after:
        end, at = _E.SUPERSEDED, row.superseded_at
    if state is _S.AGREED and row.not_before <= now and (row.not_before < at):
        events.append((_E.ACTIVATED, row.not_before))
    if now >= at:
        events.append((end, at))
    return tuple(events)


def effective_state(row: Dated, now: datetime) -> ContractState:
    """Returns where a version stands at `now`: the stored state, moved on by the clock."""
    state = ContractState(row.state)
    for event, _ in clock_events(row, now):
        state = TRANSITIONS[state, event]
    return state
