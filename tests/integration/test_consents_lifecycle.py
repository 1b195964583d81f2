"""Consents from the question to their end, over real connections and a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.state.consents import consents_of
from isthmus.errors import AlreadyExists, InvalidArgument, PermissionDenied, Reason, StateConflict
from isthmus.identity import Role
from isthmus.names import ConsentName
from isthmus.statement import StatementKind
from isthmus.terms import rfc3339, timestamp
from isthmus.v1 import catalog_service_pb2, contract_service_pb2
from isthmus.v1 import consent_service_pb2 as pb
from tests.integration.consent_calls import PERSON_ID, get, grant, move, withdraw
from tests.integration.control_world import (
    CONSUMER,
    COUNTER,
    OTHER_PURPOSE,
    PERSON,
    PORTAL,
    PROVIDER,
    PURPOSE,
    RESIDENT,
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


def receipt(world: World, token: str) -> dict[str, Any]:
    """What the gateway certified; anybody with the authority's certificate can check it."""
    verified = world.verifier.verify(token, kind=StatementKind.CONTROL, expect_role=Role.GATEWAY)
    return verified.payload


def test_a_consent_is_recorded_with_a_receipt(world: World, contract: Any) -> None:
    response = world.rpc(PORTAL, "GrantConsent", world.consent(contract))
    consent = response.consent
    assert (consent.state, consent.contract) == (S.CONSENT_STATE_ACTIVE, contract.name)
    assert (list(consent.purposes), list(consent.fields)) == ([PURPOSE], ["姓名"])
    assert consent.subject_token == world.tokens.token("cn.resident-id", RESIDENT)
    record = world.records()[consent.position]
    assert (record.action, record.resource, record.subject_token) == (
        "GrantConsent",
        consent.name,
        consent.subject_token,
    )
    assert (record.contract, record.consumer) == (contract.name, contract.terms.consumer)
    paper = receipt(world, response.receipt)
    assert (paper["receipt"], paper["consent"], paper["position"]) == (
        "consent-active",
        consent.name,
        consent.position,
    )
    assert paper["statement_digest"] == record.change["statement_digest"]


def test_a_withdrawal_is_final_and_has_a_receipt(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    response = withdraw(world, consent.name)
    assert response.consent.state == S.CONSENT_STATE_WITHDRAWN
    assert response.consent.position > consent.position
    paper = receipt(world, response.receipt)
    assert (paper["receipt"], paper["position"]) == ("consent-withdrawn", response.consent.position)
    for method in ("PauseConsent", "ResumeConsent", "RevokeConsent", "RefuseConsent"):
        with pytest.raises(StateConflict, match="it is WITHDRAWN"):
            move(world, method, consent.name)


def test_withdrawing_twice_answers_the_same(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    first = withdraw(world, consent.name)
    records = len(world.records())
    world.now += timedelta(days=200)
    second = withdraw(world, consent.name)
    assert second.consent == first.consent and len(world.records()) == records
    assert receipt(world, second.receipt) == receipt(world, first.receipt)


def test_a_person_withdraws_at_any_counter(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    assert withdraw(world, consent.name, by=COUNTER).consent.state == S.CONSENT_STATE_WITHDRAWN


def test_many_withdrawals_at_once_are_one(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: withdraw(world, consent.name), range(6)))
    assert len({each.consent.position for each in answers}) == 1
    assert [each.action for each in world.records()].count("WithdrawConsent") == 1


def test_a_pause_stops_and_a_resumption_goes_on(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    paused = move(world, "PauseConsent", consent.name)
    assert paused.state == S.CONSENT_STATE_PAUSED and paused.state_reason == "本人要求"
    with pytest.raises(StateConflict, match="PAUSED is possible only when it is ACTIVE"):
        move(world, "PauseConsent", consent.name)
    assert move(world, "ResumeConsent", consent.name).state == S.CONSENT_STATE_ACTIVE
    move(world, "PauseConsent", consent.name)
    assert withdraw(world, consent.name).consent.state == S.CONSENT_STATE_WITHDRAWN


def test_a_consent_expires_by_itself(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    world.now += timedelta(days=30)
    assert get(world, consent.name).state == S.CONSENT_STATE_EXPIRED
    with pytest.raises(StateConflict, match="it is EXPIRED"):
        withdraw(world, consent.name)


def test_a_question_is_answered_or_lapses(world: World, contract: Any) -> None:
    def ask() -> str:
        request = pb.RequestConsentRequest(
            name=str(ConsentName.new()),
            contract=contract.name,
            subject=PERSON_ID,
            answer_by=timestamp(world.now + timedelta(days=3)),
        )
        asked = world.rpc(PORTAL, "RequestConsent", request).consent
        assert asked.state == S.CONSENT_STATE_REQUESTED and not asked.purposes
        return str(asked.name)

    yes, no, silence = ask(), ask(), ask()
    assert move(world, "RefuseConsent", no).state == S.CONSENT_STATE_REFUSED
    granted = grant(world, contract, consent=yes)
    assert granted.state == S.CONSENT_STATE_ACTIVE and list(granted.purposes) == [PURPOSE]
    with pytest.raises(StateConflict, match="it is REQUESTED"):
        withdraw(world, silence)
    world.now += timedelta(days=3)
    assert get(world, silence).state == S.CONSENT_STATE_LAPSED
    for name, state in ((no, "REFUSED"), (silence, "LAPSED")):
        with pytest.raises(StateConflict, match=f"it is {state}"):
            grant(world, contract, consent=name)


def test_a_question_does_not_disturb_a_consent_in_force(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    request = pb.RequestConsentRequest(name=str(ConsentName.new()), contract=contract.name, subject=PERSON_ID)
    asked = world.rpc(PORTAL, "RequestConsent", request).consent
    move(world, "RefuseConsent", asked.name)
    assert get(world, consent.name).state == S.CONSENT_STATE_ACTIVE
    pair = (contract.contract, consent.subject_token)
    with world.ledger.read() as conn:
        assert [each.name for each in consents_of(conn, [pair])[pair]] == [consent.name]


def test_an_answer_is_about_the_person_who_was_asked(world: World, contract: Any) -> None:
    request = pb.RequestConsentRequest(name=str(ConsentName.new()), contract=contract.name, subject=PERSON_ID)
    world.rpc(PORTAL, "RequestConsent", request)
    with pytest.raises(AlreadyExists):
        grant(world, contract, consent=request.name, resident="110101198001011234")
    with pytest.raises(AlreadyExists):
        world.rpc(PORTAL, "RequestConsent", request)


def test_a_later_consent_replaces_the_earlier_one(world: World, contract: Any) -> None:
    wide = grant(world, contract, purposes=(PURPOSE, OTHER_PURPOSE))
    narrow = grant(world, contract, purposes=(PURPOSE,))
    assert get(world, wide.name).state == S.CONSENT_STATE_SUPERSEDED
    pair = (contract.contract, narrow.subject_token)
    with world.ledger.read() as conn:
        assert [each.name for each in consents_of(conn, [pair])[pair]] == [narrow.name]
    assert world.records()[narrow.position].change["supersedes"] == wide.name


def test_a_consent_follows_the_person_over_contract_versions(world: World, contract: Any) -> None:
    old = grant(world, contract)
    renewed = world.propose(retention_days=7)
    world.sign(CONSUMER, renewed)
    renewed = world.sign(PROVIDER, renewed)
    with pytest.raises(StateConflict, match="it is SUPERSEDED"):
        grant(world, contract)
    new = grant(world, renewed)
    assert get(world, old.name).state == S.CONSENT_STATE_SUPERSEDED
    assert new.terms_digest == renewed.terms_digest != old.terms_digest


def test_who_withdrew_may_consent_again_under_a_new_name(world: World, contract: Any) -> None:
    first = grant(world, contract)
    withdraw(world, first.name)
    again = grant(world, contract)
    assert get(world, first.name).state == S.CONSENT_STATE_WITHDRAWN
    pair = (contract.contract, again.subject_token)
    with world.ledger.read() as conn:
        assert [each.name for each in consents_of(conn, [pair])[pair]] == [again.name]


def test_a_person_is_known_by_every_key_epoch(world: World, contract: Any) -> None:
    first = grant(world, contract)
    world.tokens.__class__.__init__(world.tokens, world.tokens.keys, 1)
    second = grant(world, contract)
    assert second.subject_token.startswith("1.") and first.subject_token.startswith("2.")
    assert get(world, first.name).state == S.CONSENT_STATE_SUPERSEDED


def test_an_authority_revokes_with_an_order(world: World, contract: Any) -> None:
    by_portal, by_officer = grant(world, contract), grant(world, contract, resident="110101198001011234")
    assert move(world, "RevokeConsent", by_portal.name).state == S.CONSENT_STATE_REVOKED
    revoked = move(world, "RevokeConsent", by_officer.name, by=PROVIDER)
    assert revoked.state == S.CONSENT_STATE_REVOKED and not revoked.subject_token
    with pytest.raises(InvalidArgument, match="reason"):
        world.rpc(PORTAL, "RevokeConsent", pb.RevokeConsentRequest(name=by_portal.name))


def test_the_same_statement_again_changes_nothing(world: World, contract: Any) -> None:
    request = world.consent(contract)
    first = world.rpc(PORTAL, "GrantConsent", request)
    records = len(world.records())
    second = world.rpc(PORTAL, "GrantConsent", request)
    assert second.consent == first.consent and len(world.records()) == records


@pytest.mark.parametrize("ending", ["PauseConsent", "WithdrawConsent", "RevokeConsent"])
def test_an_old_statement_never_brings_a_consent_back(world: World, contract: Any, ending: str) -> None:
    request = world.consent(contract)
    consent = world.rpc(PORTAL, "GrantConsent", request).consent
    move(world, ending, consent.name)
    ended = get(world, consent.name)
    with pytest.raises(StateConflict):
        world.rpc(PORTAL, "GrantConsent", request)
    assert get(world, consent.name) == ended


def test_a_suspended_contract_takes_no_new_consents_and_keeps_the_old(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    request = contract_service_pb2.SuspendContractRequest(name=contract.name, reason="x")
    world.rpc(PROVIDER, "SuspendContract", request)
    with pytest.raises(StateConflict, match="it is SUSPENDED"):
        grant(world, contract)
    assert get(world, consent.name).state == S.CONSENT_STATE_ACTIVE
    assert withdraw(world, consent.name).consent.state == S.CONSENT_STATE_WITHDRAWN


def test_a_retired_dataset_takes_no_new_consents(world: World, contract: Any) -> None:
    retire = catalog_service_pb2.RetireDatasetRequest(name=PERSON, reason="x")
    world.rpc(PROVIDER, "RetireDataset", retire)
    with pytest.raises(PermissionDenied) as refusal:
        grant(world, contract)
    assert refusal.value.reason is Reason.DATASET_UNAVAILABLE


def test_consent_to_a_contract_agreed_in_advance(world: World) -> None:
    begins = world.now + timedelta(days=5)
    contract = world.agree(not_before=rfc3339(begins))
    consent = grant(world, contract, not_before=begins, not_after=begins + timedelta(days=1))
    assert consent.state == S.CONSENT_STATE_ACTIVE
