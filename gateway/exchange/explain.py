"""Explain: how an exchange would be decided now. It reads what an exchange reads, asks nobody, and is a record itself:
who wants to know how it stands about a person leaves as much of a trace as who asks for data.
"""

from audit.ledger import Ledger, Transaction
from gateway.exchange.item import Asked
from gateway.exchange.records import lookup_record
from gateway.exchange.state import Rules, View, read_world
from gateway.policy.engine import Ruling
from isthmus.errors import IsthmusError, PermissionDenied
from isthmus.ids import new_exchange
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import DECISION_ALLOW, DECISION_DENY, FieldGrant
from isthmus.v1.exchange_service_pb2 import ExplainResponse, FailedRule
from isthmus.v1.reason_pb2 import Reason as ReasonProto


class Explainer:
    """Answers Explain.

    Args:
        ledger: whose state is read, and where the lookup is recorded.
        rules: what turns state into decisions.
    """

    def __init__(self, ledger: Ledger, rules: Rules) -> None:
        self._ledger = ledger
        self._rules = rules

    def explain(self, asked: Asked, *, patience: float | None = None) -> ExplainResponse:
        """Returns the decision, every rule that would refuse, and what was read; all of it once it is recorded.

        Args:
            asked: the exchange that is thought of.
            patience: for how many seconds the caller waits; the ledger's own limit unless given.

        Raises:
            PermissionDenied: CREDENTIAL_DENIED, nothing is explained to a certificate that was denied.
            InvalidArgument: the subject's identifier is none; an exchange would fail by it.
            IsthmusError: INTERNAL, the stored terms of the contract are damaged.
            Unavailable: the state cannot be read, or the lookup not recorded; or this gateway itself is denied.
        """
        found = self._ledger.transact(lambda tx: self._look(tx, asked), deadline_s=patience).value
        if isinstance(found, IsthmusError):
            raise found
        return found

    def _look(self, tx: Transaction, asked: Asked) -> ExplainResponse | IsthmusError:
        world = read_world(tx.connection, [asked], self._rules, now=tx.now)
        view = world.views[0]
        ruling = world.decide(view, self._rules)
        denied = asked.certificate in world.denied
        fault = _credential_denied(asked) if denied else _fault(view, ruling)
        exchange = str(new_exchange(tx.now))
        if fault is not None:
            fault.exchange = exchange
        tx.append(lookup_record(exchange, view, ruling, fault=fault, rules=self._rules, now=tx.now))
        return fault or _response(view, ruling, digest=self._rules.policy.digest, position=tx.base)


def _credential_denied(asked: Asked) -> PermissionDenied:
    words = f"the certificate {asked.certificate[:16]}… was denied; {asked.system} needs a new one"
    return PermissionDenied(Reason.CREDENTIAL_DENIED, words)


def _fault(view: View, ruling: Ruling) -> IsthmusError | None:
    if view.damage is not None:
        return view.damage
    return view.subject.fault if ruling.allowed and view.asked.identifier else None


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
        # Only one that the caller may rest on now: a consent that is paused, or covers something else, is not its to know.
        consent=view.consent.name if view.consent and ruling.allowed else "",
        fields=_fields(view) if ruling.allowed else [],
        policy_digest=digest,
        position=position,
    )


def _fields(view: View) -> list[FieldGrant]:
    terms = view.contract.terms["fields"] if view.contract else ()
    transforms = {each["name"]: each["transform"] for each in terms}
    return [FieldGrant(name=name, transform=transforms[name]) for name in view.asked.fields]
