"""Anything the parties may do, in any order, while time passes: no state and no step that the tables do not know."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.catalogue.publish import publish
from gateway.consents import states as consent_states
from gateway.consents.grant import grant
from gateway.consents.move import move
from gateway.consents.states import ConsentEventType
from gateway.consents.withdraw import withdraw as withdraw_consent
from gateway.contracts import states as contract_states
from gateway.contracts.counter import counter
from gateway.contracts.propose import propose
from gateway.contracts.reject import reject
from gateway.contracts.resume import resume
from gateway.contracts.sign import sign
from gateway.contracts.suspend import suspend
from gateway.contracts.terminate import terminate
from gateway.contracts.view import contract_of
from gateway.contracts.withdraw import withdraw
from gateway.state.contracts import contracts_in_force, get_newest, get_version
from gateway.state.schema import consent_events, consents, contract_events, contract_signatures, contracts
from isthmus.errors import IsthmusError, Reason
from isthmus.identity import Identity
from isthmus.terms import rfc3339
from isthmus.v1 import catalog_service_pb2
from isthmus.v1 import consent_service_pb2 as consent_pb
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.control_world import CONSUMER, GATEWAY, PORTAL, PROVIDER, World, person

pytestmark = pytest.mark.integration

NAME = "contracts/edu-person"
OFFICERS = st.sampled_from([CONSUMER, PROVIDER])
VERSIONS = st.integers(1, 4)
RESIDENTS = st.sampled_from(["110101199003072316", "110101198001011234"])
EXPECTED = {Reason.STATE_CONFLICT, Reason.NOT_FOUND, Reason.TERMS_INVALID, Reason.STATEMENT_INVALID}


class Parties(RuleBasedStateMachine):
    """Two officers and a portal that do whatever they like."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.agreed: dict[int, tuple[Any, ...]] = {}
        self.consents: list[str] = []
        request = catalog_service_pb2.PublishDatasetRequest(dataset=person())
        publish(self.world.control, self.call(PROVIDER), request)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    def call(self, identity: Identity) -> Any:
        return self.world.control.call(identity, self.world.credentials(identity).thumbprint, "Test")

    def attempt(self, handler: Any, by: Identity, request: Any, **extra: Any) -> Any:
        """Calls a handler; a refusal is fine, and must be one of those a caller can act on."""
        try:
            return handler(self.world.control, self.call(by), request, **extra)
        except IsthmusError as error:
            assert error.reason in EXPECTED, error
            return None

    def version(self, number: int) -> pb.Contract | None:
        with self.world.ledger.read() as conn:
            row = get_version(conn, NAME, number)
            return (
                None if row is None else contract_of(conn, row, self.world.now, self.world.control.rulebook)
            )

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)

    @rule(by=OFFICERS, begins=st.integers(0, 48), days=st.integers(1, 6), keep=st.integers(1, 3))
    def propose(self, by: Identity, begins: int, days: int, keep: int) -> None:
        start = self.world.now + timedelta(hours=begins)
        terms = self.world.terms(
            not_before=rfc3339(start), not_after=rfc3339(start + timedelta(days=days)), retention_days=keep
        )
        self.attempt(propose, by, pb.ProposeContractRequest(contract_id="edu-person", terms=terms))

    @rule(by=OFFICERS, number=VERSIONS, keep=st.integers(1, 3))
    def counter(self, by: Identity, number: int, keep: int) -> None:
        terms = self.world.terms(retention_days=keep)
        self.attempt(counter, by, pb.CounterContractRequest(name=f"{NAME}@{number}", terms=terms, reason="x"))

    @rule(by=OFFICERS, number=VERSIONS)
    def sign(self, by: Identity, number: int) -> None:
        contract = self.version(number)
        if contract is not None:
            statement = self.world.signature(by, contract)
            request = pb.SignContractRequest(name=contract.name, statement=statement)
            self.attempt(sign, by, request, verifier=self.world.verifier)

    @rule()
    def agree(self) -> None:
        with self.world.ledger.read() as conn:
            newest = get_newest(conn, NAME)
        if newest is not None:
            self.sign(CONSUMER, newest.version)
            self.sign(PROVIDER, newest.version)

    @rule(
        by=OFFICERS,
        number=VERSIONS,
        what=st.sampled_from([(withdraw, pb.WithdrawContractRequest), (suspend, pb.SuspendContractRequest)])
        | st.sampled_from([(resume, pb.ResumeContractRequest), (terminate, pb.TerminateContractRequest)])
        | st.just((reject, pb.RejectContractRequest)),
    )
    def change(self, by: Identity, number: int, what: tuple[Any, Any]) -> None:
        handler, request = what
        self.attempt(handler, by, request(name=f"{NAME}@{number}", reason="x"))

    @rule(resident=RESIDENTS, days=st.integers(1, 4))
    def grant(self, resident: str, days: int) -> None:
        with self.world.ledger.read() as conn:
            row = contracts_in_force(conn, [NAME], self.world.now).get(NAME)
            contract = (
                None if row is None else contract_of(conn, row, self.world.now, self.world.control.rulebook)
            )
        if row is None or contract is None:
            return
        begins = max(self.world.now, row.not_before)
        ends = min(row.not_after, begins + timedelta(days=days))
        if begins < ends:
            request = self.world.consent(contract, resident=resident, not_before=begins, not_after=ends)
            given = self.attempt(
                grant,
                PORTAL,
                request,
                verifier=self.world.verifier,
                tokens=self.world.tokens,
                credentials=self.world.credentials(GATEWAY),
            )
            self.consents += [] if given is None else [given.consent.name]

    @precondition(lambda self: self.consents)
    @rule(
        data=st.data(),
        event=st.sampled_from(
            [
                ConsentEventType.PAUSED,
                ConsentEventType.RESUMED,
                ConsentEventType.REVOKED,
                ConsentEventType.REFUSED,
            ]
        ),
    )
    def change_consent(self, data: st.DataObject, event: ConsentEventType) -> None:
        name = data.draw(st.sampled_from(self.consents))
        self.attempt(
            lambda control, call, name: move(control, call, event, name=name, reason="x"), PORTAL, name
        )

    @precondition(lambda self: self.consents)
    @rule(data=st.data())
    def withdraw_consent(self, data: st.DataObject) -> None:
        request = consent_pb.WithdrawConsentRequest(name=data.draw(st.sampled_from(self.consents)))
        credentials = self.world.credentials(GATEWAY)
        self.attempt(withdraw_consent, PORTAL, request, credentials=credentials)

    @invariant()
    def only_listed_steps_and_states(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.ledger.read() as conn:
            states = self._walk(conn, contract_events, "version", contract_states, "DRAFT")
            stored = {row.version: row.state for row in conn.execute(sa.select(contracts))}
            assert states == stored
            states = self._walk(conn, consent_events, "consent", consent_states, "NEW")
            assert states == {row.name: row.state for row in conn.execute(sa.select(consents))}

    def _walk(
        self, conn: sa.Connection, table: sa.Table, key: str, module: Any, begin: str
    ) -> dict[Any, str]:
        """Follows every event along the table of `module`; returns where each resource came to."""
        transitions = {(str(state), str(event)): str(to) for (state, event), to in module.TRANSITIONS.items()}
        at: dict[Any, str] = {}
        size = len(self.world.records())
        for row in conn.execute(sa.select(table).order_by(table.c.position, table.c.seq)):
            name = getattr(row, key)
            assert row.from_state == at.get(name, begin)
            assert transitions[row.from_state, row.type] == row.to_state
            assert row.position < size
            at[name] = row.to_state
        return at

    @invariant()
    def agreed_versions_never_change_and_one_counts(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.ledger.read() as conn:
            rows = [
                get_version(conn, NAME, row.version)
                for row in conn.execute(sa.select(contracts.c.version).order_by(contracts.c.version))
            ]
            signed: dict[int, list[Any]] = {}
            for each in conn.execute(
                sa.select(contract_signatures).order_by(contract_signatures.c.department)
            ):
                signed.setdefault(each.version, []).append(tuple(each))
        live = 0
        for row in rows:
            assert row is not None
            state = contract_states.effective_state(row, self.world.now)
            # A version agreed ahead of its time waits beside the one that is in force until then.
            live += state in (contract_states.ContractState.ACTIVE, contract_states.ContractState.SUSPENDED)
            assert (row.signatures == row.parties) is (row.state in contract_states.AGREED_ONCE)
            if row.state in contract_states.AGREED_ONCE:
                content = (
                    row.terms_json,
                    row.terms_digest,
                    row.not_before,
                    row.not_after,
                    signed[row.version],
                )
                assert self.agreed.setdefault(row.version, content) == content
        assert live <= 1
        assert sum(row is not None and row.state == "PROPOSED" for row in rows) <= 1

    @invariant()
    def one_consent_speaks_for_a_person(self) -> None:
        if not hasattr(self, "world"):
            return
        with self.world.ledger.read() as conn:
            rows = list(conn.execute(sa.select(consents)))
        current = [(row.contract, row.subject_token) for row in rows if row.current]
        assert len(current) == len(set(current))
        assert all(row.current for row in rows if row.state in ("ACTIVE", "PAUSED"))


TestParties = Parties.TestCase
TestParties.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
