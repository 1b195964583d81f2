"""The transition tables: complete as DESIGN sections 8 and 9 draw them, and closed to everything else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.consents import states as consent
from gateway.contracts import states as contract
from isthmus.errors import StateConflict
from isthmus.v1 import consent_service_pb2, contract_service_pb2

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
DAY = timedelta(days=1)

CONTRACT_ARROWS = """
DRAFT PROPOSED PROPOSED / PROPOSED SIGNED PROPOSED / PROPOSED AGREED AGREED / PROPOSED COUNTERED COUNTERED
PROPOSED REJECTED REJECTED / PROPOSED WITHDRAWN WITHDRAWN
PROPOSED SUPPLEMENT_REQUESTED PROPOSED / PROPOSED SUPPLEMENTED PROPOSED
PROPOSED ANSWER_EXTENDED PROPOSED / PROPOSED ANSWER_OVERDUE PROPOSED
ACTIVE PROVIDE_OVERDUE ACTIVE / SUSPENDED PROVIDE_OVERDUE SUSPENDED / SUSPENDED RECTIFY_OVERDUE SUSPENDED
AGREED ACTIVATED ACTIVE / AGREED TERMINATED TERMINATED / AGREED SUPERSEDED SUPERSEDED
ACTIVE SUSPENDED SUSPENDED / ACTIVE EXPIRED EXPIRED / ACTIVE TERMINATED TERMINATED / ACTIVE SUPERSEDED SUPERSEDED
SUSPENDED RESUMED ACTIVE / SUSPENDED EXPIRED EXPIRED / SUSPENDED TERMINATED TERMINATED
SUSPENDED SUPERSEDED SUPERSEDED
"""
CONSENT_ARROWS = """
NEW REQUESTED REQUESTED / NEW GRANTED ACTIVE
REQUESTED GRANTED ACTIVE / REQUESTED REFUSED REFUSED / REQUESTED LAPSED LAPSED
REQUESTED PARTY_GRANTED REQUESTED / REQUESTED WITHDRAWN WITHDRAWN
ACTIVE PAUSED PAUSED / PAUSED RESUMED ACTIVE
ACTIVE WITHDRAWN WITHDRAWN / ACTIVE REVOKED REVOKED / ACTIVE EXPIRED EXPIRED / ACTIVE EXHAUSTED EXHAUSTED
ACTIVE SUPERSEDED SUPERSEDED / ACTIVE INVALIDATED INVALIDATED
PAUSED WITHDRAWN WITHDRAWN / PAUSED REVOKED REVOKED / PAUSED EXPIRED EXPIRED / PAUSED EXHAUSTED EXHAUSTED
PAUSED SUPERSEDED SUPERSEDED / PAUSED INVALIDATED INVALIDATED
"""


def arrows(text: str) -> set[tuple[str, ...]]:
    lines = text.replace("\n", " / ").split("/")
    return {tuple(line.split()) for line in lines if line.strip()}


@dataclass(frozen=True)
class Version:
    state: str
    not_before: datetime = NOW
    not_after: datetime = NOW + DAY
    superseded_at: datetime | None = None


@dataclass(frozen=True)
class Given:
    state: str
    not_after: datetime = NOW
    answer_by: datetime | None = None
    of_age_at: datetime | None = None


def test_the_tables_hold_exactly_the_drawn_arrows() -> None:
    drawn = {(state, event, target) for (state, event), target in contract.TRANSITIONS.items()}
    assert drawn == arrows(CONTRACT_ARROWS)
    given_ = {(state, event, target) for (state, event), target in consent.TRANSITIONS.items()}
    assert given_ == arrows(CONSENT_ARROWS)


def test_the_states_are_those_of_the_protocol() -> None:
    names = {
        name.removeprefix("CONTRACT_STATE_")
        for name in contract_service_pb2.ContractState.DESCRIPTOR.values_by_name
    }
    assert {state.value for state in contract.ContractState} == names - {"UNSPECIFIED"}
    names = {
        name.removeprefix("CONSENT_STATE_")
        for name in consent_service_pb2.ConsentState.DESCRIPTOR.values_by_name
    }
    assert {state.value for state in consent.ConsentState} - {"NEW"} == names - {"UNSPECIFIED"}


def test_every_pair_that_is_not_listed_is_refused_in_words() -> None:
    for state, event in product(contract.ContractState, contract.ContractEventType):
        if (state, event) not in contract.TRANSITIONS:
            with pytest.raises(StateConflict, match=f"it is {state}; {event} is possible only when"):
                contract.next_state("contracts/x@1", state, event)
    for status, happening in product(consent.ConsentState, consent.ConsentEventType):
        if (status, happening) not in consent.TRANSITIONS:
            with pytest.raises(StateConflict, match=f"it is {status}; {happening} is possible only when"):
                consent.next_state("consents/x", status, happening)


def test_final_states_are_final() -> None:
    assert contract.FINAL == {"COUNTERED", "EXPIRED", "TERMINATED", "SUPERSEDED", "REJECTED", "WITHDRAWN"}
    assert consent.FINAL == {
        "REFUSED",
        "LAPSED",
        "WITHDRAWN",
        "REVOKED",
        "EXPIRED",
        "EXHAUSTED",
        "SUPERSEDED",
        "INVALIDATED",
    }


@given(st.lists(st.sampled_from(list(contract.ContractEventType)), max_size=20))
def test_no_path_brings_an_agreed_contract_back_to_negotiation(
    events: list[contract.ContractEventType],
) -> None:
    state, agreed = contract.ContractState.DRAFT, False
    for event in events:
        if (state, event) in contract.TRANSITIONS:
            state = contract.next_state("contracts/x@1", state, event)
        agreed = agreed or state in contract.AGREED_ONCE
        assert (state in contract.AGREED_ONCE) is agreed


@pytest.mark.parametrize(
    ("state", "hours", "effective"),
    [
        ("PROPOSED", 100, "PROPOSED"),
        ("AGREED", -1, "AGREED"),
        ("AGREED", 0, "ACTIVE"),
        ("AGREED", 23, "ACTIVE"),
        ("AGREED", 24, "EXPIRED"),
        ("ACTIVE", 23, "ACTIVE"),
        ("ACTIVE", 24, "EXPIRED"),
        ("SUSPENDED", 0, "SUSPENDED"),
        ("SUSPENDED", 24, "EXPIRED"),
        ("TERMINATED", 100, "TERMINATED"),
        ("SUPERSEDED", 100, "SUPERSEDED"),
        ("REJECTED", 100, "REJECTED"),
    ],
)
def test_the_clock_moves_a_contract_on(state: str, hours: int, effective: str) -> None:
    assert contract.effective_state(Version(state), NOW + timedelta(hours=hours)) == effective


def test_an_agreed_contract_that_nobody_touched_was_active_and_then_expired() -> None:
    events = contract.clock_events(Version("AGREED"), NOW + 2 * DAY)
    assert events == (("ACTIVATED", NOW), ("EXPIRED", NOW + DAY))


@pytest.mark.parametrize(
    ("row", "effective"),
    [
        (Given("ACTIVE", NOW + DAY), "ACTIVE"),
        (Given("ACTIVE"), "EXPIRED"),
        (Given("PAUSED"), "EXPIRED"),
        (Given("WITHDRAWN"), "WITHDRAWN"),
        (Given("REVOKED"), "REVOKED"),
        (Given("REQUESTED"), "REQUESTED"),
        (Given("REQUESTED", NOW, NOW + DAY), "REQUESTED"),
        (Given("REQUESTED", NOW + DAY, NOW), "LAPSED"),
    ],
)
def test_the_clock_moves_a_consent_on(row: Given, effective: str) -> None:
    assert consent.effective_state(row, NOW) == effective


@given(
    st.sampled_from([state for state in contract.ContractState if state != "DRAFT"]),
    st.integers(-100, 100),
    st.integers(0, 100),
)
def test_time_never_runs_a_contract_backwards(state: contract.ContractState, first: int, later: int) -> None:
    early = contract.effective_state(Version(state.value), NOW + timedelta(hours=first))
    late = contract.effective_state(Version(early.value), NOW + timedelta(hours=first + later))
    assert late == contract.effective_state(Version(state.value), NOW + timedelta(hours=first + later))
