"""Plays a story, one step after the other."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from isthmus.client import ReceiptError
from isthmus.demo.actions import (
    ALLOW,
    DENY,
    HANDSHAKE_REFUSED,
    Ask,
    AwaitExpiry,
    AwaitOverdue,
    Change,
    ChangeConsent,
    Counter,
    DenyCertificate,
    Propose,
    Resume,
    ReviewEmergency,
    Sign,
    Step,
    Suspend,
)
from isthmus.demo.desk import Desk
from isthmus.demo.errors import DemoError
from isthmus.demo.handshake import greets
from isthmus.demo.outcome import (
    ERROR,
    Foretold,
    Outcome,
    Played,
    differences,
    foretold,
    refusal,
    test_value,
)
from isthmus.demo.parties import GATEWAY, PORTAL, officer
from isthmus.demo.scenario import Contract
from isthmus.errors import IsthmusError, Reason
from isthmus.terms import instant
from isthmus.v1.common_pb2 import Decision
from isthmus.v1.contract_service_pb2 import CONTRACT_STATE_EXPIRED

_POLL_S: Final = 0.1
_OVERDUE: Final = "ANSWER_OVERDUE"
_LATE: Final = timedelta(seconds=15)
_HANDSHAKE: Final = Outcome(
    decision=DENY,
    reasons=frozenset({HANDSHAKE_REFUSED}),
    words="the gateway ended the TLS handshake; with a certificate of its own authority the same system is greeted",
)


class Player:
    """Plays steps.

    Args:
        desk: the parties.
        gateway: the gateway's address.
        deny: denies the certificate with a thumbprint, for a reason.
    """

    def __init__(self, desk: Desk, gateway: str, *, deny: Callable[[str, str], None]) -> None:
        self._desk = desk
        self._gateway = gateway
        self._deny = deny

    def play(self, step: Step) -> Played:
        """Plays a step.

        Raises:
            DemoError: a change that must succeed was refused.
        """
        action = step.action
        if isinstance(action, Ask):
            outcome = self._ask(action)
        elif isinstance(action, Propose):
            outcome = self._propose(action.contract)
        else:
            outcome = self._change(step, action)
        return Played(step, outcome, () if step.expected is None else differences(step.expected, outcome))

    def _change(self, step: Step, action: Change) -> Outcome:
        try:
            words = self._perform(action)
        except IsthmusError as error:
            raise DemoError(f"{step.name}: refused: {error.message}") from error
        return Outcome(decision=ALLOW, words=words or getattr(action, "reason", ""))

    def _perform(self, action: Change) -> str:
        """Does it; returns what there is to tell beyond the reason given for it."""
        match action:
            case Sign(contract, department, by):
                self._desk.sign(contract, department, by)
            case Counter(contract, reason):
                terms = contract.document(datetime.now(UTC))
                name = self._desk.get(contract).name
                self._contracts(contract).counter(name, terms, reason=reason)
            case ReviewEmergency(contract, finding):
                self._review(contract, finding)
            case Suspend(contract, reason):
                self._contracts(contract).suspend(self._desk.get(contract).name, reason=reason)
            case Resume(contract, reason):
                self._contracts(contract).resume(self._desk.get(contract).name, reason=reason)
            case AwaitExpiry(contract):
                self._await_expiry(contract)
            case AwaitOverdue(contract):
                return self._await_overdue(contract)
            case DenyCertificate(who, reason):
                self._deny(self._desk.parties.credentials(who).thumbprint, reason)
            case ChangeConsent(verb, key, reason):
                change: Callable[..., Any] = getattr(self._desk.client(PORTAL).consents, verb.lower())
                change(self._desk.consent_name(key), reason=reason)
        return ""

    def _contracts(self, contract: Contract) -> Any:
        return self._desk.client(officer(contract.provider)).contracts

    def _review(self, contract: Contract, finding: str) -> None:
        emergencies = self._desk.client(officer(contract.provider)).emergencies
        waiting = list(emergencies.list(contract=f"contracts/{contract.id}", unreviewed=True))
        if not waiting:
            raise DemoError(f"contracts/{contract.id} should have an emergency use to review, and has none")
        for use in waiting:
            emergencies.review(use.exchange, justified=True, finding=finding)

    def _await_expiry(self, contract: Contract) -> None:
        deadline = time.monotonic() + (contract.lasts + _LATE).total_seconds()
        while self._desk.get(contract).state != CONTRACT_STATE_EXPIRED:
            if time.monotonic() > deadline:
                raise DemoError(f"contracts/{contract.id} should have expired by now, and has not")
            time.sleep(_POLL_S)

    def _await_overdue(self, contract: Contract) -> str:
        deadline = time.monotonic() + _LATE.total_seconds()
        consumer = self._desk.client(officer(contract.consumer)).contracts
        name = f"contracts/{contract.id}"
        while not any(each.type == _OVERDUE for each in consumer.events(name)):
            if time.monotonic() > deadline:
                raise DemoError(f"{name} should be overdue by now, and is not")
            time.sleep(_POLL_S)
        answer = next(each for each in self._desk.get(contract).deadlines if each.overdue)
        return f"due {instant(answer.due):%Y-%m-%d}; {answer.rule}"

    def _propose(self, contract: Contract) -> Outcome:
        try:
            self._desk.propose(contract)
        except IsthmusError as error:
            return refusal(error)
        return Outcome(decision=ALLOW)

    def _ask(self, ask: Ask) -> Outcome:
        if ask.foreign:
            return self._ask_as_stranger(ask)
        # Nobody explains a batch: each of its subjects would be a question of its own.
        explained = self._explain(ask) if "/system/" in ask.who and not ask.others else None
        how = self._verify if ask.test else self._batch if ask.others else self._query
        try:
            outcome = how(ask)
        except IsthmusError as error:
            outcome = refusal(error)
        return foretold(outcome, explained)

    def _query(self, ask: Ask) -> Outcome:
        client = self._desk.client(ask.who)
        result = client.exchange.query(**_arguments(ask), fields=ask.fields)
        try:
            client.verify_receipt(result)
        except ReceiptError as error:
            return Outcome(decision=ERROR, words=f"the provider's receipt is refused: {error}")
        return Outcome(
            decision=ALLOW, exchange=result.exchange, known=result.subject_known, rows=tuple(result.rows)
        )

    def _verify(self, ask: Ask) -> Outcome:
        result = self._desk.client(ask.who).exchange.verify(**_arguments(ask), predicate=_predicate(ask))
        return Outcome(decision=ALLOW, exchange=result.exchange, verdict=result.verdict)

    def _batch(self, ask: Ask) -> Outcome:
        arguments = _arguments(ask)
        del arguments["subject"]
        subjects = [(each.scheme, each.id) for each in (ask.subject, *ask.others)]
        result = self._desk.client(ask.who).exchange.batch(**arguments, subjects=subjects, fields=ask.fields)
        each = tuple("ALLOW" if item.allowed else item.reasons[0].name for item in result.items)
        return Outcome(decision=ALLOW, exchange=result.exchange, each=each)

    def _explain(self, ask: Ask) -> Foretold | None:
        asked = {"predicate": _predicate(ask)} if ask.test else {"fields": ask.fields}
        try:
            answer = self._desk.client(ask.who).exchange.explain(**_arguments(ask), **asked)
        except IsthmusError as error:
            if Reason.CREDENTIAL_DENIED in error.reasons:
                return None  # whoever lost its certificate is told nothing in advance
            return Foretold(ERROR, frozenset(reason.name for reason in error.reasons))
        reasons = frozenset(Reason(rule.reason).name for rule in answer.failed_rules)
        return Foretold(Decision.Name(answer.decision).removeprefix("DECISION_"), reasons)

    def _ask_as_stranger(self, ask: Ask) -> Outcome:
        """Asks with a certificate of another authority; when that fails, looks below gRPC for the reason."""
        client = self._desk.client(ask.who, foreign=True)
        try:
            result = client.exchange.query(**_arguments(ask), fields=ask.fields)
        except IsthmusError as error:
            stranger, known = self._greeted(ask.who, foreign=True), self._greeted(ask.who, foreign=False)
            return _HANDSHAKE if known and not stranger else refusal(error)
        return Outcome(decision=ALLOW, exchange=result.exchange, known=result.subject_known)

    def _greeted(self, who: str, *, foreign: bool) -> bool:
        certificate, key, ca = self._desk.parties.files(who, foreign=foreign)
        server = self._desk.parties.identity(GATEWAY)
        return greets(self._gateway, server, certificate=certificate, key=key, ca=ca)


def _arguments(ask: Ask) -> dict[str, Any]:
    return {
        "contract": f"contracts/{ask.contract}",
        "purpose": ask.purpose,
        "subject": (ask.subject.scheme, ask.subject.id),
        "case_reference": ask.case,
        "emergency": ask.emergency,
    }


def _predicate(ask: Ask) -> tuple[str, str, Any]:
    assert ask.test is not None
    return ask.test.field, ask.test.operator, test_value(ask.test)
