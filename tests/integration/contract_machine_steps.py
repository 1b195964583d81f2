"""What officers, time and the clerk may do to a contract, in any order: the steps of the contract state machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from gateway.catalogue.publish import publish
from gateway.contracts.clerk import ContractClerk
from gateway.contracts.counter import counter
from gateway.contracts.extend import extend_answer
from gateway.contracts.overdue import unwritten
from gateway.contracts.propose import propose
from gateway.contracts.reject import reject
from gateway.contracts.resume import resume
from gateway.contracts.sign import sign
from gateway.contracts.states import ContractEventType as E
from gateway.contracts.supplement import request_supplement, supplement
from gateway.contracts.suspend import suspend
from gateway.contracts.terminate import terminate
from gateway.contracts.view import contract_of
from gateway.contracts.withdraw import withdraw
from gateway.rulebook import Rulebook
from gateway.state.contracts import ContractRow, get_version
from gateway.state.schema import contract_events, contracts
from isthmus.errors import Reason
from isthmus.identity import Identity, Role
from isthmus.terms import instant, rfc3339, timestamp
from isthmus.v1 import catalog_service_pb2
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.control_machine import ControlMachine
from tests.integration.control_world import (
    CONSUMER,
    EDUCATION,
    GATEWAY,
    PROVIDER,
    REGISTRY,
    World,
    party,
    person,
)

NAME = "contracts/edu-person"
OFFICERS = st.sampled_from([CONSUMER, PROVIDER])
PACKS = st.sampled_from(["neutral", "china-809"])
BACK = st.sampled_from([0, 0, 0, 1, 2])
"""How many versions before the newest one."""
COURSE = st.sampled_from(
    ["ask", "supply", "extend", "answer", "agree", "suspend", "resume", "wait", "wait", "clerk"]
)
EXPECTED = {
    Reason.STATE_CONFLICT,
    Reason.NOT_FOUND,
    Reason.TERMS_INVALID,
    Reason.STATEMENT_INVALID,
    Reason.INVALID_ARGUMENT,
    Reason.TWO_PERSON_RULE,
}
CERTIFIED = timedelta(days=340)
"""For how long the parties' certificates count; time goes no further."""
SIGNING = ([E.SIGNED], [E.SIGNED, E.AGREED], [E.SIGNED, E.AGREED, E.ACTIVATED])
rulebook = cache(Rulebook.load)

Happened = list[tuple[int, str]]
"""Events, each as the number of the version and the type."""


class ContractSteps(ControlMachine):
    """Two departments, time and a clerk. Each step of an officer leaves its own events, or none when it is refused."""

    expected = frozenset(EXPECTED)

    @initialize(by=OFFICERS, days=st.sampled_from([2, 40, 90]), pack=PACKS)
    def begin(self, by: Identity, days: int, pack: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.until = self.world.now + CERTIFIED
        request = catalog_service_pb2.PublishDatasetRequest(dataset=person())
        publish(self.world.control, self.call(PROVIDER), request)
        self.world.control.rulebook = rulebook(pack)
        self.propose(by, begins=0, days=days, keep=1)

    def step(
        self, handler: Any, by: Identity, request: Any, *, leaves: Callable[[Happened], bool], **extra: Any
    ) -> None:
        """Calls a handler of contracts and looks at the events: those that `leaves` expects, or none at all."""
        before = len(self.happened())
        done = self.attempt(handler, by, request, **extra)
        found = self.happened()[before:]
        if done is None:
            assert not found, found
        else:
            own = [(row.version, row.type) for row in found if row.actor == by.uri]
            assert leaves(own), own
            assert len(own) + sum(row.actor == "clock" for row in found) == len(found)

    def happened(self) -> Sequence[sa.Row[Any]]:
        with self.world.ledger.read() as conn:
            return conn.execute(sa.select(contract_events).order_by(contract_events.c.seq)).all()

    def rows(self) -> list[ContractRow]:
        """Every version, oldest first."""
        with self.world.ledger.read() as conn:
            numbers = conn.execute(sa.select(contracts.c.version).order_by(contracts.c.version)).scalars()
            found = [get_version(conn, NAME, number) for number in numbers.all()]
        return [row for row in found if row is not None]

    def messages(self) -> list[pb.Contract]:
        rows = self.rows()
        with self.world.ledger.read() as conn:
            return [contract_of(conn, row, self.world.now, self.world.control.rulebook) for row in rows]

    def number(self, back: int) -> int:
        return max(1, len(self.rows()) - back)

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.world.now = min(self.until, self.world.now + timedelta(hours=hours))

    @rule(off=st.sampled_from([timedelta(milliseconds=-1), timedelta(), timedelta(hours=30)]))
    def a_deadline_comes(self, off: timedelta) -> None:
        coming = [each + off for each in self._dates() if self.world.now < each + off < self.until]
        self.world.now = min(coming, default=self.world.now)

    def _dates(self) -> list[datetime]:
        found = self.messages()
        ends = [instant(each.terms.period.not_after) for each in found]
        return ends + [instant(due.due) for each in found for due in each.deadlines if due.HasField("due")]

    @rule(pack=PACKS)
    def new_cases_follow_another_law(self, pack: str) -> None:
        self.world.control.rulebook = rulebook(pack)

    @rule()
    def clerk_writes(self) -> None:
        """One round writes everything, each with its record; a second one finds nothing to record."""
        control, begun = self.world.control, len(self.world.records())
        written = ContractClerk().run(control, lambda: control.call(GATEWAY, "0" * 64, "Clock"))
        assert ContractClerk().run(control, lambda: control.call(GATEWAY, "0" * 64, "Clock")) == 0
        records, events = self.world.records(), self.happened()
        assert len(records) - begun == written
        for position in range(begun, len(records)):
            told = [row.type for row in events if row.position == position]
            assert " ".join(told) == records[position].change["event"] and told
        with self.world.ledger.read() as conn:
            open_ones = [
                row for row in self.rows() if row.state in ("PROPOSED", "AGREED", "ACTIVE", "SUSPENDED")
            ]
            assert not [row for row in open_ones if unwritten(conn, row, control.rulebook, self.world.now)]

    @rule(by=OFFICERS, begins=st.integers(0, 48), days=st.integers(1, 90), keep=st.integers(1, 3))
    def propose(self, by: Identity, begins: int, days: int, keep: int) -> None:
        start = self.world.now + timedelta(hours=begins)
        terms = self.world.terms(
            not_before=rfc3339(start), not_after=rfc3339(start + timedelta(days=days)), retention_days=keep
        )
        request = pb.ProposeContractRequest(contract_id="edu-person", terms=terms)
        number = len(self.rows()) + 1
        self.step(propose, by, request, leaves=lambda own: own == [(number, E.PROPOSED)])

    @rule(by=OFFICERS, back=BACK, keep=st.integers(1, 3))
    def counter(self, by: Identity, back: int, keep: int) -> None:
        number, terms = self.number(back), self.world.terms(retention_days=keep)
        request = pb.CounterContractRequest(name=f"{NAME}@{number}", terms=terms, reason="x")
        both = [(number, E.COUNTERED), (number + 1, E.PROPOSED)]
        self.step(counter, by, request, leaves=lambda own: sorted(own) == both)

    @rule(by=OFFICERS, back=BACK)
    def sign(self, by: Identity, back: int) -> None:
        found = self.messages()
        if not found:
            return
        contract = found[self.number(back) - 1]
        statement = self.world.signature(by, contract)
        request = pb.SignContractRequest(name=contract.name, statement=statement)

        def as_signed(own: Happened) -> bool:
            mine = [type for number, type in own if number == contract.version]
            others = [(number, type) for number, type in own if number != contract.version]
            return mine in SIGNING and all(
                number < contract.version and type == E.SUPERSEDED for number, type in others
            )

        self.step(sign, by, request, leaves=as_signed, verifier=self.world.verifier)

    @rule()
    def agree(self) -> None:
        """By officers who propose nothing, as the two-person rule asks."""
        self.sign(party(Role.OFFICER, EDUCATION, "second"), 0)
        self.sign(party(Role.OFFICER, REGISTRY, "second"), 0)

    @rule(
        by=OFFICERS,
        back=BACK,
        what=st.sampled_from(
            [
                (withdraw, pb.WithdrawContractRequest, E.WITHDRAWN),
                (resume, pb.ResumeContractRequest, E.RESUMED),
                (terminate, pb.TerminateContractRequest, E.TERMINATED),
                (reject, pb.RejectContractRequest, E.REJECTED),
            ]
        ),
    )
    def change(self, by: Identity, back: int, what: tuple[Any, Any, E]) -> None:
        handler, request, event = what
        number = self.number(back)
        request = request(name=f"{NAME}@{number}", reason="x")
        self.step(handler, by, request, leaves=lambda own: own == [(number, event)])

    @rule(by=OFFICERS, back=BACK, days=st.integers(0, 9))
    def suspend(self, by: Identity, back: int, days: int) -> None:
        number = self.number(back)
        request = pb.SuspendContractRequest(name=f"{NAME}@{number}", reason="x")
        if days:
            request.rectify_by.CopyFrom(timestamp(self.world.now + timedelta(days=days)))
        self.step(suspend, by, request, leaves=lambda own: own == [(number, E.SUSPENDED)])

    @rule(by=OFFICERS, back=BACK)
    def ask_for_what_is_missing(self, by: Identity, back: int) -> None:
        number = self.number(back)
        request = pb.RequestSupplementRequest(name=f"{NAME}@{number}", missing="办理依据")
        self.step(
            request_supplement, by, request, leaves=lambda own: own == [(number, E.SUPPLEMENT_REQUESTED)]
        )

    @rule(by=OFFICERS, back=BACK)
    def supply_what_was_missing(self, by: Identity, back: int) -> None:
        number = self.number(back)
        request = pb.SupplementContractRequest(name=f"{NAME}@{number}", supplement="已补充")
        self.step(supplement, by, request, leaves=lambda own: own == [(number, E.SUPPLEMENTED)])

    @rule(by=OFFICERS, back=BACK, amount=st.sampled_from([1, 10, 11]))
    def extend(self, by: Identity, back: int, amount: int) -> None:
        number = self.number(back)
        request = pb.ExtendAnswerRequest(
            name=f"{NAME}@{number}", amount=amount, authority_reference="函1号", reason="x"
        )
        self.step(extend_answer, by, request, leaves=lambda own: own == [(number, E.ANSWER_EXTENDED)])

    @rule(course=st.lists(COURSE, min_size=2, max_size=7))
    def the_newest_case_takes_its_course(self, course: list[str]) -> None:
        """Steps by whoever may take them, so that histories come further than chance alone would bring them."""
        for each in course:
            newest = self.rows()[-1]
            addressee, proposer = (
                (PROVIDER, CONSUMER) if newest.proposer == newest.consumer else (CONSUMER, PROVIDER)
            )
            match each:
                case "ask":
                    self.ask_for_what_is_missing(addressee, 0)
                case "supply":
                    self.supply_what_was_missing(proposer, 0)
                case "extend":
                    self.extend(addressee, 0, 10)
                case "answer":
                    self.sign(party(Role.OFFICER, addressee.department, "second"), 0)
                case "agree":
                    self.agree()
                case "suspend":
                    self.suspend(PROVIDER, 0, 3)
                case "resume":
                    self.change(PROVIDER, 0, (resume, pb.ResumeContractRequest, E.RESUMED))
                case "wait":
                    self.a_deadline_comes(timedelta())
                case _:
                    self.clerk_writes()
