"""Anything the parties may do, in any order, while time passes: no state and no step that the tables do not know."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from gateway.consents import states as consent_states
from gateway.consents.grant import grant
from gateway.consents.move import move
from gateway.consents.states import ConsentEventType
from gateway.consents.withdraw import withdraw as withdraw_consent
from gateway.contracts import states as contract_states
from gateway.contracts.deadlines import Deadline, DeadlineKind
from gateway.contracts.overdue import deadlines_of
from gateway.contracts.view import contract_of
from gateway.state.contracts import ContractRow
from gateway.state.in_force import contracts_in_force
from gateway.state.schema import consent_events, consents, contract_events, contract_signatures, contracts
from gateway.state_metrics import StateCollector
from isthmus.v1 import consent_service_pb2 as consent_pb
from tests.integration.contract_machine_steps import NAME, ContractSteps
from tests.integration.control_world import GATEWAY, PORTAL, REGISTRY

pytestmark = pytest.mark.integration

RESIDENTS = st.sampled_from(["110101199003072316", "110101198001011234"])


class Parties(ContractSteps):
    """Officers, time, a clerk, and a portal that do whatever they like."""

    @initialize()
    def begin_watching(self) -> None:
        self.proposed: dict[int, tuple[Any, ...]] = {}
        self.agreed: dict[int, list[Any]] = {}
        self.consents: list[str] = []

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
        size = self.world.ledger.newest().size
        for row in conn.execute(sa.select(table).order_by(table.c.position, table.c.seq)):
            name = getattr(row, key)
            assert row.from_state == at.get(name, begin)
            assert transitions[row.from_state, row.type] == row.to_state
            assert row.position < size
            at[name] = row.to_state
        return at

    @invariant()
    def what_was_proposed_and_signed_never_changes_and_one_counts(self) -> None:
        if not hasattr(self, "world"):
            return
        rows, signed = self.rows(), dict[int, list[Any]]()
        with self.world.ledger.read() as conn:
            query = sa.select(contract_signatures).order_by(contract_signatures.c.department)
            for each in conn.execute(query):
                signed.setdefault(each.version, []).append(tuple(each))
        for row in rows:
            assert hashlib.sha256(row.terms_json.encode()).hexdigest() == row.terms_digest
            content = (row.terms_json, row.terms_digest, row.not_before, row.not_after, row.rule_pack)
            assert self.proposed.setdefault(row.version, content) == content
            assert (row.signatures == row.parties) is (row.state in contract_states.AGREED_ONCE)
            if row.state in contract_states.AGREED_ONCE:
                assert self.agreed.setdefault(row.version, signed[row.version]) == signed[row.version]
        states = Counter(contract_states.effective_state(row, self.world.now).value for row in rows)
        # A version agreed ahead of its time waits beside the one that is in force until then.
        assert states["ACTIVE"] + states["SUSPENDED"] <= 1
        assert states["PROPOSED"] <= 1

    @invariant()
    def deadlines_are_missed_once_and_answers_end_them(self) -> None:
        if not hasattr(self, "world"):
            return
        happened = self.happened()
        owed = 0
        for row in self.rows():
            told = Counter(each.type for each in happened if each.version == row.version)
            assert told["SUPPLEMENTED"] <= told["SUPPLEMENT_REQUESTED"] <= 1
            assert max(told["ANSWER_EXTENDED"], told["ANSWER_OVERDUE"], told["PROVIDE_OVERDUE"]) <= 1
            assert told["RECTIFY_OVERDUE"] <= told["SUSPENDED"]
            answer = self._answer(row)
            # What is late stays late, and is told as late, whatever is done about it afterwards.
            if told["ANSWER_OVERDUE"] or row.state != "PROPOSED" or row.answered_at is not None:
                assert answer.overdue is bool(told["ANSWER_OVERDUE"])
            owed += (
                row.state == "PROPOSED"
                and row.proposer == row.consumer
                and answer.overdue
                and answer.met_at is None
            )
        assert self._reported() == owed

    def _answer(self, row: ContractRow) -> Deadline:
        with self.world.ledger.read() as conn:
            found = deadlines_of(conn, row, self.world.control.rulebook, self.world.now)
        return next(each for each in found if each.kind is DeadlineKind.ANSWER)

    def _reported(self) -> float:
        """What the metric says of the provider; a provider without a contract has none."""
        registry = CollectorRegistry()
        rulebook = self.world.control.rulebook
        registry.register(StateCollector(self.world.ledger, self.world.clock, rulebook=rulebook))
        found = registry.get_sample_value("isthmus_contract_answers_overdue", {"provider": REGISTRY})
        return found or 0

    @invariant()
    def history_goes_forward(self) -> None:
        if not hasattr(self, "world"):
            return
        last = dict[int, int]()
        for each in self.happened():
            assert last.get(each.version, 0) <= each.at
            last[each.version] = each.at

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
TestParties.settings = settings(max_examples=14, stateful_step_count=25, deadline=None)
