"""Explain: how an exchange would be decided now. It reads what an exchange reads, and asks and records nothing."""

from collections.abc import Callable
from datetime import datetime

from audit.ledger import Ledger
from gateway.exchange.item import Asked
from gateway.exchange.state import Rules, View, read_world
from gateway.policy.engine import Ruling
from isthmus.v1.common_pb2 import DECISION_ALLOW, DECISION_DENY, FieldGrant
from isthmus.v1.exchange_service_pb2 import ExplainResponse, FailedRule
from isthmus.v1.reason_pb2 import Reason as ReasonProto


class Explainer:
    """Answers Explain.

    Args:
        ledger: whose state is read.
        rules: what turns state into decisions.
        clock: returns the present time, UTC-aware.
    """

    def __init__(self, ledger: Ledger, rules: Rules, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._rules = rules
        self._clock = clock

    def explain(self, asked: Asked) -> ExplainResponse:
        """Returns the decision, every rule that would refuse, and what was read.

        Raises:
            InvalidArgument: the subject's identifier is none; an exchange would fail by it.
            LedgerUnavailable: the state cannot be read.
        """
        with self._ledger.read() as connection:
            position = self._ledger.head(connection).size
            world = read_world(connection, [asked], self._rules, now=self._clock())
        view = world.views[0]
        ruling = world.decide(view, self._rules)
        if ruling.allowed and view.subject.fault is not None and asked.identifier:
            raise view.subject.fault
        return _response(view, ruling, digest=self._rules.policy.digest, position=position)


def _response(view: View, ruling: Ruling, *, digest: str, position: int) -> ExplainResponse:
    return ExplainResponse(
        decision=DECISION_ALLOW if ruling.allowed else DECISION_DENY,
        failed_rules=[
            FailedRule(
                rule=each.rule,
                reason=ReasonProto.Value(f"REASON_{each.reason.name}"),
                explanation=each.explanation,
                remedy=each.remedy,
            )
            for each in ruling.failed_rules()
        ],
        contract=view.contract.full_name if view.contract else "",
        consent=view.consent.name if view.consent else "",
        fields=_fields(view) if ruling.allowed else [],
        policy_digest=digest,
        position=position,
    )


def _fields(view: View) -> list[FieldGrant]:
    terms = view.contract.terms["fields"] if view.contract else ()
    transforms = {each["name"]: each["transform"] for each in terms}
    return [FieldGrant(name=name, transform=transforms[name]) for name in view.asked.fields]
