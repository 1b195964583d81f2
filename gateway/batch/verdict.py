"""What is decided about a batch: as a whole, where a rule refuses it whoever it is about, and then about each subject."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from gateway.batch.state import State, rests_on_consent
from gateway.exchange.ending import Ending, abandoned, failed, refused
from gateway.exchange.item import Exchange
from gateway.exchange.state import Rules, View
from gateway.policy.facts import ConsentFacts
from gateway.quotas import used_up
from isthmus.reasons import Reason

_SUBJECT: Final = "SUBJECT"
_ACTIVE: Final = "ACTIVE"


class Verdict(NamedTuple):
    """What is decided about one subject: ALLOW, or DENY or ERROR with every reason; `rules` are ids of the policy."""

    decision: str
    reasons: tuple[Reason, ...] = ()
    rules: tuple[str, ...] = ()


ALLOWED: Final = Verdict("ALLOW")
NO_IDENTIFIER: Final = Verdict("ERROR", (Reason.INVALID_ARGUMENT,))
QUOTA: Final = Verdict("DENY", (Reason.QUOTA_EXHAUSTED,), ("quota-exhausted",))
CHANGED: Final = Verdict("ERROR", (Reason.STATE_CONFLICT,))
"""It was refused when the department was asked, and would be allowed now: it was never asked for."""
VETOED: Final = Verdict("DENY", (Reason.PROVIDER_VETO,), ("provider-veto",))


def whole(state: State, exchange: Exchange, rules: Rules) -> Ending | None:
    """How the batch ends as a whole: its caller has gone, or a rule refuses it whoever it is about; else None.

    That is asked of the policy with a consent that covers everything, so that what it still refuses no consent helps.
    """
    world, view = state.world, state.view
    if gone := exchange.gone(world.now):
        return abandoned(gone, exchange=exchange.name)
    if view.damage is not None:
        return failed(view.damage.reason, view.damage.message, exchange=exchange.name)
    asked = replace(view.asked, scheme=view.dataset.subject_scheme if view.dataset else _scheme(state))
    shared = tuple(each for each in view.limits if each.counter.scope != _SUBJECT)
    ruling = world.decide(replace(view, asked=asked, limits=shared, consent=_ideal(state), uses=None), rules)
    if ruling.allowed:
        return None
    quota = used_up(shared, world.usage, rows=None)
    return refused(ruling.failed_rules(), exchange=exchange.name, quota=quota, now=world.now)


def _scheme(state: State) -> str:
    return state.people.persons[0].scheme if state.people.persons else ""


def _ideal(state: State) -> ConsentFacts | None:
    view = state.view
    if view.contract is None or not rests_on_consent(state.world, view):
        return None
    contract = state.world.contracts[view.contract.name]
    return ConsentFacts(
        state=_ACTIVE,
        begun=True,
        over=False,
        contract=contract.name,
        terms_digest=contract.terms_digest,
        purposes=frozenset({view.asked.purpose}),
        fields=frozenset(view.asked.fields),
        modes=frozenset({view.asked.mode.value}),
    )


@dataclass(slots=True)
class Judge:
    """Decides about the subjects of one state; the policy is asked once for all who stand alike."""

    state: State
    rules: Rules

    def people(self) -> list[Verdict]:
        """Returns the verdict about each person, quotas left aside."""
        remembered: dict[tuple[str, int], Verdict] = {}
        every, verdicts = self.state.facts(), list[Verdict]()
        for person, facts in zip(self.state.people.persons, every, strict=True):
            # By identity, which is quicker than by content: consents that decide alike share their facts.
            key = (person.scheme, id(facts))
            verdict = remembered.get(key)
            if verdict is None:
                verdict = remembered[key] = self._ask(person.scheme, facts)
            verdicts.append(verdict)
        return verdicts

    def _ask(self, scheme: str, facts: ConsentFacts | None) -> Verdict:
        view: View = self.state.view
        asked = replace(view.asked, scheme=scheme)
        ruling = self.state.world.decide(
            replace(view, asked=asked, consent=facts, limits=(), uses=None), self.rules
        )
        if ruling.allowed:
            return ALLOWED
        return Verdict("DENY", ruling.reasons, tuple(rule.id for rule in ruling.rules))


def admitted(state: State, rules: Rules) -> tuple[list[Verdict], list[int]]:
    """Returns the verdict about each person of a state before the department is asked, and whom it is asked about.

    Where the quotas suffice for the first of them only, the others are refused.
    """
    verdicts = Judge(state, rules).people()
    asked: list[int] = []
    for number, verdict in enumerate(verdicts):
        if verdict is not ALLOWED:
            continue
        person = state.people.persons[number]
        if state.purse.take(person.token, state.uses(number), rows=None) is None:
            asked.append(number)
        else:
            verdicts[number] = QUOTA
    return verdicts, asked


def spread(state: State, verdict: Verdict) -> list[Verdict]:
    """The same verdict about everybody."""
    return [verdict] * len(state.people.persons)


def of_ending(ending: Ending) -> Verdict:
    """The verdict about each subject of a batch that ended as a whole."""
    return Verdict(ending.decision, tuple(ending.reasons), ending.rules)


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many were allowed, and how many refused for each reason, the first of several: `outcomes` of the record."""
    found: dict[str, int] = {}
    for verdict in verdicts:
        name = verdict.decision if not verdict.reasons else verdict.reasons[0].name
        found[name] = found.get(name, 0) + 1
    return found
