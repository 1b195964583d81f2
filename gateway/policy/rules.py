"""The rules of `exchange.cedar` in words: what is wrong, and what would make it pass.

The words hold no value that a caller sent, so no personal identifier can slip into an error or a record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.policy.facts import ContractFacts, Facts
from isthmus.reasons import Reason

_MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """A forbid: its `@id`, the reason it stands for, and its own words if the policy file gives some."""

    id: str
    reason: Reason
    explanation: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class FailedRule:
    """A rule that refuses an exchange, in words."""

    rule: str
    reason: Reason
    explanation: str
    remedy: str


POLICY_ERROR: Final = Rule("policy-error", Reason.POLICY_ERROR)
"""Stands for an error of the policy engine, and for a state that no rule foresaw."""


def explain(rule: Rule, facts: Facts) -> FailedRule:
    """Returns `rule` in words about `facts`, of which it has refused the exchange."""
    if rule.explanation:
        return FailedRule(rule.id, rule.reason, rule.explanation, rule.remedy or _LOCAL_REMEDY)
    write = _WORDS.get(rule.id, _local)
    return FailedRule(rule.id, rule.reason, *write(facts))


_LOCAL_REMEDY: Final = "ask the operator of the gateway which condition this deployment adds"


def _local(_: Facts) -> tuple[str, str]:
    return "a rule of this deployment refuses it", _LOCAL_REMEDY


def _contract(facts: Facts) -> ContractFacts:
    if facts.contract is None:
        raise ValueError("a rule about the contract speaks only where there is one")
    return facts.contract


def _listed(names: frozenset[str]) -> str:
    some = sorted(names)[:_MAX_LISTED]
    more = len(names) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")


def _fixed(explanation: str, remedy: str) -> Callable[[Facts], tuple[str, str]]:
    return lambda _: (explanation, remedy)


def _of_contract(explanation: str, remedy: str) -> Callable[[Facts], tuple[str, str]]:
    return lambda facts: (explanation.format(contract=_contract(facts).name), remedy)


def _system(facts: Facts) -> tuple[str, str]:
    name = _contract(facts).name
    return f"{facts.system} is not a consumer system of {name}", "agree on a version that lists this system"


def _purpose(facts: Facts) -> tuple[str, str]:
    contract = _contract(facts)
    return (
        f"the stated purpose is not one of {contract.name}",
        f"state one of these purposes, word for word: {_listed(contract.purposes)}",
    )


def _fields(facts: Facts) -> tuple[str, str]:
    contract = _contract(facts)
    count = len(facts.fields - contract.fields)
    return (
        f"{count} of the {len(facts.fields)} requested fields are not in {contract.name}",
        f"ask only for {_listed(contract.fields)}, or agree on a version that holds the others",
    )


def _mode(facts: Facts) -> tuple[str, str]:
    contract = _contract(facts)
    return f"{contract.name} does not allow {facts.mode}", f"it allows {_listed(contract.modes)}"


def _evidence(facts: Facts) -> tuple[str, str]:
    contract = _contract(facts)
    if contract.signed_requests and not facts.request_signed:
        return (
            f"{contract.name} demands signed requests, and this version of Isthmus carries none",
            "agree on a version without evidence.signed_requests",
        )
    return _EVIDENCE.get(contract.legal_basis, _ANY_EVIDENCE)


_CASE: Final = "give the number of the case in case_reference"
_ANY_EVIDENCE: Final = ("this legal basis needs the case that the exchange serves", _CASE)
_EVIDENCE: Final = {
    "LEGAL_OBLIGATION": ("a statutory duty is shown by the case in which it has to be met", _CASE),
    "PUBLIC_TASK": ("a public task is shown by the case in which it is carried out", _CASE),
    "CONTRACT": ("performing a contract with the person is shown by its case", _CASE),
    "VITAL_INTEREST": (
        "a vital interest is shown by the case, or by why this is an emergency",
        f"{_CASE}, or justify the emergency where the contract allows that",
    ),
}


def _break_glass(facts: Facts) -> tuple[str, str]:
    contract = _contract(facts)
    if not contract.break_glass.allowed:
        return (
            f"{contract.name} does not allow emergency use",
            "ask without an emergency, or agree on a version with break_glass",
        )
    return (
        f"{facts.system} is not among the systems that may use {contract.name} in an emergency",
        f"have one of these ask: {_listed(contract.break_glass.systems)}",
    )


def _scheme(facts: Facts) -> tuple[str, str]:
    scheme = facts.dataset.scheme if facts.dataset else ""
    return "the subject's identifier is of another scheme than the dataset's", f"identify it by {scheme}"


def _consent_fields(facts: Facts) -> tuple[str, str]:
    covered = facts.consent.fields & facts.fields if facts.consent else frozenset()
    return (
        f"the consent covers {len(covered)} of the {len(facts.fields)} requested fields",
        f"ask only for {_listed(covered)}, or for a wider consent"
        if covered
        else "ask the person for a consent that covers these fields",
    )


_ASK: Final = "ask the person for a new consent"


def _consent_missing(facts: Facts) -> tuple[str, str]:
    if facts.mode == "STREAM":
        return (
            "the contract rests on the consent of each person, and a stream names nobody who could have given it",
            "name the persons and ask with BatchQuery, which answers for those who have consented",
        )
    return "the contract rests on consent, and the person has given none", _ASK


_WORDS: Final[Mapping[str, Callable[[Facts], tuple[str, str]]]] = {
    POLICY_ERROR.id: _fixed(
        "the policy could not be evaluated, or the state is one that no rule foresees; refused as a precaution",
        "quote the exchange id to the operator of the gateway",
    ),
    "credential-denied": _fixed(
        "this certificate has been denied by an operator", "connect with a certificate that is not denied"
    ),
    "no-contract": _fixed(
        "your department holds no contract of this name",
        "check the name, or propose a contract to the department that holds the data",
    ),
    "contract-not-signed": _of_contract(
        "{contract} is not signed by both departments", "have an officer of each department sign it"
    ),
    "contract-not-yet-valid": _of_contract("{contract} is not in force yet", "wait until its period begins"),
    "contract-expired": _of_contract("the period of {contract} is over", "agree on a new version"),
    "contract-suspended": _of_contract(
        "{contract} is suspended", "have the department that suspended it resume it"
    ),
    "contract-ended": _of_contract("{contract} has ended", "agree on a new version"),
    "system-not-listed": _system,
    "purpose-not-allowed": _purpose,
    "fields-outside-contract": _fields,
    "mode-not-allowed": _mode,
    "evidence-missing": _evidence,
    "break-glass-not-allowed": _break_glass,
    "dataset-unavailable": _fixed(
        "the contract's dataset is not in the catalogue, or was retired",
        "ask its department to publish it again",
    ),
    "dataset-refused": _fixed(
        "the dataset's sharing class forbids sharing it",
        "its department would have to publish it with another sharing class",
    ),
    "scheme-not-allowed": _scheme,
    "consent-missing": _consent_missing,
    "consent-withdrawn": _fixed("the consent was withdrawn or revoked", _ASK),
    "consent-paused": _fixed("the consent is paused", "the person can resume it"),
    "consent-expired": _fixed("the consent is not in force at this time, or its uses are exhausted", _ASK),
    "consent-purpose": _fixed(
        "the consent does not cover the stated purpose", "ask the person for a consent to this purpose"
    ),
    "consent-fields": _consent_fields,
    "consent-mode": _fixed(
        "the consent does not cover this mode of use", "ask the person for a consent to this mode"
    ),
    "consent-terms-changed": _fixed("the consent was given to another version of the contract", _ASK),
    "quota-exhausted": _fixed(
        "a quota of the contract is used up", "wait for its next window, or agree on a larger one"
    ),
}
