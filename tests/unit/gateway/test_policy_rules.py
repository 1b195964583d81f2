"""Every rule refuses what it names, alone, and says so in words."""

import dataclasses
from typing import Any

import pytest

from gateway.policy.engine import PolicyEngine
from gateway.policy.facts import (
    BreakGlass,
    ConsentFacts,
    ContractFacts,
    DatasetFacts,
    Facts,
    select_consent,
)
from isthmus.reasons import Reason

CONTRACT = ContractFacts(
    name="contracts/edu-person@2",
    version=2,
    terms_digest="ab" * 32,
    provider="departments/education",
    dataset="departments/education/datasets/school",
    state="ACTIVE",
    signed_by_both=True,
    begun=True,
    over=False,
    systems=frozenset({"departments/veterans/systems/benefits"}),
    purposes=frozenset({"核对在校情况", "benefit check"}),
    fields=frozenset({"姓名", "school", "year"}),
    modes=frozenset({"QUERY", "VERIFY"}),
    legal_basis="CONSENT",
)
DATASET = DatasetFacts(retired=False, sharing_class="CONDITIONAL", scheme="us.ope")
CONSENT = ConsentFacts(
    state="ACTIVE",
    begun=True,
    over=False,
    contract=CONTRACT.name,
    terms_digest=CONTRACT.terms_digest,
    purposes=CONTRACT.purposes,
    fields=CONTRACT.fields,
    modes=CONTRACT.modes,
)
ALLOWED = Facts(
    system="departments/veterans/systems/benefits",
    consumer="departments/veterans",
    contract_name="contracts/edu-person",
    mode="QUERY",
    purpose="核对在校情况",
    fields=frozenset({"姓名", "year"}),
    scheme="us.ope",
    hour=10,
    weekday=3,
    contract=CONTRACT,
    dataset=DATASET,
    consent=CONSENT,
)


def changed(facts: Facts, **parts: dict[str, Any]) -> Facts:
    changes: dict[str, Any] = dict(parts.pop("own", {}))
    for name, members in parts.items():
        changes[name] = dataclasses.replace(getattr(facts, name), **members)
    return dataclasses.replace(facts, **changes)


def contract(**members: Any) -> Facts:
    return changed(ALLOWED, contract=members)


def consent(**members: Any) -> Facts:
    return changed(ALLOWED, consent=members)


def dataset(**members: Any) -> Facts:
    return changed(ALLOWED, dataset=members)


GLASS = BreakGlass(allowed=True, systems=frozenset({ALLOWED.system}))


def own(**members: Any) -> Facts:
    return changed(ALLOWED, own=members)


CASES: dict[str, tuple[Facts, tuple[Reason, ...]]] = {
    "denied certificate": (own(credential_denied=True), (Reason.CREDENTIAL_DENIED,)),
    "no contract": (own(contract=None, dataset=None, consent=None), (Reason.NO_CONTRACT,)),
    "no contract and a quota": (
        own(contract=None, dataset=None, consent=None, quota_exhausted=True, scheme="", mode="STREAM"),
        (Reason.NO_CONTRACT,),
    ),
    "one signature": (contract(signed_by_both=False, state="PROPOSED"), (Reason.CONTRACT_NOT_SIGNED,)),
    "countered": (contract(signed_by_both=False, state="COUNTERED"), (Reason.CONTRACT_NOT_SIGNED,)),
    "not begun": (contract(begun=False, state="AGREED"), (Reason.CONTRACT_NOT_YET_VALID,)),
    "over": (contract(over=True, state="EXPIRED"), (Reason.CONTRACT_EXPIRED,)),
    "over though stored as active": (contract(over=True), (Reason.CONTRACT_EXPIRED,)),
    "suspended": (contract(state="SUSPENDED"), (Reason.CONTRACT_SUSPENDED,)),
    "terminated": (contract(state="TERMINATED"), (Reason.CONTRACT_ENDED,)),
    "superseded": (contract(state="SUPERSEDED"), (Reason.CONTRACT_ENDED,)),
    "rejected": (contract(state="REJECTED"), (Reason.CONTRACT_ENDED,)),
    "withdrawn proposal": (contract(state="WITHDRAWN"), (Reason.CONTRACT_ENDED,)),
    "another system": (own(system="departments/veterans/systems/x"), (Reason.SYSTEM_NOT_LISTED,)),
    "another purpose": (
        changed(ALLOWED, own={"purpose": "marketing"}, consent={"purposes": frozenset({"marketing"})}),
        (Reason.PURPOSE_NOT_ALLOWED,),
    ),
    "a field too many": (
        changed(
            ALLOWED,
            own={"fields": frozenset({"year", "secret"})},
            consent={"fields": frozenset({"year", "secret"})},
        ),
        (Reason.FIELDS_OUTSIDE_CONTRACT,),
    ),
    "another mode": (contract(modes=frozenset({"VERIFY"})), (Reason.MODE_NOT_ALLOWED,)),
    "no case": (contract(legal_basis="PUBLIC_TASK"), (Reason.EVIDENCE_MISSING,)),
    "unsigned request": (contract(signed_requests=True), (Reason.EVIDENCE_MISSING,)),
    "no catalogue entry": (own(dataset=None), (Reason.DATASET_UNAVAILABLE,)),
    "retired": (dataset(retired=True), (Reason.DATASET_UNAVAILABLE,)),
    "never shared": (dataset(sharing_class="REFUSED"), (Reason.DATASET_REFUSED,)),
    "another scheme": (dataset(scheme="cn.resident-id"), (Reason.SCHEME_NOT_ALLOWED,)),
    "no consent": (own(consent=None), (Reason.CONSENT_MISSING,)),
    "asked only": (consent(state="REQUESTED"), (Reason.CONSENT_MISSING,)),
    "refused": (consent(state="REFUSED"), (Reason.CONSENT_MISSING,)),
    "lapsed": (consent(state="LAPSED"), (Reason.CONSENT_MISSING,)),
    "superseded consent": (consent(state="SUPERSEDED"), (Reason.CONSENT_MISSING,)),
    "invalidated consent": (consent(state="INVALIDATED"), (Reason.CONSENT_MISSING,)),
    "withdrawn": (consent(state="WITHDRAWN"), (Reason.CONSENT_WITHDRAWN,)),
    "revoked": (consent(state="REVOKED"), (Reason.CONSENT_WITHDRAWN,)),
    "paused": (consent(state="PAUSED"), (Reason.CONSENT_PAUSED,)),
    "expired": (consent(state="EXPIRED"), (Reason.CONSENT_EXPIRED,)),
    "exhausted": (consent(state="EXHAUSTED"), (Reason.CONSENT_EXPIRED,)),
    "consent not begun": (consent(begun=False), (Reason.CONSENT_EXPIRED,)),
    "consent over": (consent(over=True), (Reason.CONSENT_EXPIRED,)),
    "consent to another purpose": (
        consent(purposes=frozenset({"benefit check"})),
        (Reason.CONSENT_PURPOSE,),
    ),
    "consent to fewer fields": (consent(fields=frozenset({"year"})), (Reason.CONSENT_FIELDS,)),
    "consent to no field asked": (consent(fields=frozenset({"school"})), (Reason.CONSENT_FIELDS,)),
    "consent to another mode": (consent(modes=frozenset({"VERIFY"})), (Reason.CONSENT_MODE,)),
    "consent to another version": (
        consent(contract="contracts/edu-person@1"),
        (Reason.CONSENT_TERMS_CHANGED,),
    ),
    "consent to other terms": (consent(terms_digest="cd" * 32), (Reason.CONSENT_TERMS_CHANGED,)),
    "an emergency that the contract does not provide for": (
        own(emergency=True),
        (Reason.BREAK_GLASS_NOT_ALLOWED,),
    ),
    "an emergency of a system that is not listed for it": (
        changed(
            ALLOWED, own={"emergency": True}, contract={"break_glass": BreakGlass(True, frozenset({"other"}))}
        ),
        (Reason.BREAK_GLASS_NOT_ALLOWED,),
    ),
    "a system listed for emergencies that are not allowed": (
        changed(
            ALLOWED,
            own={"emergency": True},
            contract={"break_glass": dataclasses.replace(GLASS, allowed=False)},
        ),
        (Reason.BREAK_GLASS_NOT_ALLOWED,),
    ),
    "no consent, and an emergency only in the contract": (
        changed(ALLOWED, own={"consent": None}, contract={"break_glass": GLASS}),
        (Reason.CONSENT_MISSING,),
    ),
    "an emergency under a quota that is used up": (
        changed(ALLOWED, own={"emergency": True, "quota_exhausted": True}, contract={"break_glass": GLASS}),
        (Reason.QUOTA_EXHAUSTED,),
    ),
    "an emergency without the case of a public task": (
        changed(
            ALLOWED,
            own={"emergency": True},
            contract={"break_glass": GLASS, "legal_basis": "PUBLIC_TASK"},
        ),
        (Reason.EVIDENCE_MISSING,),
    ),
    "quota": (own(quota_exhausted=True), (Reason.QUOTA_EXHAUSTED,)),
    "a state nobody foresaw": (contract(state="LIMBO"), (Reason.POLICY_ERROR,)),
    "a consent state nobody foresaw": (consent(state="LIMBO"), (Reason.POLICY_ERROR,)),
    "a basis nobody foresaw": (
        changed(ALLOWED, own={"case_reference_given": True}, contract={"legal_basis": "CURIOSITY"}),
        (Reason.POLICY_ERROR,),
    ),
    "a sharing class nobody foresaw": (dataset(sharing_class=""), (Reason.POLICY_ERROR,)),
    "no field asked": (own(fields=frozenset()), (Reason.POLICY_ERROR,)),
    "a mode nobody foresaw": (
        changed(
            ALLOWED,
            own={"mode": "COPY"},
            contract={"modes": frozenset({"COPY"})},
            consent={"modes": frozenset({"COPY"})},
        ),
        (Reason.POLICY_ERROR,),
    ),
}


@pytest.fixture(scope="module")
def engine() -> PolicyEngine:
    return PolicyEngine()


def test_what_meets_every_condition_is_allowed(engine: PolicyEngine) -> None:
    ruling = engine.decide(ALLOWED)
    assert ruling.allowed and ruling.reasons == () and ruling.failed_rules() == ()


@pytest.mark.parametrize("basis", ["LEGAL_OBLIGATION", "PUBLIC_TASK", "VITAL_INTEREST", "CONTRACT"])
def test_consent_is_asked_only_where_it_is_the_basis(engine: PolicyEngine, basis: str) -> None:
    facts = changed(
        ALLOWED, own={"consent": None, "case_reference_given": True}, contract={"legal_basis": basis}
    )
    assert engine.decide(facts).allowed


@pytest.mark.parametrize("state", [None, "WITHDRAWN", "REQUESTED", "LIMBO"])
def test_an_emergency_that_the_contract_allows_stands_in_for_the_consent(
    engine: PolicyEngine, state: str | None
) -> None:
    given = None if state is None else dataclasses.replace(CONSENT, state=state)
    facts = changed(ALLOWED, own={"emergency": True, "consent": given}, contract={"break_glass": GLASS})
    assert engine.decide(facts).allowed


def test_a_vital_interest_is_shown_by_a_case_or_by_an_emergency(engine: PolicyEngine) -> None:
    vital = contract(legal_basis="VITAL_INTEREST", break_glass=GLASS)
    assert engine.decide(vital).reasons == (Reason.EVIDENCE_MISSING,)
    assert "emergency" in engine.decide(vital).failed_rules()[0].remedy
    assert engine.decide(dataclasses.replace(vital, emergency=True)).allowed
    assert engine.decide(dataclasses.replace(vital, case_reference_given=True)).allowed


@pytest.mark.parametrize(("facts", "reasons"), CASES.values(), ids=CASES.keys())
def test_each_condition_refuses_alone_and_in_words(
    engine: PolicyEngine, facts: Facts, reasons: tuple[Reason, ...]
) -> None:
    ruling = engine.decide(facts)
    assert ruling.reasons == reasons
    for failed in ruling.failed_rules():
        assert failed.explanation and failed.remedy
        # The policy error never echoes anything; the others may name what the contract itself holds.
        assert "secret" not in failed.explanation + failed.remedy


def test_all_that_fails_is_reported_not_only_the_first(engine: PolicyEngine) -> None:
    facts = changed(
        ALLOWED,
        own={"purpose": "x", "quota_exhausted": True, "credential_denied": True},
        contract={"state": "SUSPENDED"},
        dataset={"retired": True},
        consent={"state": "PAUSED"},
    )
    assert engine.decide(facts).reasons == (
        Reason.CREDENTIAL_DENIED,
        Reason.CONTRACT_SUSPENDED,
        Reason.PURPOSE_NOT_ALLOWED,
        Reason.DATASET_UNAVAILABLE,
        Reason.CONSENT_PAUSED,
        Reason.CONSENT_PURPOSE,
        Reason.QUOTA_EXHAUSTED,
    )


def test_every_reason_of_the_policy_has_a_rule_and_a_case(engine: PolicyEngine) -> None:
    of_policy = {reason for reason in Reason if 10 <= reason <= 60} | {Reason.CREDENTIAL_DENIED}
    of_policy -= {Reason.RATE_LIMITED}
    assert {reason for _, reasons in CASES.values() for reason in reasons} == of_policy


def pick(*consents: ConsentFacts) -> ConsentFacts | None:
    return select_consent(
        consents, CONTRACT, mode=ALLOWED.mode, purpose=ALLOWED.purpose, fields=ALLOWED.fields
    )


def test_the_consent_that_allows_is_preferred_to_newer_ones_that_do_not() -> None:
    other = dataclasses.replace(CONSENT, name="b", position=9, purposes=frozenset({"benefit check"}))
    gone = dataclasses.replace(CONSENT, name="c", position=10, state="WITHDRAWN")
    fits = dataclasses.replace(CONSENT, name="a", position=1)
    assert pick(other, fits, gone) is fits
    assert pick(gone, other) is other
    assert pick() is None


def test_between_equals_the_newest_consent_speaks() -> None:
    older = dataclasses.replace(CONSENT, name="a", position=1, state="PAUSED")
    newer = dataclasses.replace(CONSENT, name="b", position=2, state="WITHDRAWN")
    assert pick(newer, older) is newer
