"""Consents that end without anybody's act, that an authority ends, and who used them until then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.verifier.damage import Damaged
from audit.verifier.rules import Rules
from isthmus.errors import InvalidArgument, IsthmusError, NotFound, PermissionDenied, Reason, StateConflict
from isthmus.terms import instant, timestamp
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2
from isthmus.v1.common_pb2 import Mode
from tests.integration.consent_calls import (
    PERSON_ID,
    ask,
    clerk,
    events,
    get,
    grant,
    move,
    use,
    uses,
    withdraw,
)
from tests.integration.control_world import (
    CONSUMER,
    COUNTER,
    EDUCATION,
    OTHER_PURPOSE,
    OUTSIDER,
    PORTAL,
    PROVIDER,
    PURPOSE,
    SYSTEM,
    World,
    world_in,
)

pytestmark = pytest.mark.integration

S = pb.ConsentState
DAY = timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


@pytest.fixture
def contract(world: World) -> contract_service_pb2.Contract:
    return world.agree()


def of_age(world: World, contract: Any, **changes: Any) -> dict[str, Any]:
    members = {"grantor": "GUARDIAN", "evidence_reference": "出生证-1", "of_age_at": world.now + 7 * DAY}
    return {**members, **changes}


def test_a_guardians_consent_ends_when_the_person_comes_of_age(world: World, contract: Any) -> None:
    consent = grant(world, contract, **of_age(world, contract))
    assert instant(consent.of_age_at) == world.now + 7 * DAY
    world.now += 7 * DAY - timedelta(seconds=1)
    assert get(world, consent.name).state == S.CONSENT_STATE_ACTIVE
    world.now += timedelta(seconds=1)
    grown = get(world, consent.name)
    assert grown.state == S.CONSENT_STATE_EXPIRED and "come of age" in grown.state_reason
    with pytest.raises(StateConflict, match="it is EXPIRED"):
        move(world, "PauseConsent", consent.name)
    own = grant(world, contract)
    assert own.state == S.CONSENT_STATE_ACTIVE
    assert events(world, consent.name)[-1] == ("EXPIRED", "ACTIVE", "EXPIRED", "clock")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"grantor": "SELF"}, ["statement.of_age_at"]),
        ({"grantor": "DELEGATE"}, ["statement.of_age_at"]),
        ({"of_age_at": -DAY}, ["statement.of_age_at"]),
        ({"of_age_at": 0 * DAY}, ["statement.of_age_at"]),
        ({"evidence_reference": ""}, ["statement.evidence_reference"]),
        ({"evidence_reference": "", "of_age_at": None}, ["statement.evidence_reference"]),
    ],
)
def test_a_guardian_says_when_their_word_ends(
    world: World, contract: Any, changes: dict[str, Any], fields: list[str]
) -> None:
    members = of_age(world, contract, **changes)
    if isinstance(members["of_age_at"], timedelta):
        members["of_age_at"] = world.now + members["of_age_at"]
    with pytest.raises(IsthmusError) as refusal:
        grant(world, contract, **members)
    assert refusal.value.reason is Reason.STATEMENT_INVALID
    assert [each.field for each in refusal.value.violations] == fields


def test_a_permanent_guardianship_rests_on_its_evidence(world: World, contract: Any) -> None:
    ruling = {"grantor": "GUARDIAN", "evidence_reference": "（2026）民特1号"}
    consent = grant(world, contract, **ruling)
    assert consent.state == S.CONSENT_STATE_ACTIVE and not consent.HasField("of_age_at")


def supersede(world: World, contract: Any) -> None:
    renewed = world.propose(retention_days=7)
    world.sign(CONSUMER, renewed)
    world.sign(PROVIDER, renewed)


def terminate(world: World, contract: Any) -> None:
    request = contract_service_pb2.TerminateContractRequest(name=contract.name, reason="业务终止")
    world.rpc(PROVIDER, "TerminateContract", request)


@pytest.mark.parametrize(
    ("end", "state", "why"),
    [(supersede, "SUPERSEDED", "another version"), (terminate, "EXPIRED", "terminated")],
)
def test_a_consent_ends_with_the_contract_it_is_bound_to(
    world: World, contract: Any, end: Any, state: str, why: str
) -> None:
    active, paused, asked = (
        grant(world, contract),
        grant(world, contract, resident="110101198001011234"),
        ask(world, contract),
    )
    move(world, "PauseConsent", paused.name)
    end(world, contract)
    for name, expected in ((active.name, state), (paused.name, state), (asked.name, "LAPSED")):
        found = get(world, name)
        assert S.Name(found.state) == f"CONSENT_STATE_{expected}" and why in found.state_reason
        assert len(events(world, name)) == (2 if name == paused.name else 1)
    with pytest.raises(StateConflict, match=f"it is {state}"):
        withdraw(world, active.name)
    before = len(world.records())
    assert clerk(world).round() == 3
    written = world.records()[before:]
    assert {(each.action, each.resource) for each in written} == {
        ("Clock", name) for name in (active.name, paused.name, asked.name)
    }
    assert all(each.contract == contract.name and each.subject_token for each in written)
    assert events(world, active.name)[-1] == (state, "ACTIVE", state, "clock")
    assert events(world, asked.name)[-1] == ("LAPSED", "REQUESTED", "LAPSED", "clock")
    assert why in get(world, active.name).state_reason
    assert clerk(world).round() == 0 and len(world.records()) == before + 3


def test_the_clerk_writes_down_what_time_brought(world: World, contract: Any) -> None:
    expired = grant(world, contract, not_after=world.now + DAY)
    minor = grant(
        world, contract, resident="110101201501011234", **of_age(world, contract, of_age_at=world.now + DAY)
    )
    silent = ask(world, contract, answer_by=timestamp(world.now + DAY))
    lasting = grant(world, contract, resident="110101198001011234")
    assert clerk(world).round() == 0
    world.now += DAY
    due = world.now
    world.now += timedelta(hours=5)
    assert clerk(world).round() == 3
    for name, event in ((expired.name, "EXPIRED"), (minor.name, "EXPIRED"), (silent.name, "LAPSED")):
        assert events(world, name)[-1][0] == event and events(world, name)[-1][3] == "clock"
    assert get(world, lasting.name).state == S.CONSENT_STATE_ACTIVE
    assert clerk(world).round() == 0 and world.now > due


def test_what_is_used_up_is_over(world: World, contract: Any) -> None:
    consent = grant(world, contract, max_uses=2)
    assert (consent.max_uses, consent.uses) == (2, 0) and not consent.HasField("last_used_at")
    use(world, consent)
    world.now += timedelta(minutes=5)
    once = get(world, consent.name)
    assert (once.uses, once.state) == (1, S.CONSENT_STATE_ACTIVE)
    use(world, consent)
    for found in (get(world, consent.name), listed(world)[0]):
        assert (found.uses, found.state) == (2, S.CONSENT_STATE_EXHAUSTED)
        assert found.state_reason == "it was used as often as it allows"
        assert instant(found.last_used_at) - instant(consent.created_at) >= timedelta(minutes=5)
    with pytest.raises(StateConflict, match="it is EXHAUSTED"):
        withdraw(world, consent.name)
    world.now += 60 * DAY
    assert get(world, consent.name).state == S.CONSENT_STATE_EXHAUSTED
    assert clerk(world).round() == 1
    assert events(world, consent.name)[-1] == ("EXHAUSTED", "ACTIVE", "EXHAUSTED", "clock")
    assert get(world, consent.name).state == S.CONSENT_STATE_EXHAUSTED


def listed(world: World) -> list[pb.Consent]:
    return list(world.rpc(PORTAL, "ListConsents", pb.ListConsentsRequest(subject=PERSON_ID)).consents)


def test_the_person_sees_who_used_a_consent(world: World, contract: Any) -> None:
    earlier = grant(world, contract)
    use(world, earlier)
    consent = grant(world, contract, purposes=(PURPOSE, OTHER_PURPOSE))
    stranger = grant(world, contract, resident="110101198001011234")
    made = []
    for number in range(5):
        made.append(use(world, consent, purpose=PURPOSE if number % 2 else OTHER_PURPOSE))
        use(world, stranger)
        world.now += timedelta(minutes=1)
    first = uses(world, consent.name, page_size=3)
    second = uses(world, consent.name, page_size=3, page_token=first.next_page_token)
    assert [each.exchange for each in (*first.uses, *second.uses)] == made and not second.next_page_token
    seen = first.uses[0]
    assert (seen.consumer, seen.caller) == (f"departments/{EDUCATION}", SYSTEM.uri)
    assert (seen.purpose, seen.mode, seen.fields[0].name) == (OTHER_PURPOSE, Mode.MODE_QUERY, "姓名")
    assert instant(second.uses[-1].at) == world.now - timedelta(minutes=1)
    assert (get(world, consent.name).uses, get(world, earlier.name).uses) == (5, 1)
    withdraw(world, consent.name)
    assert [each.exchange for each in uses(world, consent.name).uses] == made


def test_only_portals_list_uses(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    for caller in (CONSUMER, PROVIDER, SYSTEM):
        with pytest.raises(PermissionDenied) as refusal:
            world.rpc(caller, "ListConsentUses", pb.ListConsentUsesRequest(name=consent.name))
        assert refusal.value.reason is Reason.ROLE_NOT_ALLOWED
    with pytest.raises(NotFound):
        uses(world, "consents/5b0f8b8e-2a54-4c35-9c0e-0a4a9f0f7d11")
    with pytest.raises(InvalidArgument, match="page_token"):
        uses(world, consent.name, page_token="AAAA")


def test_uses_under_a_newer_subject_key_are_found_too(world: World, contract: Any) -> None:
    world.tokens.__class__.__init__(world.tokens, world.tokens.keys, 1)
    consent = grant(world, contract)
    before = use(world, consent)
    world.tokens.__class__.__init__(world.tokens, world.tokens.keys, 2)
    token = world.tokens.token(PERSON_ID.scheme, PERSON_ID.id)
    assert token != consent.subject_token
    after = use(world, consent, token=token)
    assert [each.exchange for each in uses(world, consent.name).uses] == [before, after]
    assert get(world, consent.name).uses == 2


def test_the_persons_own_list_shows_every_state(world: World, contract: Any) -> None:
    refused, silent = ask(world, contract), ask(world, contract, answer_by=timestamp(world.now + DAY))
    move(world, "RefuseConsent", refused.name)
    ended = {
        "WithdrawConsent": S.CONSENT_STATE_WITHDRAWN,
        "RevokeConsent": S.CONSENT_STATE_REVOKED,
        "InvalidateConsent": S.CONSENT_STATE_INVALIDATED,
    }
    expected = {refused.name: S.CONSENT_STATE_REFUSED, silent.name: S.CONSENT_STATE_LAPSED}
    for method, state in ended.items():
        consent = grant(world, contract)
        use(world, consent)
        move(world, method, consent.name)
        expected[consent.name] = state
    last = grant(world, contract)
    expected[last.name] = S.CONSENT_STATE_ACTIVE
    world.now += DAY
    assert {each.name: each.state for each in listed(world)} == expected
    assert sum(each.uses for each in listed(world)) == 3


@pytest.mark.parametrize("by", [PORTAL, COUNTER, PROVIDER, CONSUMER])
@pytest.mark.parametrize("paused", [False, True])
def test_a_consent_that_was_never_valid_is_invalidated(
    world: World, contract: Any, by: Any, paused: bool
) -> None:
    consent = grant(world, contract)
    if paused:
        move(world, "PauseConsent", consent.name)
    ended = move(world, "InvalidateConsent", consent.name, by=by)
    assert ended.state == S.CONSENT_STATE_INVALIDATED
    assert get(world, consent.name).state_reason == "本人要求"
    for method in ("ResumeConsent", "WithdrawConsent", "RevokeConsent", "InvalidateConsent"):
        with pytest.raises(StateConflict, match="it is INVALIDATED"):
            move(world, method, consent.name)


def test_an_invalidation_needs_its_reason_and_its_party(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    with pytest.raises(InvalidArgument, match="reason"):
        world.rpc(PORTAL, "InvalidateConsent", pb.InvalidateConsentRequest(name=consent.name))
    with pytest.raises(NotFound):
        move(world, "InvalidateConsent", consent.name, by=OUTSIDER)
    with pytest.raises(PermissionDenied):
        move(world, "InvalidateConsent", consent.name, by=SYSTEM)
    with pytest.raises(StateConflict, match="it is REQUESTED"):
        move(world, "InvalidateConsent", ask(world, contract).name)
    assert get(world, consent.name).state == S.CONSENT_STATE_ACTIVE


def test_an_auditor_finds_a_release_behind_an_invalidation(world: World, contract: Any) -> None:
    consent = grant(world, contract)
    move(world, "InvalidateConsent", consent.name)
    use(world, consent)
    with closing(sqlite3.connect(":memory:")) as scratch, pytest.raises(Damaged, match="InvalidateConsent"):
        rules = Rules(scratch)
        for index, record in enumerate(world.records()):
            rules.check(index, record)


def test_a_counter_enters_what_a_person_said_with_its_evidence(world: World, contract: Any) -> None:
    request = world.consent(
        contract, by=COUNTER, collection="COUNTER", evidence_reference="窗口7-办件-20261123-001"
    )
    consent = world.rpc(COUNTER, "GrantConsent", request).consent
    assert consent.collection_method == pb.COLLECTION_METHOD_COUNTER
    assert get(world, consent.name).evidence_reference == "窗口7-办件-20261123-001"
    assert get(world, consent.name, by=PROVIDER).evidence_reference == ""
