"""Break-glass: only where the contract says so, loudly recorded, counted, reviewed once or escalated once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.ledger.schema import records
from audit.record import AccessRecord
from audit.reports.words import in_words, to_message
from audit.verifier.ledger import verify_ledger
from gateway.emergency.overdue import OVERDUE, OverdueCollector, OverdueReviews
from gateway.state.change import Call, Control
from isthmus.errors import Denied, InvalidArgument, NotFound, PermissionDenied, Reason, StateConflict
from isthmus.identity import Identity, Role
from isthmus.terms import instant
from isthmus.v1 import contract_service_pb2 as pb
from isthmus.v1 import contract_service_pb2_grpc
from isthmus.v1.common_pb2 import DECISION_ALLOW
from tests.integration.exchange_parties import (
    AUDITOR,
    CONSUMER,
    GATEWAY,
    OTHER_SYSTEM,
    PROVIDER,
    SYSTEM,
    TAX,
    now,
    party,
)
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

WHY = "昏迷病人急救，须核实优抚身份"
GLASS = {"allowed": True, "systems": [SYSTEM.resource], "review_within_hours": 24}
STUB = contract_service_pb2_grpc.ContractServiceStub


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def uses(world: World, by: Identity, **filters: Any) -> list[pb.EmergencyUse]:
    request = pb.ListEmergencyUsesRequest(**filters)
    return list(world.call(STUB, by, "ListEmergencyUses", request).uses)


def review(
    world: World, exchange: str, by: Identity = PROVIDER, *, justified: bool = True
) -> pb.EmergencyUse:
    request = pb.ReviewEmergencyUseRequest(exchange=exchange, justified=justified, finding="急诊记录属实")
    found: pb.EmergencyUse = world.call(STUB, by, "ReviewEmergencyUse", request).use
    return found


def metric(world: World, name: str, **labels: str) -> float | None:
    return world.registry.get_sample_value(name, labels)


def overdue(world: World, at: datetime) -> float | None:
    """What the metric says at a time."""
    registry = CollectorRegistry()
    registry.register(OverdueCollector(world.gateway.ledger, lambda: at))
    return registry.get_sample_value("isthmus_emergency_reviews_overdue")


def log_of(world: World) -> list[AccessRecord]:
    with world.gateway.ledger.read() as connection:
        leaves = connection.execute(sa.select(records.c.leaf).order_by(records.c.idx)).scalars()
        return [AccessRecord.parse(leaf) for leaf in leaves]


def test_an_emergency_goes_without_consent_and_says_so_everywhere(world: World) -> None:
    world.agree(break_glass=GLASS)
    with pytest.raises(Denied) as refused:
        world.query()
    assert refused.value.reasons == (Reason.CONSENT_MISSING,)
    assert world.explain(emergency=WHY).decision == DECISION_ALLOW
    before = now()
    answer = world.query(emergency=WHY)
    assert answer.subject_known
    record = world.decisions()[-1]
    assert (record.decision, record.emergency, record.consents) == ("ALLOW", WHY, ())
    assert WHY in in_words(record) and to_message(0, record.leaf()).emergency == WHY
    (use,) = uses(world, PROVIDER)
    assert (use.exchange, use.justification, use.caller) == (answer.exchange, WHY, SYSTEM.uri)
    assert use.position == answer.receipt.record_index and not use.reviewer
    due = instant(use.review.due)
    assert timedelta(0) <= due - before - timedelta(hours=24) < timedelta(minutes=1)
    assert metric(world, "isthmus_emergency_uses_total", consumer="veterans", provider="civil-registry") == 1
    key = world.gateway.ledger.verifier_key
    world.stop_gateway()
    verify_ledger(str(world.folder / "ledger.db"), key)


def test_an_emergency_is_no_use_of_a_consent_that_there_is(world: World) -> None:
    world.consent(world.agree(break_glass=GLASS))
    world.query(emergency=WHY)
    assert world.decisions()[-1].consents == ()
    world.query()
    assert len(world.decisions()[-1].consents) == 1


def test_an_emergency_opens_nothing_that_the_contract_keeps_closed(world: World) -> None:
    world.consent(world.agree())
    with pytest.raises(Denied) as refused:
        world.query(emergency=WHY)
    assert refused.value.reasons == (Reason.BREAK_GLASS_NOT_ALLOWED,)
    systems = [SYSTEM.resource, OTHER_SYSTEM.resource]
    world.agree("other", break_glass=GLASS, systems=systems)
    with pytest.raises(Denied) as unlisted:
        world.query(contract="contracts/other", by=OTHER_SYSTEM, emergency=WHY)
    assert set(unlisted.value.reasons) == {Reason.BREAK_GLASS_NOT_ALLOWED, Reason.CONSENT_MISSING}
    assert OTHER_SYSTEM.resource in str(unlisted.value)
    assert world.decisions()[-1].emergency == WHY, "the attempt is on record"
    with pytest.raises(InvalidArgument):
        world.query(contract="contracts/other", emergency=" \n")
    assert uses(world, PROVIDER) == []


def test_a_contract_suspended_stays_suspended_in_an_emergency(world: World) -> None:
    world.suspend(world.agree(break_glass=GLASS))
    with pytest.raises(Denied) as refused:
        world.query(emergency=WHY)
    assert refused.value.reasons == (Reason.CONTRACT_SUSPENDED,)


def test_only_the_provider_reviews_and_only_once(world: World) -> None:
    world.agree(break_glass=GLASS)
    exchange = world.query(emergency=WHY).exchange
    with pytest.raises(PermissionDenied) as self_review:
        review(world, exchange, CONSUMER)
    assert self_review.value.reason is Reason.NOT_A_PARTY
    with pytest.raises(NotFound):
        review(world, exchange, party(Role.OFFICER, TAX))
    with pytest.raises(PermissionDenied):
        review(world, exchange, AUDITOR)
    found = review(world, exchange, justified=False)
    assert (found.reviewer, found.justified, found.review.overdue) == (PROVIDER.uri, False, False)
    with pytest.raises(StateConflict):
        review(world, exchange)
    control = next(each for each in log_of(world) if each.change.get("event") == "EMERGENCY_REVIEWED")
    assert (control.resource, control.change["justified"], control.action) == (
        exchange,
        "no",
        "ReviewEmergencyUse",
    )
    assert "急诊" not in control.leaf().decode(), (
        "a finding is free text: only a commitment to it is in the leaf"
    )
    assert uses(world, PROVIDER, unreviewed=True) == [] and len(uses(world, AUDITOR)) == 1


def test_others_see_no_emergency_uses_and_pages_follow_each_other(world: World) -> None:
    world.agree(break_glass=GLASS)
    exchanges = [world.query(emergency=WHY).exchange for _ in range(3)]
    assert uses(world, party(Role.OFFICER, TAX)) == []
    request = pb.ListEmergencyUsesRequest(contract="contracts/person-2026", page_size=2)
    first = world.call(STUB, CONSUMER, "ListEmergencyUses", request)
    request.page_token = first.next_page_token
    second = world.call(STUB, CONSUMER, "ListEmergencyUses", request)
    assert [each.exchange for each in (*first.uses, *second.uses)] == exchanges[::-1]
    assert not second.next_page_token and uses(world, CONSUMER, contract="contracts/none") == []


class Clerks:
    """Two gateways' clerks on one ledger, at a time of the test's choice."""

    def __init__(self, world: World, at: datetime) -> None:
        self._control = Control(world.gateway.ledger, clock=lambda: at)
        self._thumbprint = world.credentials(GATEWAY).thumbprint

    def run(self) -> int:
        return OverdueReviews().run(self._control, self._call)

    def _call(self) -> Call:
        return self._control.call(GATEWAY, self._thumbprint, "Clock")


def test_an_overdue_review_is_escalated_once_and_still_taken(world: World) -> None:
    world.agree(break_glass=GLASS)
    exchange = world.query(emergency=WHY).exchange
    reviewed = world.query(emergency=WHY).exchange
    review(world, reviewed)
    assert Clerks(world, now() + timedelta(hours=23)).run() == 0
    late = now() + timedelta(hours=25)
    assert [Clerks(world, late).run(), Clerks(world, late).run()] == [1, 0]
    escalated = [each for each in log_of(world) if each.change.get("event") == OVERDUE]
    assert [each.resource for each in escalated] == [exchange]
    assert overdue(world, now()) == 0
    assert overdue(world, late) == 1
    review(world, exchange)
    assert overdue(world, late) == 0
