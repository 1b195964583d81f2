"""The clocks of a contract through the real service: due, stopped, extended, missed, and never silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from gateway.clocks.deadlines import add_working_days
from gateway.clocks.pack import RulePacks
from gateway.clocks.pack_folder import load_packs
from gateway.contracts.clerk import ContractClerk
from gateway.contracts.overdue import unwritten
from gateway.rulebook import Rulebook
from gateway.state.change import Call
from gateway.state.contracts import ContractRow
from isthmus.errors import InvalidArgument, PermissionDenied, Reason, StateConflict
from isthmus.identity import Identity, Role
from isthmus.terms import instant, rfc3339, timestamp
from isthmus.v1 import contract_service_pb2 as pb
from isthmus.v1.common_pb2 import SharingClass
from tests.integration.contract_calls import events, get
from tests.integration.control_world import CONSUMER, PROVIDER, World, party, world_in

pytestmark = pytest.mark.integration
S = pb.ContractState
SECOND = party(Role.OFFICER, "education", "second")
CLERK = party(Role.GATEWAY, None, "main")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A catalogue published before, and new cases under the decree."""
    with world_in(tmp_path) as one:
        one.publish()
        one.control.rulebook = Rulebook.load("china-809")
        yield one


class EveryDay:
    """A calendar without a day off."""

    def is_working_day(self, day: date) -> bool:
        return True

    def known(self, day: date) -> bool:
        return True


def deadline(contract: pb.Contract, kind: str) -> pb.Deadline:
    wanted = pb.DeadlineKind.Value(f"DEADLINE_KIND_{kind}")
    (found,) = [each for each in contract.deadlines if each.kind == wanted]
    return found


def working_days_from(world: World, start: datetime, days: int) -> datetime:
    pack = world.control.rulebook.current(start)
    zone = ZoneInfo("Asia/Shanghai")
    return add_working_days(start, days, world.control.rulebook.calendar(pack), zone=zone).at


def clerk(world: World) -> int:
    return ContractClerk().run(world.control, lambda: world.control.call(CLERK, "0" * 64, "Clock"))


def signed_by(world: World, contract: pb.Contract, *signers: Identity) -> pb.Contract:
    for signer in signers:
        contract = world.sign(signer, contract)
    return contract


def test_a_conditional_dataset_is_answered_within_ten_working_days(world: World) -> None:
    contract = world.propose()
    assert contract.rule_pack == "china-809@2025-08-01"
    answer = deadline(contract, "ANSWER")
    assert instant(answer.due) == working_days_from(world, world.now, 10)
    assert "第二十一条" in answer.rule and not answer.overdue


def test_a_missed_answer_shows_in_state_and_becomes_one_event_without_anybody_asking(world: World) -> None:
    contract = world.propose()
    world.now = instant(deadline(contract, "ANSWER").due)
    assert deadline(get(world), "ANSWER").overdue
    assert clerk(world) == 1 and clerk(world) == 0
    missed = events(world)[-1]
    assert (missed.type, missed.actor, missed.to) == ("ANSWER_OVERDUE", "clock", S.CONTRACT_STATE_PROPOSED)
    assert world.records()[missed.position].resource == contract.name


def test_the_class_that_the_dataset_had_decides_the_limit(world: World) -> None:
    world.publish(sharing_class=SharingClass.SHARING_CLASS_UNCONDITIONAL, conditions=[], purposes=[])
    contract = world.propose()
    assert instant(deadline(contract, "ANSWER").due) == working_days_from(world, world.now, 1)
    world.publish()
    assert deadline(get(world), "ANSWER") == deadline(contract, "ANSWER")


def test_two_clerks_write_one_event(world: World) -> None:
    """Another gateway's clerk is first, between what this one saw and what it writes."""
    contract = world.propose()
    world.now = instant(deadline(contract, "ANSWER").due)
    asked, first = count(), list[int]()

    def new_call() -> Call:
        if next(asked) == 1:
            first.append(clerk(world))
        return world.control.call(CLERK, "0" * 64, "Clock")

    size = len(world.records())
    assert ContractClerk().run(world.control, new_call) == 0
    assert (first, len(world.records())) == ([1], size + 1)


def test_a_supplement_is_asked_for_once_and_stops_the_clock(world: World) -> None:
    contract = world.propose()
    ask = pb.RequestSupplementRequest(name=contract.name, missing="办理依据 the legal basis")
    with pytest.raises(StateConflict, match="proposed it itself"):
        world.rpc(CONSUMER, "RequestSupplement", ask)
    waiting = world.rpc(PROVIDER, "RequestSupplement", ask).contract
    assert deadline(waiting, "ANSWER").stopped and waiting.supplement_request == ask.missing
    with pytest.raises(StateConflict, match="no second notice"):
        world.rpc(PROVIDER, "RequestSupplement", ask)
    world.now += timedelta(days=30)
    given = pb.SupplementContractRequest(name=contract.name, supplement="已补充")
    with pytest.raises(StateConflict, match="only departments/education"):
        world.rpc(PROVIDER, "SupplementContract", given)
    after = world.rpc(CONSUMER, "SupplementContract", given).contract
    assert not deadline(after, "ANSWER").overdue and instant(deadline(after, "ANSWER").due) > world.now
    with pytest.raises(StateConflict, match="nobody is waiting"):
        world.rpc(CONSUMER, "SupplementContract", given)


def test_an_answer_is_extended_once_and_by_no_more_than_the_law_allows(world: World) -> None:
    contract = world.propose()
    extend = pb.ExtendAnswerRequest(
        name=contract.name, amount=11, authority_reference="函〔2026〕1号", reason="x"
    )
    with pytest.raises(InvalidArgument, match="at most 10"):
        world.rpc(PROVIDER, "ExtendAnswer", extend)
    extend.amount = 10
    with pytest.raises(StateConflict, match="proposed it itself"):
        world.rpc(CONSUMER, "ExtendAnswer", extend)
    longer = world.rpc(PROVIDER, "ExtendAnswer", extend).contract
    assert instant(deadline(longer, "ANSWER").due) == working_days_from(world, world.now, 20)
    with pytest.raises(StateConflict, match="possible once"):
        world.rpc(PROVIDER, "ExtendAnswer", extend)


def test_a_pack_without_extensions_grants_none(world: World) -> None:
    pack = load_packs().by_ref("neutral@2000-01-01")
    limits = {kind: replace(limit, extension=None) for kind, limit in pack.limits.items()}
    world.control.rulebook = Rulebook(RulePacks([replace(pack, limits=limits)]))
    contract = world.propose()
    extend = pb.ExtendAnswerRequest(name=contract.name, amount=1, authority_reference="函1号", reason="x")
    with pytest.raises(StateConflict, match="knows no extension"):
        world.rpc(PROVIDER, "ExtendAnswer", extend)


def test_what_is_closed_is_neither_extended_nor_supplemented(world: World) -> None:
    contract = world.propose()
    ask = pb.RequestSupplementRequest(name=contract.name, missing="办理依据")
    world.rpc(PROVIDER, "RequestSupplement", ask)
    world.rpc(CONSUMER, "WithdrawContract", pb.WithdrawContractRequest(name=contract.name, reason="x"))
    extend = pb.ExtendAnswerRequest(name=contract.name, amount=1, authority_reference="函1号", reason="x")
    given = pb.SupplementContractRequest(name=contract.name, supplement="已补充")
    for by, method, request in (
        (PROVIDER, "RequestSupplement", ask),
        (PROVIDER, "ExtendAnswer", extend),
        (CONSUMER, "SupplementContract", given),
    ):
        with pytest.raises(StateConflict, match="it is WITHDRAWN"):
            world.rpc(by, method, request)


def test_what_ended_in_time_does_not_become_late(world: World) -> None:
    contract = world.propose()
    world.now = instant(deadline(contract, "ANSWER").due) - timedelta(minutes=1)
    world.rpc(CONSUMER, "WithdrawContract", pb.WithdrawContractRequest(name=contract.name, reason="x"))
    world.now += timedelta(days=30)
    assert not deadline(get(world), "ANSWER").overdue


def test_data_is_owed_from_the_beginning_of_the_period(world: World) -> None:
    begins = world.now + timedelta(days=30)
    ahead = signed_by(world, world.propose(not_before=rfc3339(begins)), SECOND, PROVIDER)
    assert instant(deadline(ahead, "PROVIDE").due) == working_days_from(world, begins, 20)


def test_only_the_first_word_of_the_other_side_is_the_answer(world: World) -> None:
    contract = signed_by(world, world.propose(), PROVIDER)
    answered = deadline(contract, "ANSWER").met_at
    world.now += timedelta(days=3)
    other_terms = pb.CounterContractRequest(
        name=contract.name, terms=world.terms(retention_days=7), reason="x"
    )
    world.rpc(PROVIDER, "CounterContract", other_terms)
    assert deadline(get(world, contract.name), "ANSWER").met_at == answered


def test_an_extension_cannot_undo_that_an_answer_was_missed(world: World) -> None:
    contract = world.propose()
    world.now = instant(deadline(contract, "ANSWER").due)
    extend = pb.ExtendAnswerRequest(
        name=contract.name, amount=10, authority_reference="函〔2026〕1号", reason="x"
    )
    with pytest.raises(StateConflict, match="a limit that has ended is not extended"):
        world.rpc(PROVIDER, "ExtendAnswer", extend)
    assert deadline(get(world), "ANSWER").overdue


def test_what_was_answered_is_neither_extended_nor_held_up(world: World) -> None:
    contract = signed_by(world, world.propose(), PROVIDER)
    assert contract.state == S.CONTRACT_STATE_PROPOSED
    extend = pb.ExtendAnswerRequest(
        name=contract.name, amount=10, authority_reference="函〔2026〕1号", reason="x"
    )
    with pytest.raises(StateConflict, match="it was answered on"):
        world.rpc(PROVIDER, "ExtendAnswer", extend)
    with pytest.raises(StateConflict, match="it was answered on"):
        ask = pb.RequestSupplementRequest(name=contract.name, missing="办理依据")
        world.rpc(PROVIDER, "RequestSupplement", ask)


def test_a_corrected_calendar_does_not_make_the_clerk_write_for_ever(world: World) -> None:
    """The holidays of a year are known late: what was in time by Monday to Friday may turn out to have been late."""
    contract = signed_by(world, world.propose(), SECOND)
    world.now = instant(deadline(contract, "ANSWER").due) - timedelta(minutes=1)
    agreed = signed_by(world, contract, PROVIDER)
    assert not deadline(agreed, "ANSWER").overdue
    world.control.rulebook = Rulebook(load_packs(), "china-809", calendar=EveryDay())
    assert deadline(get(world), "ANSWER").overdue
    size = len(world.records())
    assert [clerk(world), clerk(world)] == [0, 0]
    assert len(world.records()) == size


def test_who_submitted_does_not_also_sign(world: World) -> None:
    contract = world.propose()
    with pytest.raises(PermissionDenied) as refused:
        world.sign(CONSUMER, contract)
    assert refused.value.reason is Reason.TWO_PERSON_RULE
    assert world.records()[-1].reasons == ("TWO_PERSON_RULE",)
    agreed = signed_by(world, contract, SECOND, PROVIDER)
    assert agreed.state == S.CONTRACT_STATE_ACTIVE
    assert deadline(agreed, "ANSWER").met_at == timestamp(world.now)
    assert instant(deadline(agreed, "PROVIDE").due) == working_days_from(world, world.now, 20)


def test_a_refusal_cites_only_what_the_catalogue_publishes(world: World) -> None:
    contract = world.propose()
    refuse = pb.RejectContractRequest(
        name=contract.name,
        reason="条件不符",
        legal_citation="第二十一条",
        rejection_reason=pb.REJECTION_REASON_CONDITION_NOT_MET,
    )
    with pytest.raises(InvalidArgument, match="is required"):
        world.rpc(PROVIDER, "RejectContract", refuse)
    refuse.condition = "部门领导个人批准"
    with pytest.raises(InvalidArgument) as refused:
        world.rpc(PROVIDER, "RejectContract", refuse)
    assert refused.value.reason is Reason.CONDITION_NOT_PUBLISHED


def test_a_provider_cannot_suspend_without_saying_until_when(world: World) -> None:
    contract = signed_by(world, world.propose(), SECOND, PROVIDER)
    request = pb.SuspendContractRequest(name=contract.name, reason="超范围使用")
    with pytest.raises(InvalidArgument, match="rectify_by"):
        world.rpc(PROVIDER, "SuspendContract", request)
    request.rectify_by.CopyFrom(timestamp(world.now))
    with pytest.raises(InvalidArgument, match="in the future"):
        world.rpc(PROVIDER, "SuspendContract", request)
    request.rectify_by.CopyFrom(timestamp(world.now + timedelta(days=5)))
    suspended = world.rpc(PROVIDER, "SuspendContract", request).contract
    assert deadline(suspended, "RECTIFY").due == request.rectify_by
    world.now += timedelta(days=6)
    clerk(world)
    assert [each.type for each in events(world)][-1] == "RECTIFY_OVERDUE"


def test_an_old_case_keeps_its_old_rules(world: World) -> None:
    contract = world.propose()
    world.control.rulebook = Rulebook.load("neutral")
    assert get(world).rule_pack == contract.rule_pack
    with pytest.raises(PermissionDenied):
        world.sign(CONSUMER, contract)


def test_a_version_agreed_ahead_of_its_time_leaves_no_gap(world: World) -> None:
    old = signed_by(world, world.propose(), SECOND, PROVIDER)
    begins = world.now + timedelta(days=10)
    new = world.propose(not_before=rfc3339(begins))
    signed_by(world, new, SECOND, PROVIDER)
    assert get(world, old.name).state == S.CONTRACT_STATE_ACTIVE
    assert get(world, new.name).state == S.CONTRACT_STATE_AGREED
    world.now = begins
    assert get(world, old.name).state == S.CONTRACT_STATE_SUPERSEDED
    assert get(world, new.name).state == S.CONTRACT_STATE_ACTIVE
    clerk(world)
    assert {"SUPERSEDED", "ACTIVATED"} <= {each.type for each in events(world) if each.actor == "clock"}


def test_the_clerk_looks_again_only_when_a_time_has_come_or_something_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def looking(conn: sa.Connection, row: ContractRow, rulebook: Rulebook, now: datetime) -> object:
        looked.append(row.full_name)
        return unwritten(conn, row, rulebook, now)

    monkeypatch.setattr("gateway.contracts.clerk.unwritten", looking)
    contract, one = world.propose(), ContractClerk()

    def looked_at() -> set[str]:
        looked.clear()
        one.run(world.control, lambda: world.control.call(CLERK, "0" * 64, "Clock"))
        return set(looked)

    assert looked_at() == {contract.name}
    assert looked_at() == set()
    world.now = instant(deadline(contract, "ANSWER").due)
    assert looked_at() == {contract.name}
    assert "ANSWER_OVERDUE" in [each.type for each in events(world)]
    assert looked_at() == {contract.name}, "it was written to"
    assert looked_at() == set()
