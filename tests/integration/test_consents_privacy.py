"""Who may speak for a person, who sees a consent and whose it is, and what of it is at rest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import InvalidArgument, IsthmusError, NotFound, PermissionDenied, Reason
from isthmus.identity import Role
from isthmus.statement import StatementKind
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2
from isthmus.v1.common_pb2 import Subject
from tests.integration.consent_calls import PERSON_ID, get, grant, move, withdraw
from tests.integration.control_world import (
    AUDITOR,
    CONSUMER,
    OUTSIDER,
    PORTAL,
    PROVIDER,
    RESIDENT,
    SYSTEM,
    World,
    world_in,
)

pytestmark = pytest.mark.integration

S = pb.ConsentState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


@pytest.fixture
def contract(world: World) -> contract_service_pb2.Contract:
    return world.agree()


def test_officers_see_the_consents_of_their_contracts_and_not_whose_they_are(
    world: World, contract: Any
) -> None:
    consent = grant(
        world, contract, grantor="GUARDIAN", evidence_reference="户口簿 2026-118", collection="COUNTER"
    )
    for officer in (PROVIDER, CONSUMER):
        seen = get(world, consent.name, by=officer)
        assert (seen.name, seen.state) == (consent.name, consent.state)
        assert not (seen.subject_token or seen.statement or seen.evidence_reference)
        listed = world.rpc(officer, "ListConsents", pb.ListConsentsRequest(contract=contract.contract))
        assert [each.name for each in listed.consents] == [consent.name]
        assert not listed.consents[0].subject_token
        with pytest.raises(InvalidArgument, match="portals only"):
            world.rpc(
                officer, "ListConsents", pb.ListConsentsRequest(subject=PERSON_ID, contract=contract.contract)
            )


def test_other_departments_cannot_tell_a_consent_from_none(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    with pytest.raises(NotFound):
        get(world, consent.name, by=OUTSIDER)
    with pytest.raises(NotFound):
        world.rpc(OUTSIDER, "ListConsents", pb.ListConsentsRequest(contract=contract.contract))
    with pytest.raises(NotFound) as refusal:
        move(world, "RevokeConsent", consent.name, by=OUTSIDER)
    assert refusal.value.message == str(NotFound(consent.name))
    assert world.records()[-1].reasons == ("NOT_A_PARTY",)
    assert get(world, consent.name).state == S.CONSENT_STATE_ACTIVE


@pytest.mark.parametrize("method", ["GrantConsent", "WithdrawConsent", "PauseConsent", "RequestConsent"])
def test_only_portals_speak_for_people(world: World, contract: Any, method: str) -> None:
    for caller in (CONSUMER, PROVIDER, SYSTEM, AUDITOR):
        with pytest.raises(PermissionDenied) as refusal:
            world.rpc(caller, method, getattr(pb, f"{method}Request")())
        assert refusal.value.reason is Reason.ROLE_NOT_ALLOWED


def test_a_person_finds_all_their_consents_however_the_number_is_written(world: World) -> None:
    world.publish(name="departments/civil-registry/datasets/other", subject_normalisers=[])
    contracts = [world.agree(f"c{number}") for number in range(3)]
    names = []
    for contract in contracts:
        names.append(grant(world, contract).name)
        grant(world, contract, resident="110101198001011234")
        world.now += timedelta(seconds=1)
    request = pb.ListConsentsRequest(
        subject=Subject(scheme="cn.resident-id", id=f'"{RESIDENT}"'), page_size=2
    )
    page = world.rpc(PORTAL, "ListConsents", request)
    rest = pb.ListConsentsRequest(subject=request.subject, page_size=2, page_token=page.next_page_token)
    last = world.rpc(PORTAL, "ListConsents", rest)
    assert [each.name for each in (*page.consents, *last.consents)] == names and not last.next_page_token
    both = pb.ListConsentsRequest(subject=request.subject, contract=contracts[1].contract)
    assert [each.name for each in world.rpc(PORTAL, "ListConsents", both).consents] == [names[1]]
    with pytest.raises(InvalidArgument, match="subject"):
        world.rpc(PORTAL, "ListConsents", pb.ListConsentsRequest())
    rest.subject.id = "110101198001011234"
    with pytest.raises(InvalidArgument, match="page_token"):
        world.rpc(PORTAL, "ListConsents", rest)


def test_no_identifier_is_at_rest(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    move(world, "PauseConsent", consent.name)
    withdraw(world, consent.name)
    for bad in ({"fields": ("city",)}, {"subject_commitment": "00" * 32}):
        with pytest.raises(IsthmusError):
            grant(world, contract, **bad)
    at_rest = world.everything_at_rest()
    assert consent.subject_token in at_rest and RESIDENT not in at_rest


def test_the_statement_can_be_checked_years_later_by_others(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    verified = world.verifier.verify(
        consent.statement, kind=StatementKind.CONSENT, expect_role=Role.PORTAL, at=world.now
    )
    assert verified.payload["consent"] == consent.name
