"""What is not recorded as a consent, each for its own reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.denylist import deny_certificate
from isthmus.errors import AlreadyExists, InvalidArgument, IsthmusError, NotFound, Reason, StateConflict
from isthmus.statement import StatementKind, sign
from isthmus.v1 import consent_service_pb2 as pb
from tests.integration.control_world import (
    CONSUMER,
    COUNTER,
    OPERATOR,
    OTHER_PURPOSE,
    PORTAL,
    PURPOSE,
    World,
    world_in,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


def refused(world: World, request: pb.GrantConsentRequest, *, recorded: bool = True) -> IsthmusError:
    """The refusal of a consent that leaves nothing behind but its record."""
    before = world.records()
    with pytest.raises(IsthmusError) as refusal:
        world.rpc(PORTAL, "GrantConsent", request)
    after = world.records()
    assert len(after) - len(before) == int(recorded)
    if recorded:
        assert (after[-1].action, after[-1].reasons) == ("GrantConsent", (refusal.value.reason.name,))
        assert not after[-1].subject_token
    listed = world.rpc(CONSUMER, "ListConsents", pb.ListConsentsRequest(contract="contracts/edu-person"))
    assert not listed.consents
    return refusal.value


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"purposes": (PURPOSE, "商业营销")}, "statement.purposes"),
        ({"fields": ("姓名", "city")}, "statement.fields"),
        ({"modes": ("STREAM",)}, "statement.modes"),
        ({"terms_digest": "00" * 32}, "statement.terms_digest"),
        ({"grantor": "GUARDIAN"}, "statement.evidence_reference"),
        ({"grantor": "DELEGATE", "evidence_reference": " "}, "statement.evidence_reference"),
        ({"collection": "COUNTER"}, "statement.evidence_reference"),
        ({"collection": "PAPER"}, "statement.evidence_reference"),
        ({"notice": {"uri": "x", "sha256": "", "language": "zh-CN"}}, "statement.notice.sha256"),
        ({"notice": {"uri": "x", "sha256": "ab" * 32, "language": "中文"}}, "statement.notice.language"),
    ],
)
def test_a_consent_goes_no_further_than_its_contract(
    world: World, changes: dict[str, Any], field: str
) -> None:
    error = refused(world, world.consent(world.agree(), **changes))
    assert error.reason is Reason.STATEMENT_INVALID
    assert [each.field for each in error.violations] == [field]


@pytest.mark.parametrize(
    ("begins", "ends", "stated", "field"),
    [
        (-DAY, DAY, None, "statement.not_before"),
        (0 * DAY, 101 * DAY, None, "statement.not_after"),
        (2 * DAY, DAY, None, "statement.not_after"),
        (0 * DAY, DAY, timedelta(minutes=6), "statement.stated_at"),
        (0 * DAY, DAY, -2 * DAY, "statement.stated_at"),
    ],
)
def test_a_consent_is_given_in_time_and_for_a_time(
    world: World, begins: timedelta, ends: timedelta, stated: timedelta | None, field: str
) -> None:
    contract = world.agree()
    changes: dict[str, Any] = {"not_before": world.now + begins, "not_after": world.now + ends}
    if stated is not None:
        changes["stated_at"] = world.now + stated
    error = refused(world, world.consent(contract, **changes))
    assert [each.field for each in error.violations] == [field]


def test_a_period_that_is_over(world: World) -> None:
    contract = world.agree()
    world.now += 5 * DAY
    over: dict[str, Any] = {"not_before": world.now - 4 * DAY, "not_after": world.now - 2 * DAY}
    error = refused(world, world.consent(contract, **over))
    assert [each.field for each in error.violations] == ["statement.not_after"]


def test_an_omitted_field_cannot_be_consented_to(world: World) -> None:
    contract = world.agree(
        fields=[{"name": "姓名", "transform": "mask:1"}, {"name": "city", "transform": "omit"}]
    )
    error = refused(world, world.consent(contract, fields=("city",)))
    assert [each.field for each in error.violations] == ["statement.fields"]


def test_a_consent_for_another_person_than_the_statement_commits_to(world: World) -> None:
    request = world.consent(world.agree())
    request.subject.id = "110101198001011234"
    error = refused(world, request)
    assert error.reason is Reason.STATEMENT_INVALID and "110101" not in error.message


def test_a_nonce_that_does_not_open_the_commitment(world: World) -> None:
    request = world.consent(world.agree())
    request.subject_nonce = bytes(32)
    assert refused(world, request).reason is Reason.STATEMENT_INVALID


def test_the_commitment_may_be_to_the_canonical_form(world: World) -> None:
    request = world.consent(world.agree())
    request.subject.id = f' "{request.subject.id}" '
    assert world.rpc(PORTAL, "GrantConsent", request).consent.state == pb.CONSENT_STATE_ACTIVE


def test_another_portals_statement(world: World) -> None:
    error = refused(world, world.consent(world.agree(), by=COUNTER))
    assert "nobody signs for another" in error.message


def test_an_officers_statement(world: World) -> None:
    error = refused(world, world.consent(world.agree(), by=CONSUMER))
    assert "signature of portal is required" in error.message


def test_a_forged_statement(world: World) -> None:
    request = world.consent(world.agree())
    head, body, signature = request.statement.split(".")
    request.statement = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    assert refused(world, request).reason is Reason.STATEMENT_INVALID


def test_a_name_that_stands_for_what_another_statement_said(world: World) -> None:
    contract = world.agree()
    first = world.rpc(PORTAL, "GrantConsent", world.consent(contract)).consent
    with pytest.raises(AlreadyExists):
        world.rpc(PORTAL, "GrantConsent", world.consent(contract, consent=first.name, modes=("VERIFY",)))
    assert world.rpc(PORTAL, "GetConsent", pb.GetConsentRequest(name=first.name)).consent == first


def test_a_statement_signed_with_a_certificate_that_was_denied(world: World) -> None:
    request = world.consent(world.agree())
    deny_certificate(world.ledger, world.credentials(PORTAL).thumbprint, "key lost", OPERATOR)
    world.renew(PORTAL)
    assert refused(world, request).reason is Reason.CREDENTIAL_DENIED


def test_a_statement_that_is_no_consent(world: World) -> None:
    request = world.consent(world.agree())
    request.statement = sign({"consent": "x"}, StatementKind.CONSENT, world.credentials(PORTAL))
    assert "is missing" in refused(world, request).message


def test_one_that_names_no_consent(world: World) -> None:
    error = refused(world, world.consent(world.agree(), consent="consents/1"), recorded=False)
    assert [each.field for each in error.violations] == ["statement.consent"]


def test_a_contract_that_needs_no_consent(world: World) -> None:
    contract = world.agree(legal_basis="PUBLIC_TASK")
    with pytest.raises(StateConflict, match="legal basis is PUBLIC_TASK"):
        world.rpc(PORTAL, "GrantConsent", world.consent(contract))


def test_a_contract_that_is_not_agreed(world: World) -> None:
    contract = world.propose()
    with pytest.raises(StateConflict, match="it is PROPOSED"):
        world.rpc(PORTAL, "GrantConsent", world.consent(contract))


def test_a_contract_that_does_not_exist(world: World) -> None:
    contract = world.agree()
    contract.name = "contracts/none@1"
    request = world.consent(contract)
    with pytest.raises(NotFound, match="contracts/none@1"):
        world.rpc(PORTAL, "GrantConsent", request)


def test_a_scheme_by_which_the_dataset_knows_nobody(world: World) -> None:
    request = world.consent(world.agree())
    request.subject.scheme = "us.ope"
    error = refused(world, request, recorded=False)
    assert error.reason is Reason.SCHEME_NOT_ALLOWED and "cn.resident-id" in error.message


def test_an_identifier_that_says_there_is_none(world: World) -> None:
    request = world.consent(world.agree())
    request.subject.id = '"NONE"'
    assert refused(world, request, recorded=False).violations[0].field == "subject.id"


def test_a_question_needs_a_contract_a_future_and_a_person(world: World) -> None:
    contract = world.agree()
    request = pb.RequestConsentRequest(name="consents/1", contract=contract.name)
    request.subject.scheme, request.subject.id = "cn.resident-id", "110101199003072316"
    with pytest.raises(InvalidArgument, match="consents/{uuid}"):
        world.rpc(PORTAL, "RequestConsent", request)
    request.name = "consents/5b0f8b8e-2a54-4c35-9c0e-0a4a9f0f7d11"
    request.answer_by.FromDatetime(world.now)
    with pytest.raises(InvalidArgument, match="answer_by"):
        world.rpc(PORTAL, "RequestConsent", request)
    request.contract = "contracts/none@1"
    with pytest.raises(NotFound):
        world.rpc(PORTAL, "RequestConsent", request)


def test_every_fault_is_named_at_once(world: World) -> None:
    request = world.consent(
        world.agree(), purposes=(OTHER_PURPOSE, "x"), fields=("y",), modes=("BATCH",), grantor="GUARDIAN"
    )
    assert len(refused(world, request).violations) == 4
