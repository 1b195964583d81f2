"""Where a consent stands, and what may happen to it (DESIGN section 9). Pure.

The table is the whole truth: a pair it does not list is refused, whoever asks. Terminal states are final; who
consents again gives a new consent. WITHDRAWN is the person's act, REVOKED an authority's (W3C DPV 2.3).
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from gateway.contracts.states import ContractState
from gateway.contracts.states import Dated as DatedContract
from gateway.contracts.states import clock_events as contract_clock_events
from gateway.contracts.states import effective_state as contract_state
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
    PARTY_GRANTED = "PARTY_GRANTED"
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
    (_S.REQUESTED, _E.PARTY_GRANTED): _S.REQUESTED,
    (_S.REQUESTED, _E.GRANTED): _S.ACTIVE,
    (_S.REQUESTED, _E.WITHDRAWN): _S.WITHDRAWN,
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
    """A consent as far as the clock concerns it: its stored state, the end of its period (exclusive), when the person
    comes of age if a guardian consented, and until when an answer to a request is awaited."""

    @property
    def state(self) -> str: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def of_age_at(self) -> datetime | None: ...
    @property
    def answer_by(self) -> datetime | None: ...


class BoundTo(DatedContract, Protocol):
    """The version of a contract that a consent is bound to, and when it last changed."""

    @property
    def updated_at(self) -> datetime: ...


class Due(NamedTuple):
    """What came about without anybody's act: the event, when it was due, and why, in words."""

    event: ConsentEventType
    at: datetime
    why: str


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


def clock_events(
    row: Dated, now: datetime, *, contract: BoundTo | None = None, used_up: bool = False
) -> tuple[Due, ...]:
    """Returns what has come about since a consent was written: at most one event, the earliest that was due.

    Args:
        row: the consent.
        now: the present time.
        contract: the version it is bound to, whose end is its end; left out, only the consent's own dates count.
        used_up: whether it has allowed as many exchanges as it may. Then that ended it, whatever passed since: nothing
            allows an exchange after any other end.
    """
    state = ConsentState(row.state)
    due = []
    if state in EFFECTIVE:
        if used_up:
            return (Due(_E.EXHAUSTED, now, "it was used as often as it allows"),)
        due = [Due(_E.EXPIRED, row.not_after, "its period is over")]
        if row.of_age_at is not None:
            due.append(Due(_E.EXPIRED, row.of_age_at, "the person has come of age and speaks for themselves"))
    elif state is _S.REQUESTED and row.answer_by is not None:
        due = [Due(_E.LAPSED, row.answer_by, "nobody answered in time")]
    if contract is not None and (state in EFFECTIVE or state is _S.REQUESTED):
        due += _with_contract(state, contract, now)
    passed = [each for each in due if now >= each.at]
    return (min(passed, key=lambda each: each.at),) if passed else ()


_FATES: Final[Mapping[ContractState, tuple[ConsentEventType, str]]] = {
    ContractState.SUPERSEDED: (_E.SUPERSEDED, "another version of the contract took over"),
    ContractState.TERMINATED: (_E.EXPIRED, "the contract was terminated"),
    ContractState.EXPIRED: (_E.EXPIRED, "the contract is over"),
}
"""What becomes of a consent when the version it is bound to ends; a question about it lapses."""


def _with_contract(state: ConsentState, contract: BoundTo, now: datetime) -> list[Due]:
    end, events = contract_state(contract, now), contract_clock_events(contract, now)
    if end not in _FATES:
        return []
    at = events[-1][1] if events else contract.updated_at
    event, why = _FATES[end]
    return [Due(_E.LAPSED if state is _S.REQUESTED else event, at, why)]


def effective_state(
    row: Dated, now: datetime, *, contract: BoundTo | None = None, used_up: bool = False
) -> ConsentState:
    """Returns where a consent stands at `now`: the stored state, moved on by what came about. As `clock_events`."""
    state = ConsentState(row.state)
    for due in clock_events(row, now, contract=contract, used_up=used_up):
        state = TRANSITIONS[state, due.event]
    return state
