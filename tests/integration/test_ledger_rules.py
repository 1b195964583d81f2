"""Fences and other rules between records, checked again offline from the log alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.record import AccessRecord
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.integration.rules_world import (
    CONSENT,
    CONTRACT,
    GRANTED,
    OTHER_CONSENT,
    SIGNED,
    TOKEN,
    allowed,
    check,
    granted,
)
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
    pytest.param(granted(OTHER_CONSENT), id="another consent"),
    pytest.param(granted(contract="contracts/edu-person-2026@1"), id="another version"),
    pytest.param(granted(change={"event": "PARTY_GRANTED", "party": "父亲"}), id="one of two parties"),
    pytest.param(control("GrantConsent", CONSENT, contract=CONTRACT, subject_token=TOKEN), id="no event"),
]


@pytest.mark.parametrize("instead", INVENTED)
def test_a_release_on_a_consent_that_nobody_gave_is_named(tmp_path: Path, instead: AccessRecord) -> None:
    with pytest.raises(Damaged, match="no earlier record shows that it was given") as caught:
        check(tmp_path, instead, allowed(), GRANTED)
    assert (caught.value.kind, caught.value.where) == (DamageKind.UNFOUNDED, "record 3")


def test_a_denial_needs_no_contract_behind_it(tmp_path: Path) -> None:
    check(tmp_path, denial(), failure(), signed=())


def test_a_consent_that_the_last_party_gave_is_one(tmp_path: Path) -> None:
    first = granted(change={"event": "PARTY_GRANTED", "party": "父亲"})
    last = granted(change={"event": "GRANTED", "party": "母亲"})
    check(tmp_path, first, last, allowed(consents=({"name": CONSENT, "position": 3},)))


def rule(caught: pytest.ExceptionInfo[Damaged]) -> tuple[DamageKind, str]:
    return caught.value.kind, caught.value.where


def test_a_release_on_a_consent_that_a_later_one_superseded_is_named(tmp_path: Path) -> None:
    newer = granted(OTHER_CONSENT, change={"supersedes": f"consents/x {CONSENT}"})
    with pytest.raises(
        Damaged, match=f"GrantConsent of {OTHER_CONSENT}, which superseded {CONSENT}"
    ) as caught:
        check(tmp_path, GRANTED, allowed(), newer, control("ResumeConsent", CONSENT), allowed())
    assert rule(caught) == (DamageKind.RULE, "record 6")


def test_a_consent_that_waits_for_others_supersedes_nothing(tmp_path: Path) -> None:
    waits = granted(OTHER_CONSENT, change={"event": "PARTY_GRANTED", "supersedes": CONSENT})
    check(tmp_path, GRANTED, waits, allowed())


@pytest.mark.parametrize("mode", ["QUERY", "VERIFY", "OTHER"])
def test_a_release_about_nobody_needs_a_consent_all_the_same(tmp_path: Path, mode: str) -> None:
    with pytest.raises(Damaged, match="names neither one nor an emergency") as caught:
        check(tmp_path, allowed(consents=(), subject_token="", mode=mode))
    assert rule(caught) == (DamageKind.RULE, "record 2")


@pytest.mark.parametrize("basis", ["CONSENT", "PUBLIC_TASK"])
def test_a_batch_that_vouches_for_no_lines_is_named(tmp_path: Path, basis: str) -> None:
    batch = decision(legal_basis=basis, mode="BATCH", subject_token="", subject_count=9)
    with pytest.raises(Damaged, match="vouches for no line") as caught:
        check(tmp_path, batch)
    assert rule(caught) == (DamageKind.RULE, "record 2")


def newer(event: str, version: int = 3) -> tuple[AccessRecord, ...]:
    """Both departments sign another version."""
    one, other = signatures(contract=f"contracts/edu-person-2026@{version}", terms_digest="dd" * 32)
    return replace(one, change={"event": "SIGNED"}), replace(other, change={"event": event})


def events(*found: str) -> list[dict[str, str]]:
    return [{"event": each} for each in found]


AGREED = tuple(
    replace(each, change=change) for each, change in zip(SIGNED, events("SIGNED", "ACTIVATED"), strict=True)
)


def test_a_release_under_a_version_that_a_newer_one_replaced_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        Damaged, match="SignContract of contracts/edu-person-2026@3, which superseded"
    ) as caught:
        check(tmp_path, decision(), *newer("ACTIVATED"), decision(), signed=AGREED)
    assert rule(caught) == (DamageKind.RULE, "record 5")


def test_a_version_that_was_agreed_ahead_of_its_time_ends_nothing_until_it_is_activated(
    tmp_path: Path,
) -> None:
    ahead = newer("AGREED")
    clock = control("Clock", "contracts/edu-person-2026@3", change={"event": "ACTIVATED"})
    (tmp_path / "before").mkdir()
    check(tmp_path / "before", *ahead, decision(), signed=AGREED)
    with pytest.raises(Damaged, match="Clock of contracts/edu-person-2026@3, which superseded") as caught:
        check(tmp_path, *ahead, decision(), clock, decision(), signed=AGREED)
    assert rule(caught) == (DamageKind.RULE, "record 6")


@pytest.mark.parametrize("event", ["SIGNED", ""])
def test_one_signature_of_a_newer_version_ends_nothing(tmp_path: Path, event: str) -> None:
    check(tmp_path, newer(event)[1], decision(), signed=AGREED)


def test_an_older_version_that_is_signed_later_ends_nothing(tmp_path: Path) -> None:
    check(tmp_path, *newer("ACTIVATED", version=1), decision(), signed=AGREED)


CAME_TO_PASS = [
    (CONSENT, "EXPIRED"),
    (CONSENT, "SUPERSEDED"),
    (CONSENT, "EXHAUSTED"),
    (CONSENT, "LAPSED"),
    (CONTRACT, "EXPIRED"),
    (CONTRACT, "ACTIVATED SUPERSEDED"),
    (CONTRACT, "PROVIDE_OVERDUE EXPIRED"),
]


@pytest.mark.parametrize(("resource", "event"), CAME_TO_PASS)
def test_a_release_after_the_clock_ended_what_it_rests_on_is_named(
    tmp_path: Path, resource: str, event: str
) -> None:
    clock = control("Clock", resource, change={"event": event})
    with pytest.raises(Damaged, match=f"Clock of {resource} had ended in record 4") as caught:
        check(tmp_path, GRANTED, allowed(), clock, control("ResumeConsent", resource), allowed())
    assert rule(caught) == (DamageKind.RULE, "record 6")


@pytest.mark.parametrize("event", ["ACTIVATED", "PROVIDE_OVERDUE", "ANSWER_OVERDUE"])
def test_what_else_the_clock_brings_ends_nothing(tmp_path: Path, event: str) -> None:
    check(tmp_path, GRANTED, control("Clock", CONTRACT, change={"event": event}), allowed(), signed=AGREED)


def test_a_consent_that_another_person_gave_is_named(tmp_path: Path) -> None:
    other = granted(subject_token=f"{TOKEN[:-1]}0")
    with pytest.raises(Damaged, match="which another person gave in record 2") as caught:
        check(tmp_path, other, allowed())
    assert rule(caught) == (DamageKind.RULE, "record 3")


@pytest.mark.parametrize("token", ["", "1.ffffffffffffffffffffffffffffffff"])
def test_one_consent_does_not_serve_for_two_persons(tmp_path: Path, token: str) -> None:
    with pytest.raises(Damaged, match="another person gave"):
        check(tmp_path, GRANTED, allowed(), allowed(subject_token=token))


def test_tokens_of_two_key_epochs_may_be_one_person_s(tmp_path: Path) -> None:
    check(tmp_path, GRANTED, allowed(subject_token="2.0123456789abcdef0123456789abcdef"))


@pytest.mark.parametrize("position", [0, 1, True, "2"])
def test_a_consent_as_of_another_record_than_its_own_is_named(tmp_path: Path, position: Any) -> None:
    with pytest.raises(Damaged, match="as of record|as it was later") as caught:
        check(tmp_path, GRANTED, allowed(consents=({"name": CONSENT, "position": position},)))
    assert rule(caught) == (DamageKind.RULE, "record 3")
