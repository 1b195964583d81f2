"""Cedar against an independent reading of the same rules in plain Python, on generated facts."""

import random
from typing import Any

import pytest

from gateway.policy.engine import PolicyEngine
from gateway.policy.facts import BreakGlass, ConsentFacts, ContractFacts, DatasetFacts, Facts
from isthmus.reasons import Reason

SEEDS = (20260301, 20260302, 20260303, 20260304)
COUNT = 25_000
"""Generated facts for each seed: a hundred thousand in all."""
FIELDS = ("姓名", "income", "year")
SYSTEM = "departments/va/systems/s"


def reference(facts: Facts) -> set[Reason]:
    """The rules, written without looking at how Cedar evaluates them."""
    found = set()
    if facts.credential_denied:
        found.add(Reason.CREDENTIAL_DENIED)
    contract, dataset, consent = facts.contract, facts.dataset, facts.consent
    if contract is None:
        return found | {Reason.NO_CONTRACT}
    checks = {
        Reason.CONTRACT_NOT_SIGNED: not contract.signed_by_both,
        Reason.CONTRACT_NOT_YET_VALID: not contract.begun,
        Reason.CONTRACT_EXPIRED: contract.over or contract.state == "EXPIRED",
        Reason.CONTRACT_SUSPENDED: contract.state == "SUSPENDED",
        Reason.CONTRACT_ENDED: contract.state in {"TERMINATED", "SUPERSEDED", "REJECTED", "WITHDRAWN"},
        Reason.SYSTEM_NOT_LISTED: facts.system not in contract.systems,
        Reason.PURPOSE_NOT_ALLOWED: facts.purpose not in contract.purposes,
        Reason.FIELDS_OUTSIDE_CONTRACT: bool(facts.fields - contract.fields),
        Reason.MODE_NOT_ALLOWED: facts.mode not in contract.modes,
        Reason.EVIDENCE_MISSING: (contract.signed_requests and not facts.request_signed)
        or not evidence(facts, contract.legal_basis),
        Reason.BREAK_GLASS_NOT_ALLOWED: facts.emergency and not glass(facts, contract),
        Reason.DATASET_UNAVAILABLE: dataset is None or dataset.retired,
        Reason.DATASET_REFUSED: dataset is not None and dataset.sharing_class == "REFUSED",
        Reason.SCHEME_NOT_ALLOWED: dataset is not None
        and facts.mode != "STREAM"
        and dataset.scheme != facts.scheme,
        Reason.QUOTA_EXHAUSTED: facts.quota_exhausted,
    }
    found |= {reason for reason, failed in checks.items() if failed}
    if contract.legal_basis == "CONSENT" and not (facts.emergency and glass(facts, contract)):
        found |= consent_reasons(facts, contract, consent)
    if contract.legal_basis == "CONSENT" and facts.mode == "STREAM":
        found.add(Reason.CONSENT_MISSING)
    # A state that no condition names is refused, as a precaution, when nothing else refuses.
    states = {"ACTIVE"} if not found else {contract.state}
    return found if found or contract.state in states else {Reason.POLICY_ERROR}


def evidence(facts: Facts, basis: str) -> bool:
    """Consent is its own evidence; else there is a case, or for a life in danger the emergency itself."""
    return {
        "CONSENT": True,
        "VITAL_INTEREST": facts.case_reference_given or facts.emergency,
    }.get(basis, facts.case_reference_given)


def glass(facts: Facts, contract: ContractFacts) -> bool:
    return contract.break_glass.allowed and bool({facts.system} & contract.break_glass.systems)


def consent_reasons(facts: Facts, contract: ContractFacts, consent: ConsentFacts | None) -> set[Reason]:
    if consent is None:
        return {Reason.CONSENT_MISSING}
    never_given = {"REQUESTED", "REFUSED", "LAPSED", "SUPERSEDED", "INVALIDATED"}
    checks = {
        Reason.CONSENT_MISSING: consent.state in never_given,
        Reason.CONSENT_WITHDRAWN: consent.state in {"WITHDRAWN", "REVOKED"},
        Reason.CONSENT_PAUSED: consent.state == "PAUSED",
        Reason.CONSENT_EXPIRED: consent.state in {"EXPIRED", "EXHAUSTED"}
        or not consent.begun
        or consent.over,
        Reason.CONSENT_PURPOSE: facts.purpose not in consent.purposes,
        Reason.CONSENT_FIELDS: bool(facts.fields - consent.fields),
        Reason.CONSENT_MODE: facts.mode not in consent.modes,
        Reason.CONSENT_TERMS_CHANGED: (consent.contract, consent.terms_digest)
        != (contract.name, contract.terms_digest),
    }
    return {reason for reason, failed in checks.items() if failed}


class Generator:
    """Facts of which each condition fails now and then, so that combinations and allows both are common."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        # How often a condition is put at risk: half the facts are all right but for one or two things.
        self.risk = 0.0

    def bad(self) -> bool:
        return self.random.random() < self.risk

    def pick(self, good: Any, *others: Any) -> Any:
        return self.random.choice(others) if self.bad() else good

    def some(self, names: tuple[str, ...]) -> frozenset[str]:
        whole = frozenset(names)
        return (
            frozenset(self.random.sample(names, self.random.randrange(len(names)))) if self.bad() else whole
        )

    def facts(self) -> Facts:
        self.risk = self.random.choice((0.0, 0.01, 0.05, 0.2))
        mode = self.random.choice(("QUERY", "VERIFY", "BATCH", "STREAM"))
        contract = None if self.bad() else self.contract()
        return Facts(
            system=self.pick(SYSTEM, "departments/va/systems/other"),
            consumer="departments/va",
            contract_name="contracts/x",
            mode=mode,
            purpose=self.pick("核对", "其他"),
            fields=frozenset(self.random.sample(FIELDS, self.random.randint(1, 3)))
            | self.pick(frozenset(), frozenset({"secret"})),
            scheme=self.pick("us.ope", "cn.resident-id"),
            hour=self.random.randrange(24),
            weekday=self.random.randint(1, 7),
            credential_denied=self.bad(),
            case_reference_given=not self.bad(),
            emergency=self.random.random() < 0.2,
            quota_exhausted=self.bad(),
            contract=contract,
            dataset=None if contract is None or self.bad() else self.dataset(),
            consent=None if contract is None or self.bad() else self.consent(),
        )

    def contract(self) -> ContractFacts:
        ended = (
            "PROPOSED",
            "AGREED",
            "SUSPENDED",
            "EXPIRED",
            "TERMINATED",
            "SUPERSEDED",
            "REJECTED",
            "LIMBO",
        )
        basis = ("CONSENT", "CONSENT", "PUBLIC_TASK", "LEGAL_OBLIGATION", "VITAL_INTEREST", "CONTRACT")
        return ContractFacts(
            name="contracts/x@2",
            version=2,
            terms_digest="d2",
            provider="departments/ed",
            dataset="departments/ed/datasets/y",
            state=self.pick("ACTIVE", *ended),
            signed_by_both=not self.bad(),
            begun=not self.bad(),
            over=self.bad(),
            systems=self.some((SYSTEM,)),
            purposes=self.some(("核对", "其他")),
            fields=self.some(FIELDS),
            modes=self.some(("QUERY", "VERIFY", "BATCH", "STREAM")),
            legal_basis=self.random.choice(basis),
            signed_requests=self.bad(),
            # What an emergency asks of a contract is at risk as often as anything else.
            break_glass=BreakGlass(allowed=not self.bad(), systems=self.some((SYSTEM,))),
        )

    def dataset(self) -> DatasetFacts:
        sharing = self.random.choice(("UNCONDITIONAL", "CONDITIONAL"))
        return DatasetFacts(
            retired=self.bad(), sharing_class=self.pick(sharing, "REFUSED"), scheme=self.pick("us.ope", "x")
        )

    def consent(self) -> ConsentFacts:
        states = ("REQUESTED", "REFUSED", "LAPSED", "PAUSED", "WITHDRAWN", "REVOKED", "EXPIRED", "EXHAUSTED")
        return ConsentFacts(
            state=self.pick("ACTIVE", *states, "SUPERSEDED", "INVALIDATED"),
            begun=not self.bad(),
            over=self.bad(),
            contract=self.pick("contracts/x@2", "contracts/x@1"),
            terms_digest=self.pick("d2", "d1"),
            purposes=self.some(("核对", "其他")),
            fields=self.some(FIELDS),
            modes=self.some(("QUERY", "VERIFY", "BATCH", "STREAM")),
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_cedar_and_plain_python_agree_on_generated_facts(seed: int) -> None:
    print(f"seed {seed}")
    engine, generator = PolicyEngine(), Generator(seed)
    allowed, emergencies, exercised = 0, 0, set[Reason]()
    for number in range(COUNT):
        facts = generator.facts()
        ruling, expected = engine.decide(facts), reference(facts)
        assert set(ruling.reasons) == expected, f"facts {number} of seed {seed}: {facts}"
        assert ruling.allowed == (not expected)
        allowed += ruling.allowed
        emergencies += ruling.allowed and facts.emergency
        exercised |= expected
    assert allowed >= COUNT // 4 and emergencies >= COUNT // 40
    decided = {reason for reason in Reason if 10 <= reason <= 60} - {Reason.RATE_LIMITED}
    assert exercised == decided | {Reason.CREDENTIAL_DENIED}


def test_there_are_a_hundred_thousand_of_them() -> None:
    assert len(set(SEEDS)) * COUNT >= 100_000
