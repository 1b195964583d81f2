"""Consents that several people must give: all of them before it holds, any of them to end it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.state.consents import consents_of
from isthmus.errors import AlreadyExists, InvalidArgument, IsthmusError, Reason, StateConflict
from isthmus.identity import Role
from isthmus.statement import StatementKind
from isthmus.terms import timestamp
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1 import contract_service_pb2
from tests.integration.consent_calls import ask, events, get, grant, move, withdraw
from tests.integration.control_world import COUNTER, OTHER_PURPOSE, PORTAL, World, world_in

pytestmark = pytest.mark.integration

S = pb.ConsentState
PARENTS = ("母亲", "父亲")
GUARDIAN = {"grantor": "GUARDIAN", "evidence_reference": "户口簿-2026-17"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


@pytest.fixture
def contract(world: World) -> contract_service_pb2.Contract:
    return world.agree()


def speaks(world: World, consent: pb.Consent) -> list[str]:
    """Which consents count for the person at a release."""
    pair = (consent.contract.partition("@")[0], consent.subject_token)
    with world.ledger.read() as conn:
        return [each.name for each in consents_of(conn, [pair]).get(pair, [])]


def refusal(world: World, contract: Any, **changes: Any) -> IsthmusError:
    with pytest.raises(IsthmusError) as refused:
        grant(world, contract, **changes)
    return refused.value


def test_it_holds_when_the_last_of_them_has_consented(world: World, contract: Any) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    assert list(asked.required_parties) == list(PARENTS) and not asked.consented_parties
    until = world.now + timedelta(days=30)
    period = {"not_before": world.now, "not_after": until}
    first = grant(world, contract, consent=asked.name, party="母亲", **GUARDIAN, **period)
    assert (first.state, list(first.consented_parties)) == (S.CONSENT_STATE_REQUESTED, ["母亲"])
    assert speaks(world, first) == []
    world.now += timedelta(hours=1)
    of_age = {"of_age_at": world.now + timedelta(days=7), "evidence_reference": "出生证-2"}
    second = grant(world, contract, consent=asked.name, party="父亲", **{**GUARDIAN, **of_age}, **period)
    assert (second.state, list(second.consented_parties)) == (S.CONSENT_STATE_ACTIVE, list(PARENTS))
    assert second.evidence_reference == "户口簿-2026-17; 出生证-2"
    assert speaks(world, second) == [asked.name]
    assert [each[:3] for each in events(world, asked.name)] == [
        ("REQUESTED", "NEW", "REQUESTED"),
        ("PARTY_GRANTED", "REQUESTED", "REQUESTED"),
        ("GRANTED", "REQUESTED", "ACTIVE"),
    ]
    assert [each.change.get("party") for each in world.records()[-2:]] == list(PARENTS)
    world.now += timedelta(days=7)
    assert get(world, asked.name).state == S.CONSENT_STATE_EXPIRED


def test_the_receipt_of_one_party_says_who_is_awaited(world: World, contract: Any) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    response = world.rpc(PORTAL, "GrantConsent", world.consent(contract, consent=asked.name, party="父亲"))
    paper = world.verifier.verify(
        response.receipt, kind=StatementKind.CONTROL, expect_role=Role.GATEWAY
    ).payload
    assert paper["receipt"] == "consent-requested"
    assert paper["parties"] == {"required": list(PARENTS), "consented": ["父亲"]}


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_one_partys_no_ends_the_whole(world: World, contract: Any, answered: int) -> None:
    earlier = grant(world, contract, modes=("VERIFY",)) if answered < 2 else None
    asked = ask(world, contract, required_parties=PARENTS)
    for party in PARENTS[:answered]:
        grant(world, contract, consent=asked.name, party=party)
    ended = move(world, "RefuseConsent", asked.name) if answered < 2 else withdraw(world, asked.name).consent
    state = S.CONSENT_STATE_REFUSED if answered < 2 else S.CONSENT_STATE_WITHDRAWN
    assert ended.state == get(world, asked.name).state == state
    error = refusal(world, contract, consent=asked.name, party="父亲")
    assert error.reason in (Reason.STATE_CONFLICT, Reason.ALREADY_EXISTS)
    if earlier is not None:
        assert speaks(world, earlier) == [earlier.name]


def test_a_party_may_withdraw_while_others_have_yet_to_answer(world: World, contract: Any) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    with pytest.raises(StateConflict, match="nobody has consented yet"):
        withdraw(world, asked.name)
    grant(world, contract, consent=asked.name, party="母亲")
    records = len(world.records())
    response = withdraw(world, asked.name, by=COUNTER)
    assert response.consent.state == S.CONSENT_STATE_WITHDRAWN and len(world.records()) == records + 1
    with pytest.raises(AlreadyExists):
        grant(world, contract, consent=asked.name, party="父亲")


def test_the_same_party_again_changes_nothing(world: World, contract: Any) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    request = world.consent(contract, consent=asked.name, party="母亲")
    first = world.rpc(PORTAL, "GrantConsent", request).consent
    records = len(world.records())
    assert world.rpc(PORTAL, "GrantConsent", request).consent == first
    assert len(world.records()) == records
    error = refusal(world, contract, consent=asked.name, party="母亲")
    assert "still to consent: 父亲" in error.violations[0].description
    whole = grant(world, contract, consent=asked.name, party="父亲")
    assert world.rpc(PORTAL, "GrantConsent", request).consent == whole


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"purposes": (OTHER_PURPOSE,)}, "statement.purposes"),
        ({"fields": ("姓名", "birth_date")}, "statement.fields"),
        ({"modes": ("VERIFY",)}, "statement.modes"),
        ({"max_uses": 3}, "statement.max_uses"),
        ({"party": "邻居"}, "statement.party"),
        ({"party": ""}, "statement.party"),
    ],
)
def test_all_of_them_say_the_same(world: World, contract: Any, changes: dict[str, Any], field: str) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    grant(world, contract, consent=asked.name, party="母亲")
    error = refusal(world, contract, **{"consent": asked.name, "party": "父亲", **changes})
    assert error.reason is Reason.STATEMENT_INVALID
    assert [each.field for each in error.violations] == [field]
    assert world.records()[-1].reasons == ("STATEMENT_INVALID",)
    assert list(get(world, asked.name).consented_parties) == ["母亲"]


def test_all_of_them_name_the_same_period(world: World, contract: Any) -> None:
    asked = ask(world, contract, required_parties=PARENTS)
    grant(world, contract, consent=asked.name, party="母亲")
    later = {"not_before": world.now + timedelta(hours=1), "not_after": world.now + timedelta(days=31)}
    error = refusal(world, contract, consent=asked.name, party="父亲", **later)
    assert [each.field for each in error.violations] == ["statement.not_before", "statement.not_after"]


def test_a_party_that_nobody_asked_for(world: World, contract: Any) -> None:
    for changes in ({}, {"consent": ask(world, contract).name}):
        error = refusal(world, contract, party="母亲", **changes)
        assert "RequestConsent names them" in error.violations[0].description


def test_a_question_to_several_lapses_when_one_is_silent(world: World, contract: Any) -> None:
    answer_by = timestamp(world.now + timedelta(days=3))
    asked = ask(world, contract, required_parties=PARENTS, answer_by=answer_by)
    grant(world, contract, consent=asked.name, party="母亲")
    world.now += timedelta(days=3)
    lapsed = get(world, asked.name)
    assert lapsed.state == S.CONSENT_STATE_LAPSED and lapsed.state_reason == "nobody answered in time"
    for act in (
        lambda: grant(world, contract, consent=asked.name, party="父亲"),
        lambda: withdraw(world, asked.name),
    ):
        with pytest.raises(IsthmusError):
            act()


def test_too_many_parties_or_one_twice(world: World, contract: Any) -> None:
    for parties in (("母亲", "母亲"), [str(number) for number in range(9)], ("",)):
        with pytest.raises(InvalidArgument, match="required_parties"):
            ask(world, contract, required_parties=parties)


def test_the_whole_replaces_an_earlier_consent_only_when_all_have_consented(
    world: World, contract: Any
) -> None:
    earlier = grant(world, contract)
    asked = ask(world, contract, required_parties=PARENTS)
    grant(world, contract, consent=asked.name, party="父亲")
    assert speaks(world, earlier) == [earlier.name]
    whole = grant(world, contract, consent=asked.name, party="母亲")
    assert speaks(world, whole) == [whole.name]
    assert get(world, earlier.name).state == S.CONSENT_STATE_SUPERSEDED
