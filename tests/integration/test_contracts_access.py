"""Who may make a contract, who may read one, and how lists of them come in pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import InvalidArgument, NotFound, PermissionDenied, Reason
from isthmus.terms import rfc3339
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.contract_calls import get
from tests.integration.control_world import (
    AUDITOR,
    CONSUMER,
    NODE,
    OPERATOR,
    OUTSIDER,
    PORTAL,
    PROVIDER,
    SYSTEM,
    World,
    world_in,
)

pytestmark = pytest.mark.integration

S = pb.ContractState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


def test_nobody_proposes_for_other_departments(world: World) -> None:
    request = pb.ProposeContractRequest(contract_id="edu-person", terms=world.terms())
    with pytest.raises(PermissionDenied) as refusal:
        world.rpc(OUTSIDER, "ProposeContract", request)
    assert refusal.value.reason is Reason.NOT_A_PARTY
    record = world.records()[-1]
    assert (record.action, record.reasons, record.caller) == (
        "ProposeContract",
        ("NOT_A_PARTY",),
        OUTSIDER.uri,
    )
    assert refusal.value.exchange == record.exchange


@pytest.mark.parametrize("role", ["SYSTEM", "NODE", "AUDITOR", "OPERATOR", "PORTAL"])
def test_only_officers_make_contracts(world: World, role: str) -> None:
    caller = {"SYSTEM": SYSTEM, "NODE": NODE, "AUDITOR": AUDITOR, "OPERATOR": OPERATOR, "PORTAL": PORTAL}[
        role
    ]
    request = pb.ProposeContractRequest(contract_id="edu-person", terms=world.terms())
    with pytest.raises(PermissionDenied) as refusal:
        world.rpc(caller, "ProposeContract", request)
    assert refusal.value.reason is Reason.ROLE_NOT_ALLOWED


def test_others_cannot_tell_a_contract_from_none(world: World) -> None:
    contract = world.agree()
    calls: dict[str, Any] = {
        "GetContract": pb.GetContractRequest(name=contract.name),
        "ListContractEvents": pb.ListContractEventsRequest(name=contract.contract),
        "SuspendContract": pb.SuspendContractRequest(name=contract.name, reason="x"),
        "ResumeContract": pb.ResumeContractRequest(name=contract.name, reason="x"),
        "TerminateContract": pb.TerminateContractRequest(name=contract.name, reason="x"),
        "WithdrawContract": pb.WithdrawContractRequest(name=contract.name, reason="x"),
        "RejectContract": pb.RejectContractRequest(
            name=contract.name,
            reason="x",
            legal_citation="x",
            rejection_reason=pb.REJECTION_REASON_OUTSIDE_DUTIES,
        ),
        "CounterContract": pb.CounterContractRequest(name=contract.name, reason="x", terms=contract.terms),
        "SignContract": pb.SignContractRequest(
            name=contract.name, statement=world.signature(OUTSIDER, contract)
        ),
    }
    for method, request in calls.items():
        with pytest.raises(NotFound) as known:
            world.rpc(OUTSIDER, method, request)
        request.name = request.name.replace("edu-person", "no-such")
        with pytest.raises(NotFound) as unknown:
            world.rpc(OUTSIDER, method, request)
        assert known.value.message == unknown.value.message.replace("no-such", "edu-person"), method
    assert not world.rpc(OUTSIDER, "ListContracts", pb.ListContractsRequest()).contracts
    refused = [each for each in world.records() if each.caller == OUTSIDER.uri]
    assert {each.reasons for each in refused} == {("NOT_A_PARTY",)} and len(refused) == 7
    assert get(world).state == S.CONTRACT_STATE_ACTIVE


def test_parties_auditors_and_portals_read_what_concerns_them(world: World) -> None:
    asks = world.agree("asks-consent")
    duty = world.agree("legal-duty", legal_basis="LEGAL_OBLIGATION")
    draft = world.propose("being-negotiated")
    visible = {
        PROVIDER: {asks.name, duty.name, draft.name},
        SYSTEM: {asks.name, duty.name, draft.name},
        NODE: {asks.name, duty.name, draft.name},
        AUDITOR: {asks.name, duty.name, draft.name},
        PORTAL: {asks.name},
        OUTSIDER: set(),
    }
    for caller, names in visible.items():
        listed = world.rpc(caller, "ListContracts", pb.ListContractsRequest()).contracts
        assert {each.name for each in listed} == names
        for contract in (asks, duty, draft):
            request = pb.GetContractRequest(name=contract.name)
            if contract.name in names:
                assert world.rpc(caller, "GetContract", request).contract.name == contract.name
            else:
                with pytest.raises(NotFound):
                    world.rpc(caller, "GetContract", request)


def test_a_portal_sees_what_is_in_force_while_a_new_version_is_negotiated(world: World) -> None:
    old = world.agree()
    world.propose(retention_days=7)
    request = pb.GetContractRequest(name=old.contract)
    assert world.rpc(PORTAL, "GetContract", request).contract.name == old.name
    assert world.rpc(CONSUMER, "GetContract", request).contract.version == 2


def test_lists_come_in_pages_and_filters_follow_the_clock(world: World) -> None:
    for number in range(5):
        world.agree(f"c{number}", not_before=rfc3339(world.now + timedelta(days=number)))
    request = pb.ListContractsRequest(page_size=2)
    seen: list[str] = []
    while True:
        page = world.rpc(CONSUMER, "ListContracts", request)
        assert len(page.contracts) <= 2
        seen += [each.contract for each in page.contracts]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"contracts/c{number}" for number in range(5)]
    world.now += timedelta(days=2)
    active = pb.ListContractsRequest(states=[S.CONTRACT_STATE_ACTIVE], page_size=2)
    first = world.rpc(CONSUMER, "ListContracts", active)
    assert [each.contract for each in first.contracts] == ["contracts/c0", "contracts/c1"]
    active.page_token = first.next_page_token
    assert [each.contract for each in world.rpc(CONSUMER, "ListContracts", active).contracts] == [
        "contracts/c2"
    ]
    active.states.append(S.CONTRACT_STATE_AGREED)
    with pytest.raises(InvalidArgument, match="page_token"):
        world.rpc(CONSUMER, "ListContracts", active)
    elsewhere = pb.ListContractsRequest(provider="departments/tax")
    assert not world.rpc(CONSUMER, "ListContracts", elsewhere).contracts


def test_events_come_in_pages(world: World) -> None:
    world.agree()
    request = pb.ListContractEventsRequest(name="contracts/edu-person", page_size=2)
    types: list[str] = []
    for _ in range(3):
        page = world.rpc(PROVIDER, "ListContractEvents", request)
        types += [each.type for each in page.events]
        request.page_token = page.next_page_token
    assert types == ["PROPOSED", "SIGNED", "SIGNED", "AGREED", "ACTIVATED"] and not request.page_token
    request.page_token = "not-a-token"
    with pytest.raises(InvalidArgument, match="page_token"):
        world.rpc(PROVIDER, "ListContractEvents", request)
