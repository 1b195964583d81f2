"""Anything portals, authorities, contracts and time may do to consents, in any order: only what the tables know."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.catalogue.publish import publish
from gateway.consents.grant import grant
from gateway.consents.move import move
from gateway.consents.queries import get_consent_for
from gateway.consents.request import request_consent
from gateway.consents.states import FINAL, TRANSITIONS, ConsentEventType, ConsentState
from gateway.consents.withdraw import withdraw
from gateway.contracts.propose import propose
from gateway.contracts.sign import sign
from gateway.contracts.terminate import terminate
from gateway.state.schema import consent_events, consents
from isthmus.errors import Reason
from isthmus.identity import Identity
from isthmus.names import ConsentName
from isthmus.terms import instant, timestamp
from isthmus.v1 import catalog_service_pb2
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2 as contract_pb
from isthmus.v1.common_pb2 import Subject
from tests.integration.consent_calls import clerk, use
from tests.integration.control_machine import ControlMachine
from tests.integration.control_world import CONSUMER, GATEWAY, PORTAL, PROVIDER, World, person

pytestmark = pytest.mark.integration

RESIDENTS = st.sampled_from(["110101199003072316", "110101201501011234"])
PARENTS = ("母亲", "父亲")
EXPECTED = {Reason.STATE_CONFLICT, Reason.NOT_FOUND, Reason.STATEMENT_INVALID, Reason.ALREADY_EXISTS}
STOPS = (ConsentEventType.PAUSED, ConsentEventType.RESUMED)
ENDS = (ConsentEventType.REVOKED, ConsentEventType.INVALIDATED)


class Life(ControlMachine):
    """Two people, their consents to one contract, and everything that can befall them."""

    expected = frozenset(EXPECTED)

    reached: ClassVar[set[str]] = set()

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.clerk = clerk(self.world)
        self.names: list[str] = []
        self.people: dict[str, str] = {}
        self.seen: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        request = catalog_service_pb2.PublishDatasetRequest(dataset=person())
        publish(self.world.control, self.call(PROVIDER), request)
        self.contract = self.agree(keep=30)

    def agree(self, *, keep: int) -> contract_pb.Contract:
        request = contract_pb.ProposeContractRequest(
            contract_id="edu-person", terms=self.world.terms(retention_days=keep), reason="招生季"
        )
        contract = propose(self.world.control, self.call(CONSUMER), request).contract
        for by in (CONSUMER, PROVIDER):
            signed = contract_pb.SignContractRequest(
                name=contract.name, statement=self.world.signature(by, contract)
            )
            sign(self.world.control, self.call(by), signed, verifier=self.world.verifier)
        return contract

    def show(self, name: str) -> pb.Consent:
        with self.world.ledger.read() as conn:
            request = pb.GetConsentRequest(name=name)
            return get_consent_for(conn, self.call(PORTAL), request, self.world.tokens).consent

    def now(self) -> dict[str, str]:
        """Where every consent stands at this moment."""
        shown = ((name, self.show(name).state) for name in self.names)
        return {name: pb.ConsentState.Name(state).removeprefix("CONSENT_STATE_") for name, state in shown}

    def some(self, data: st.DataObject, *likely: str) -> str:
        """A consent, most often one in a `likely` state, or one that has not ended."""
        wanted = likely or ("REQUESTED", "ACTIVE", "PAUSED")
        first = [name for name in self.names if self.seen.get(name) in wanted]
        return data.draw(st.sampled_from(first * 5 + self.names))

    @rule(hours=st.sampled_from([1, 1, 1, 5, 30]))
    def time_passes(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)

    @rule(resident=RESIDENTS, parties=st.sampled_from([(), PARENTS]), hours=st.sampled_from([0, 2, 40]))
    def ask(self, resident: str, parties: tuple[str, ...], hours: int) -> None:
        name = str(ConsentName.new())
        request = pb.RequestConsentRequest(
            name=name,
            contract=self.contract.name,
            subject=Subject(scheme="cn.resident-id", id=resident),
            required_parties=parties,
        )
        if hours:
            request.answer_by.CopyFrom(timestamp(self.world.now + timedelta(hours=hours)))
        if self.attempt(request_consent, PORTAL, request, tokens=self.world.tokens) is not None:
            self.names.append(name)
            self.people[name] = resident

    @rule(resident=RESIDENTS, uses=st.sampled_from([0, 1, 2]), hours=st.sampled_from([6, 200]))
    def grant(self, resident: str, uses: int, hours: int) -> None:
        until = self.world.now + timedelta(hours=hours)
        self.give(str(ConsentName.new()), resident, max_uses=uses, not_after=until)

    @rule(resident=RESIDENTS, grows=st.integers(1, 30))
    def guardian_grants(self, resident: str, grows: int) -> None:
        of_age_at = self.world.now + timedelta(hours=grows)
        guardian = {"grantor": "GUARDIAN", "evidence_reference": "出生证-1", "of_age_at": of_age_at}
        self.give(str(ConsentName.new()), resident, **guardian)

    @precondition(lambda self: self.names)
    @rule(data=st.data(), party=st.sampled_from(["", *PARENTS]), same=st.booleans())
    def answer(self, data: st.DataObject, party: str, same: bool) -> None:
        name = self.some(data, "REQUESTED")
        asked, changes = self.show(name), dict[str, Any]()
        if same and asked.consented_parties:
            changes["not_before"] = instant(asked.period.not_before)
            changes["not_after"] = instant(asked.period.not_after)
        self.give(name, self.people[name], party=party if asked.required_parties else "", **changes)

    def give(self, name: str, resident: str, **changes: Any) -> None:
        request = self.world.consent(self.contract, resident=resident, consent=name, **changes)
        given = self.attempt(
            grant,
            PORTAL,
            request,
            verifier=self.world.verifier,
            tokens=self.world.tokens,
            credentials=self.world.credentials(GATEWAY),
        )
        if given is not None and name not in self.names:
            self.names.append(name)
            self.people[name] = resident

    @precondition(lambda self: self.names)
    @rule(data=st.data(), event=st.sampled_from(STOPS))
    def stop_or_go_on(self, data: st.DataObject, event: ConsentEventType) -> None:
        self.act(PORTAL, event, self.some(data, "ACTIVE", "PAUSED"))

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.act(PORTAL, ConsentEventType.REFUSED, self.some(data, "REQUESTED"))

    @precondition(lambda self: self.names)
    @rule(data=st.data(), event=st.sampled_from(ENDS), by=st.sampled_from([PORTAL, PROVIDER]))
    def end(self, data: st.DataObject, event: ConsentEventType, by: Identity) -> None:
        self.act(by, event, self.some(data, "ACTIVE", "PAUSED"))

    def act(self, by: Identity, event: ConsentEventType, name: str) -> None:
        def run(control: Any, call: Any, consent: str) -> Any:
            return move(control, call, event, name=consent, reason="x")

        self.attempt(run, by, name)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        name = self.some(data)
        request = pb.WithdrawConsentRequest(name=name)
        done = self.attempt(withdraw, PORTAL, request, credentials=self.world.credentials(GATEWAY))
        assert done is None or self.show(name).state == pb.CONSENT_STATE_WITHDRAWN

    @precondition(lambda self: self.names)
    @rule(data=st.data(), times=st.integers(1, 3))
    def use(self, data: st.DataObject, times: int) -> None:
        name = self.some(data, "ACTIVE")
        for _ in range(times):
            consent = self.show(name)
            if consent.state == pb.CONSENT_STATE_ACTIVE:
                use(self.world, consent)

    @rule()
    def clerk_writes(self) -> None:
        before = self.now()
        self.clerk.round()
        assert self.now() == before

    @precondition(lambda self: len(self.names) > 2)
    @rule(keep=st.integers(1, 90))
    def contract_is_replaced(self, keep: int) -> None:
        self.contract = self.agree(keep=keep)

    @precondition(lambda self: len(self.names) > 3)
    @rule()
    def contract_is_terminated(self) -> None:
        request = contract_pb.TerminateContractRequest(name=self.contract.name, reason="x")
        terminate(self.world.control, self.call(CONSUMER), request)
        self.contract = self.agree(keep=91 + len(self.names))

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        if not hasattr(self, "world"):
            return
        for name in self.names:
            consent = self.show(name)
            state = pb.ConsentState.Name(consent.state).removeprefix("CONSENT_STATE_")
            self.parties_and_uses_add_up(consent)
            self.reached.add(state)
            self.seen[name] = state
            assert self.ended.get(name, state) == state
            if state in FINAL:
                self.ended[name] = state

    def parties_and_uses_add_up(self, consent: pb.Consent) -> None:
        required, consented = set(consent.required_parties), set(consent.consented_parties)
        assert consented <= required
        if consent.state in (pb.CONSENT_STATE_ACTIVE, pb.CONSENT_STATE_PAUSED):
            assert consented == required
        if consent.state == pb.CONSENT_STATE_EXHAUSTED:
            assert consent.uses == consent.max_uses
        assert not consent.max_uses or consent.uses <= consent.max_uses

    @invariant()
    def every_step_is_in_the_table(self) -> None:
        if not hasattr(self, "world"):
            return
        table, at = consent_events.c, dict[str, str]()
        with self.world.ledger.read() as conn:
            for row in conn.execute(sa.select(consent_events).order_by(table.consent, table.seq)):
                assert row.from_state == at.get(row.consent, "NEW")
                step = (ConsentState(row.from_state), ConsentEventType(row.type))
                assert TRANSITIONS[step] == row.to_state
                at[row.consent] = row.to_state
            rows = list(conn.execute(sa.select(consents)))
        assert at == {row.name: row.state for row in rows}
        current = [(row.contract, row.subject_token) for row in rows if row.current]
        assert len(current) == len(set(current))
        assert all(row.current for row in rows if row.state in ("ACTIVE", "PAUSED"))
        assert not any(row.current for row in rows if row.state == "REQUESTED")


@pytest.mark.timeout(180)
def test_consents_know_no_other_states_and_steps_than_the_tables() -> None:
    quick = settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    Life.reached.clear()
    run_state_machine_as_test(Life, settings=quick)
    every = {state.value for state in ConsentState} - {"NEW"}
    for _ in range(3):
        # Which states thirty histories come to depends on the clock, too.
        if Life.reached == every:
            break
        run_state_machine_as_test(Life, settings=settings(quick, derandomize=False, print_blob=True))
    assert Life.reached == every
