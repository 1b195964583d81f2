"""Where a consent stands, and what may happen to it (DESIGN section 9). Pure.

The table is the whole truth: a pair it does not list is refused, whoever asks. Terminal states are final; who
consents again gives a new consent. WITHDRAWN is the person's act, REVOKED an authority's (W3C DPV 2.3).
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from isthmus.errors import StateConflict


class ConsentState(StrEnum):
    """The states of isthmus.v1.ConsentState, by name; NEW is a consent that is not recorded yet."""

    NEW = "NEW"
    REQUESTED = "REQUESTED"
    ACTIVE = "ACTIVE"
    REFUSED = "REFUSED"
    LAPSED = "LAPSED"
    PAUSED = "PAUSED"
    WITHDRAWN = "WITHDRAWN"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    EXHAUSTED = "EXHAUSTED"
    SUPERSEDED = "SUPERSEDED"
    INVALIDATED = "INVALIDATED"


class ConsentEventType(StrEnum):
    """What can happen to a consent."""

    REQUESTED = "REQUESTED"
    GRANTED = "GRANTED"
    REFUSED = "REFUSED"
    LAPSED = "LAPSED"
    PAUSED = "PAUSED"
    RESUMED = "RESUMED"
    WITHDRAWN = "WITHDRAWN"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    EXHAUSTED = "EXHAUSTED"
    SUPERSEDED = "SUPERSEDED"
    INVALIDATED = "INVALIDATED"


_S, _E = ConsentState, ConsentEventType

TRANSITIONS: Final[Mapping[tuple[ConsentState, ConsentEventType], ConsentState]] = {
    (_S.NEW, _E.REQUESTED): _S.REQUESTED,
    (_S.NEW, _E.GRANTED): _S.ACTIVE,
    (_S.REQUESTED, _E.GRANTED): _S.ACTIVE,
    (_S.REQUESTED, _E.REFUSED): _S.REFUSED,
    (_S.REQUESTED, _E.LAPSED): _S.LAPSED,
    (_S.ACTIVE, _E.PAUSED): _S.PAUSED,
    (_S.ACTIVE, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.ACTIVE, _E.REVOKED): _S.REVOKED,
    (_S.ACTIVE, _E.EXPIRED): _S.EXPIRED,
    (_S.ACTIVE, _E.EXHAUSTED): _S.EXHAUSTED,
    (_S.ACTIVE, _E.SUPERSEDED): _S.SUPERSEDED,
    (_S.ACTIVE, _E.INVALIDATED): _S.INVALIDATED,
    (_S.PAUSED, _E.RESUMED): _S.ACTIVE,
    (_S.PAUSED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.PAUSED, _E.REVOKED): _S.REVOKED,
    (_S.PAUSED, _E.EXPIRED): _S.EXPIRED,
    (_S.PAUSED, _E.EXHAUSTED): _S.EXHAUSTED,
    (_S.PAUSED, _E.SUPERSEDED): _S.SUPERSEDED,
    (_S.PAUSED, _E.INVALIDATED): _S.INVALIDATED,
}

FINAL: Final = frozenset(ConsentState) - {state for state, _ in TRANSITIONS}
"""The states nothing leads out of."""

EFFECTIVE: Final = frozenset({_S.ACTIVE, _S.PAUSED})
"""The states of a consent that was given and has not ended."""


class Dated(Protocol):
    """A consent as far as the clock concerns it: its stored state, the end of its period (exclusive), and until
    when an answer to a request is awaited."""

    @property
    def state(self) -> str: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def answer_by(self) -> datetime | None: ...


def next_state(name: str, state: ConsentState, event: ConsentEventType) -> ConsentState:
    """Returns the state that `event` leads to.

    Args:
        name: the consent's name, for the error.
        state: where it stands, the clock included.
        event: what is to happen.

    Raises:
        StateConflict: the table does not list the pair; says in which states the event is possible.
    """
    if (target := TRANSITIONS.get((state, event))) is not None:
        return target
    possible = " or ".join(sorted(source for source, kind in TRANSITIONS if kind is event))
    raise StateConflict(name, f"it is {state.value}; {event.value} is possible only when it is {possible}")


def clock_events(row: Dated, now: datetime) -> tuple[tuple[ConsentEventType, datetime], ...]:
    """Returns what time has brought to a consent since it was written, each with the time it was due."""
    state = ConsentState(row.state)
    if state in EFFECTIVE and now >= row.not_after:
        return ((_E.EXPIRED, row.not_after),)
    if state is _S.REQUESTED and row.answer_by is not None and now >= row.answer_by:
        return ((_E.LAPSED, row.answer_by),)
    return ()


def effective_state(row: Dated, now: datetime) -> ConsentState:
    """Returns where a consent stands at `now`: the stored state, moved on by the clock."""
    state = ConsentState(row.state)
    for event, _ in clock_events(row, now):
        state = TRANSITIONS[state, event]
    return state
