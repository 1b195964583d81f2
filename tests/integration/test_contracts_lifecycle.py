"""Contracts from proposal to end, over real connections and a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from isthmus.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidArgument,
    IsthmusError,
    StateConflict,
    TermsInvalid,
)
from isthmus.terms import rfc3339, timestamp
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.contract_calls import events, get
from tests.integration.control_world import CONSUMER, EDUCATION, OUTSIDER, PROVIDER, REGISTRY, World, world_in

pytestmark = pytest.mark.integration

S = pb.ContractState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


def test_two_signatures_make_a_contract_active(world: World) -> None:
    proposed = world.propose()
    assert (proposed.name, proposed.state) == ("contracts/edu-person@1", S.CONTRACT_STATE_PROPOSED)
    once = world.sign(CONSUMER, proposed)
    assert (once.state, len(once.signatures)) == (S.CONTRACT_STATE_PROPOSED, 1)
    twice = world.sign(PROVIDER, proposed)
    assert twice.state == S.CONTRACT_STATE_ACTIVE
    assert [each.department for each in twice.signatures] == [
        f"departments/{EDUCATION}",
        f"departments/{REGISTRY}",
    ]
    assert twice.terms_json == proposed.terms_json
    assert [each.type for each in events(world)] == ["PROPOSED", "SIGNED", "SIGNED", "AGREED", "ACTIVATED"]


def test_every_change_is_a_record_and_every_event_names_its_position(world: World) -> None:
    contract = world.agree()
    records = world.records()
    assert [each.action for each in records] == [
        "PublishDataset",
        "ProposeContract",
        "SignContract",
        "SignContract",
    ]
    last = records[-1]
    assert (last.contract, last.terms_digest) == (contract.name, contract.terms_digest)
    assert (last.consumer, last.provider) == (contract.terms.consumer, contract.terms.provider)
    assert last.caller == PROVIDER.uri and last.certificate == world.credentials(PROVIDER).thumbprint
    assert len(last.change["statement_digest"]) == 64
    assert [each.position for each in events(world)] == [1, 2, 3, 3, 3]
    assert get(world).position == 3


def test_a_reason_is_committed_to_in_the_log_and_not_written_there(world: World) -> None:
    world.propose()
    record = world.records()[-1]
    assert "招生季" not in record.leaf().decode() and len(record.change["reason_commitment"]) == 64
    assert get(world).state_reason == "招生季"


def test_a_contract_agreed_early_becomes_active_when_its_period_begins(world: World) -> None:
    begins = world.now + timedelta(days=10)
    contract = world.agree(not_before=rfc3339(begins))
    assert contract.state == S.CONTRACT_STATE_AGREED
    world.now = begins - timedelta(milliseconds=1)
    assert get(world).state == S.CONTRACT_STATE_AGREED
    world.now = begins
    assert get(world).state == S.CONTRACT_STATE_ACTIVE
    request = pb.TerminateContractRequest(name=contract.name, reason="不再需要")
    ended = world.rpc(CONSUMER, "TerminateContract", request).contract
    assert ended.state == S.CONTRACT_STATE_TERMINATED
    last = events(world)[-2:]
    assert [(each.type, each.actor) for each in last] == [
        ("ACTIVATED", "clock"),
        ("TERMINATED", CONSUMER.uri),
    ]
    assert last[0].at == timestamp(begins)


def test_a_contract_expires_by_itself_and_stays_expired(world: World) -> None:
    contract = world.agree()
    world.now += timedelta(days=100)
    assert get(world).state == S.CONTRACT_STATE_EXPIRED
    for method, request in (
        ("SuspendContract", pb.SuspendContractRequest(name=contract.name, reason="x")),
        ("TerminateContract", pb.TerminateContractRequest(name=contract.name, reason="x")),
    ):
        with pytest.raises(StateConflict, match="it is EXPIRED"):
            world.rpc(PROVIDER, method, request)


def test_only_the_department_that_suspended_resumes(world: World) -> None:
    contract = world.agree()
    request = pb.SuspendContractRequest(
        name=contract.name, reason="用途存疑", rectify_by=timestamp(world.now + timedelta(days=5))
    )
    suspended = world.rpc(PROVIDER, "SuspendContract", request).contract
    assert suspended.state == S.CONTRACT_STATE_SUSPENDED and suspended.state_reason == "用途存疑"
    resume = pb.ResumeContractRequest(name=contract.name, reason="已整改")
    with pytest.raises(StateConflict, match="only departments/civil-registry can resume"):
        world.rpc(CONSUMER, "ResumeContract", resume)
    assert world.rpc(PROVIDER, "ResumeContract", resume).contract.state == S.CONTRACT_STATE_ACTIVE
    world.rpc(CONSUMER, "SuspendContract", pb.SuspendContractRequest(name=contract.name, reason="自查"))
    with pytest.raises(StateConflict, match="only departments/education can resume"):
        world.rpc(PROVIDER, "ResumeContract", resume)


def test_rectification_is_due_in_the_future(world: World) -> None:
    contract = world.agree()
    request = pb.SuspendContractRequest(name=contract.name, reason="x", rectify_by=timestamp(world.now))
    with pytest.raises(InvalidArgument, match="rectify_by"):
        world.rpc(PROVIDER, "SuspendContract", request)


def test_a_proposal_is_rejected_by_the_other_side_and_withdrawn_by_its_own(world: World) -> None:
    contract = world.propose()
    refuse = pb.RejectContractRequest(
        name=contract.name,
        reason="超出职责",
        legal_citation="第二十一条",
        rejection_reason=pb.REJECTION_REASON_OUTSIDE_DUTIES,
    )
    take_back = pb.WithdrawContractRequest(name=contract.name, reason="材料有误")
    with pytest.raises(StateConflict, match="proposed it itself"):
        world.rpc(CONSUMER, "RejectContract", refuse)
    with pytest.raises(StateConflict, match="departments/education proposed it"):
        world.rpc(PROVIDER, "WithdrawContract", take_back)
    rejected = world.rpc(PROVIDER, "RejectContract", refuse).contract
    assert rejected.state == S.CONTRACT_STATE_REJECTED
    assert rejected.state_reason == "超出职责 [第二十一条]"
    again = world.propose()
    assert again.name == "contracts/edu-person@2"
    take_back.name = again.name
    assert world.rpc(CONSUMER, "WithdrawContract", take_back).contract.state == S.CONTRACT_STATE_WITHDRAWN


def test_a_counter_proposal_is_the_next_version(world: World) -> None:
    first = world.propose()
    request = pb.CounterContractRequest(
        name=first.name, terms=world.terms(retention_days=7), reason="缩短保存期限"
    )
    with pytest.raises(StateConflict, match="proposed it itself"):
        world.rpc(CONSUMER, "CounterContract", request)
    second = world.rpc(PROVIDER, "CounterContract", request).contract
    assert (second.name, second.proposer) == ("contracts/edu-person@2", f"departments/{REGISTRY}")
    assert get(world, first.name).state == S.CONTRACT_STATE_COUNTERED
    with pytest.raises(StateConflict, match="it is COUNTERED"):
        world.sign(CONSUMER, first)
    world.sign(CONSUMER, second)
    assert world.sign(PROVIDER, second).state == S.CONTRACT_STATE_ACTIVE


def test_a_counter_proposal_changes_the_terms_and_not_the_parties(world: World) -> None:
    first = world.propose()
    same = pb.CounterContractRequest(name=first.name, terms=first.terms, reason="x")
    with pytest.raises(TermsInvalid, match="sign it instead"):
        world.rpc(PROVIDER, "CounterContract", same)
    other = world.terms(consumer="departments/tax", systems=["departments/tax/systems/one"])
    with pytest.raises(TermsInvalid, match="same two departments"):
        world.rpc(
            PROVIDER, "CounterContract", pb.CounterContractRequest(name=first.name, terms=other, reason="x")
        )
    assert get(world).state == S.CONTRACT_STATE_PROPOSED and get(world).version == 1


def test_a_new_agreed_version_supersedes_the_old_one_and_not_before(world: World) -> None:
    old = world.agree()
    new = world.propose(retention_days=7)
    assert new.name == "contracts/edu-person@2"
    assert get(world, old.name).state == S.CONTRACT_STATE_ACTIVE
    world.sign(CONSUMER, new)
    assert get(world, old.name).state == S.CONTRACT_STATE_ACTIVE
    world.sign(PROVIDER, new)
    before = get(world, old.name)
    assert before.state == S.CONTRACT_STATE_SUPERSEDED
    # Invariant 10: what was agreed is never changed.
    assert (before.terms_json, list(before.signatures)) == (old.terms_json, list(old.signatures))
    with pytest.raises(StateConflict, match="it is SUPERSEDED"):
        world.rpc(CONSUMER, "TerminateContract", pb.TerminateContractRequest(name=old.name, reason="x"))


def test_one_proposal_at_a_time(world: World) -> None:
    world.propose()
    with pytest.raises(StateConflict, match="sign, counter, reject or withdraw"):
        world.propose(by=PROVIDER, retention_days=7)


def test_a_name_stays_with_its_two_departments(world: World) -> None:
    world.agree()
    terms = world.terms(consumer="departments/tax", systems=["departments/tax/systems/one"])
    with pytest.raises(AlreadyExists):
        world.rpc(
            OUTSIDER, "ProposeContract", pb.ProposeContractRequest(contract_id="edu-person", terms=terms)
        )


def test_a_repeated_proposal_returns_the_first_result(world: World) -> None:
    request = pb.ProposeContractRequest(
        contract_id="edu-person", terms=world.terms(), request_id="5b0f8b8e-2a54-4c35-9c0e-0a4a9f0f7d11"
    )
    first = world.rpc(CONSUMER, "ProposeContract", request)
    world.sign(CONSUMER, first.contract)
    assert world.rpc(CONSUMER, "ProposeContract", request) == first
    assert [each.action for each in world.records()].count("ProposeContract") == 1
    request.reason = "另一理由"
    with pytest.raises(InvalidArgument, match="request_id"):
        world.rpc(CONSUMER, "ProposeContract", request)
    request.request_id = "not-a-uuid"
    with pytest.raises(InvalidArgument, match="request_id"):
        world.rpc(CONSUMER, "ProposeContract", request)


def test_an_etag_that_is_out_of_date_is_refused(world: World) -> None:
    proposed = world.propose()
    world.sign(CONSUMER, proposed)
    statement = world.signature(PROVIDER, proposed)
    request = pb.SignContractRequest(name=proposed.name, statement=statement, etag=proposed.etag)
    with pytest.raises(EtagMismatch):
        world.rpc(PROVIDER, "SignContract", request)
    request.etag = get(world).etag
    assert world.rpc(PROVIDER, "SignContract", request).contract.state == S.CONTRACT_STATE_ACTIVE


@pytest.mark.parametrize(
    "name", ["contracts/edu-person", "contracts/Edu@1", "edu-person@1", "contracts/x@0", ""]
)
def test_a_change_names_one_version(world: World, name: str) -> None:
    with pytest.raises(InvalidArgument):
        world.rpc(CONSUMER, "TerminateContract", pb.TerminateContractRequest(name=name, reason="x"))


def test_a_broken_rule_of_the_proto_is_named(world: World) -> None:
    with pytest.raises(IsthmusError) as refusal:
        world.rpc(CONSUMER, "ProposeContract", pb.ProposeContractRequest(contract_id="Nope"))
    assert {"contract_id", "terms"} <= {each.field for each in refusal.value.violations}
