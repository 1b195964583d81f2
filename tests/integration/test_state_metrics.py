"""What the metrics of the registry say: read from the database, so that every gateway says the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.clocks.pack import RulePacks
from gateway.clocks.pack_folder import load_packs
from gateway.rulebook import Rulebook
from gateway.state_metrics import REMEMBERED_FOR, StateCollector
from isthmus.terms import instant, rfc3339
from isthmus.v1 import contract_service_pb2 as pb
from tests.integration.consent_calls import ask, grant, move, withdraw
from tests.integration.contract_calls import get
from tests.integration.control_world import CONSUMER, PROVIDER, REGISTRY, World, world_in

pytestmark = pytest.mark.integration

OVERDUE = "isthmus_contract_answers_overdue"
WORKDAYS = "isthmus_contract_answer_workdays"
CHANGES = "isthmus_consent_changes_total"
FRIDAY = datetime.fromisoformat("2027-06-18T01:00:00Z")
"""Ten in the morning in Beijing; no holiday is near."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Cases under the neutral pack: twenty working days for an answer, Monday to Friday."""
    with world_in(tmp_path) as one:
        one.publish()
        one.now += timedelta(days=1)
        yield one


def gateway(world: World) -> CollectorRegistry:
    """The metrics of one more gateway process."""
    registry = CollectorRegistry()
    registry.register(StateCollector(world.ledger, world.clock, rulebook=world.control.rulebook))
    return registry


def overdue(world: World, registry: CollectorRegistry | None = None) -> float | None:
    return (registry or gateway(world)).get_sample_value(OVERDUE, {"provider": REGISTRY})


def due(world: World, contract: pb.Contract) -> datetime:
    (answer,) = [each for each in contract.deadlines if each.kind == pb.DEADLINE_KIND_ANSWER]
    found: datetime = instant(answer.due)
    return found


def reject(world: World, contract: pb.Contract) -> None:
    request = pb.RejectContractRequest(
        name=contract.name,
        reason="不掌握该数据",
        legal_citation="第二十一条",
        rejection_reason=pb.REJECTION_REASON_DATA_NOT_HELD,
    )
    world.rpc(PROVIDER, "RejectContract", request)


def test_a_missing_answer_counts_from_the_moment_it_is_late_until_it_comes(world: World) -> None:
    contract = world.propose()
    world.now = due(world, contract) - timedelta(milliseconds=1)
    assert overdue(world) == 0
    world.now += timedelta(milliseconds=1)
    assert overdue(world) == 1
    reject(world, contract)
    assert overdue(world) == 0


def test_nobody_owes_an_answer_to_what_was_taken_back(world: World) -> None:
    contract = world.propose()
    world.now = due(world, contract)
    world.rpc(CONSUMER, "WithdrawContract", pb.WithdrawContractRequest(name=contract.name, reason="x"))
    assert overdue(world) == 0


def test_a_provider_that_has_signed_owes_no_answer_while_the_consumer_hesitates(world: World) -> None:
    contract = world.propose()
    world.now = due(world, contract)
    world.sign(PROVIDER, contract)
    assert get(world).state == pb.CONTRACT_STATE_PROPOSED
    assert overdue(world) == 0


def test_a_provider_is_not_blamed_for_an_answer_that_the_consumer_owes(world: World) -> None:
    contract = world.propose(by=PROVIDER)
    world.now = due(world, contract)
    assert overdue(world) == 0
    world.sign(CONSUMER, contract)
    assert gateway(world).get_sample_value(f"{WORKDAYS}_count") == 0


def test_a_stopped_clock_is_not_overdue(world: World) -> None:
    contract = world.propose()
    request = pb.RequestSupplementRequest(name=contract.name, missing="办理依据")
    world.rpc(PROVIDER, "RequestSupplement", request)
    world.now = due(world, contract) + timedelta(days=30)
    assert overdue(world) == 0


def test_a_case_under_a_pack_that_is_gone_is_not_called_late(world: World) -> None:
    world.control.rulebook = Rulebook.load("china-809")
    contract = world.propose()
    world.now = due(world, contract)
    assert overdue(world) == 1
    world.control.rulebook = Rulebook(RulePacks([load_packs().by_ref("neutral@2000-01-01")]))
    assert overdue(world) == 0


def test_answers_are_measured_in_working_days(world: World) -> None:
    world.control.rulebook = Rulebook.load("china-809")
    world.now = FRIDAY
    same_day, over_the_weekend = world.propose("same-day"), world.propose("over-the-weekend")
    reject(world, same_day)
    world.now += timedelta(days=4)
    reject(world, over_the_weekend)
    read = gateway(world).get_sample_value
    within = {most: read(f"{WORKDAYS}_bucket", {"le": most}) for most in ("0.0", "1.0", "2.0", "+Inf")}
    assert within == {"0.0": 1, "1.0": 1, "2.0": 2, "+Inf": 2}
    assert (read(f"{WORKDAYS}_count"), read(f"{WORKDAYS}_sum")) == (2, 2)


def led(world: World) -> dict[str, float | None]:
    read = gateway(world).get_sample_value
    return {to: read(CHANGES, {"to": to}) for to in ("ACTIVE", "PAUSED", "WITHDRAWN", "REQUESTED", "NEW")}


def test_changes_of_consents_are_counted_by_where_they_led(world: World) -> None:
    name = grant(world, world.agree()).name
    move(world, "PauseConsent", name)
    move(world, "ResumeConsent", name)
    withdraw(world, name)
    assert led(world) == {"ACTIVE": 2, "PAUSED": 1, "WITHDRAWN": 1, "REQUESTED": 0, "NEW": None}


def test_the_first_of_two_parents_changes_no_state(world: World) -> None:
    contract = world.agree()
    asked = ask(world, contract, required_parties=("母亲", "父亲"))
    guardian = {"grantor": "GUARDIAN", "evidence_reference": "户口簿-2026-17"}
    grant(world, contract, consent=asked.name, party="母亲", **guardian)
    assert led(world) == {"ACTIVE": 0, "PAUSED": 0, "WITHDRAWN": 0, "REQUESTED": 1, "NEW": None}


def test_every_gateway_says_the_same_within_the_time_it_may_remember(world: World) -> None:
    one, other = gateway(world), gateway(world)
    contract = world.propose()
    world.now = due(world, contract) - timedelta(seconds=1)
    assert (overdue(world, one), overdue(world, other)) == (0, 0)
    world.now += timedelta(seconds=1)
    assert overdue(world, one) == 0
    world.now += REMEMBERED_FOR - timedelta(seconds=1)
    assert (overdue(world, one), overdue(world, other)) == (1, 1)


def test_a_clock_that_is_set_back_does_not_freeze_the_metrics(world: World) -> None:
    registry = gateway(world)
    contract = world.propose()
    world.now = due(world, contract)
    assert overdue(world, registry) == 1
    world.now -= timedelta(days=1)
    assert overdue(world, registry) == 0


def test_an_unreadable_ledger_leaves_the_metrics_absent_whatever_is_remembered(
    world: World, tmp_path: Path
) -> None:
    registry = gateway(world)
    world.propose(not_before=rfc3339(world.now))
    assert overdue(world, registry) == 0
    world.ledger.close()
    (tmp_path / "ledger.db").unlink()
    (tmp_path / "ledger.db").mkdir()
    assert overdue(world, registry) is None
