"""Fences and other rules between records, checked again offline from the log alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.record import AccessRecord
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import (
    KEY,
    append,
    control,
    decision,
    denial,
    failure,
    ledger_in,
    signatures,
)

pytestmark = pytest.mark.integration

CONSENT = "consents/01a209c9-b5bc-464f-96c7-f488ff7ebc42"
CONTRACT = decision().contract
SIGNED = signatures()
GRANTED = control("GrantConsent", CONSENT, contract=CONTRACT)


def allowed(**changes: object) -> AccessRecord:
    """A release that rests on a consent."""
    values = {"legal_basis": "CONSENT", "consents": ({"name": CONSENT, "position": 2},), **changes}
    return decision(**values)


def check(directory: Path, *records: AccessRecord, signed: tuple[AccessRecord, ...] = SIGNED) -> None:
    """Write the records as they come, behind the two signatures of the contract, and verify."""
    with ledger_in(directory) as ledger:
        for record in (*signed, *records):
            append(ledger, record)
    verify_ledger(str(directory / "ledger.db"), KEY.verifier)


CLOSED = [
    ("WithdrawConsent", CONSENT),
    ("RevokeConsent", CONSENT),
    ("PauseConsent", CONSENT),
    ("SuspendContract", "contracts/edu-person-2026@2"),
    ("SuspendContract", "contracts/edu-person-2026"),
    ("TerminateContract", "contracts/edu-person-2026@2"),
    ("RetireDataset", "departments/civil-registry/datasets/person"),
    ("DenyCertificate", f"certificates/{'ab' * 32}"),
]


@pytest.mark.parametrize(("action", "resource"), CLOSED)
def test_a_release_behind_a_fence_is_named(tmp_path: Path, action: str, resource: str) -> None:
    with pytest.raises(Damaged, match=action) as caught:
        check(tmp_path, GRANTED, allowed(), control(action, resource), denial(), allowed())
    assert (caught.value.kind, caught.value.where) == (DamageKind.RULE, "record 6")


@pytest.mark.parametrize(("action", "resource"), CLOSED)
def test_what_happened_before_the_fence_or_was_refused_by_it_is_sound(
    tmp_path: Path, action: str, resource: str
) -> None:
    check(tmp_path, GRANTED, allowed(), control(action, resource), denial("CONSENT_WITHDRAWN"))


def test_a_fence_that_was_itself_refused_is_none(tmp_path: Path) -> None:
    refused = control("WithdrawConsent", CONSENT, grpc_code="PERMISSION_DENIED", reasons=("NOT_A_PARTY",))
    check(tmp_path, GRANTED, refused, allowed())


def test_what_was_paused_may_be_resumed(tmp_path: Path) -> None:
    check(tmp_path, GRANTED, control("PauseConsent", CONSENT), control("ResumeConsent", CONSENT), allowed())


def test_what_was_withdrawn_stays_withdrawn(tmp_path: Path) -> None:
    steps = [control(action, CONSENT) for action in ("PauseConsent", "WithdrawConsent", "ResumeConsent")]
    with pytest.raises(Damaged, match="WithdrawConsent"):
        check(tmp_path, GRANTED, *steps, allowed())


def test_another_version_of_a_suspended_contract_is_not_behind_its_fence(tmp_path: Path) -> None:
    check(tmp_path, GRANTED, control("SuspendContract", "contracts/edu-person-2026@1"), allowed())


def test_a_release_on_consent_names_one_that_existed(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="as it was later"):
        check(tmp_path, GRANTED, allowed(consents=({"name": CONSENT, "position": 3},)))


def test_a_release_on_consent_names_a_consent(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="names neither one nor an emergency"):
        check(tmp_path, allowed(consents=()))


def test_a_release_in_an_emergency_names_no_consent(tmp_path: Path) -> None:
    check(tmp_path, allowed(consents=(), emergency="昏迷急救"))


def test_a_second_decision_is_named_even_without_the_index_that_prevents_it(tmp_path: Path) -> None:
    first = failure()
    with ledger_in(tmp_path) as ledger:
        append(ledger, first)
        ledger.transact(lambda tx: tx.connection.exec_driver_sql("DROP INDEX records_one_decision").rowcount)
        append(ledger, denial(exchange=first.exchange))
    with pytest.raises(Damaged, match="decided before, in record 0") as caught:
        verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier)
    assert caught.value.kind is DamageKind.DUPLICATE


ALONE = [
    pytest.param((), "departments/civil-registry", id="nobody signed"),
    pytest.param(SIGNED[:1], "departments/civil-registry", id="the provider did not"),
    pytest.param(SIGNED[1:], "departments/education", id="the consumer did not"),
    pytest.param((SIGNED[0], SIGNED[0]), "departments/civil-registry", id="one signed twice"),
    pytest.param(signatures(terms_digest="ee" * 32), "departments/civil-registry", id="other terms"),
    pytest.param(
        signatures(contract="contracts/edu-person-2026@1"), "departments/civil-registry", id="another version"
    ),
    pytest.param(
        tuple(replace(each, grpc_code="PERMISSION_DENIED", reasons=("NOT_A_PARTY",)) for each in SIGNED),
        "departments/civil-registry",
        id="refused signatures",
    ),
]


@pytest.mark.parametrize(("signed", "missing"), ALONE)
def test_a_release_under_a_contract_that_both_did_not_sign_is_named(
    tmp_path: Path, signed: tuple[AccessRecord, ...], missing: str
) -> None:
    with pytest.raises(Damaged, match=f"that {missing} signed these terms") as caught:
        check(tmp_path, decision(), *SIGNED, signed=signed)
    assert (caught.value.kind, caught.value.where) == (DamageKind.UNFOUNDED, f"record {len(signed)}")


INVENTED = [
    pytest.param(control("RequestConsent", CONSENT, contract=CONTRACT), id="only asked for"),
    pytest.param(control("GrantConsent", f"{CONSENT[:-1]}3", contract=CONTRACT), id="another consent"),
    pytest.param(
        control("GrantConsent", CONSENT, contract="contracts/edu-person-2026@1"), id="another version"
    ),
]


@pytest.mark.parametrize("instead", INVENTED)
def test_a_release_on_a_consent_that_nobody_gave_is_named(tmp_path: Path, instead: AccessRecord) -> None:
    with pytest.raises(Damaged, match="no earlier record shows that it was given") as caught:
        check(tmp_path, instead, allowed(), GRANTED)
    assert (caught.value.kind, caught.value.where) == (DamageKind.UNFOUNDED, "record 3")


def test_a_denial_needs_no_contract_behind_it(tmp_path: Path) -> None:
    check(tmp_path, denial(), failure(), signed=())
