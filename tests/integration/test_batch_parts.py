"""Large batches travel in parts: one that fails fails alone, and only so many batches run at once."""

from __future__ import annotations

import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest

from audit.verifier.ledger import verify_ledger
from gateway.batch.part import SUBJECTS
from gateway.config import ExchangeSection
from isthmus.errors import Reason, ResourceExhausted
from isthmus.v1.department_service_pb2 import FetchRequest, FetchResponse
from isthmus.v1.reason_pb2 import REASON_PROVIDER_VETO
from tests.integration.batch_calls import ANYONE, BatchNode, batch, record_of
from tests.integration.exchange_parties import RESIDENT
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

Payload = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def people(count: int) -> list[str]:
    return [f"9{number:017d}" for number in range(count)]


def test_ten_thousand_subjects_are_answered_in_bounded_messages(world: World) -> None:
    world.agree(**ANYONE)
    node = BatchNode(world)
    with node.serving():
        answer = batch(world, people(10_000), case="1")
    assert answer.decisions() == "A" * 10_000
    assert [each.index for each in answer.outcomes] == list(range(10_000))
    assert all(
        each.rows[0].values[0].string_value.startswith(person)
        for person, each in zip(people(10_000), answer.outcomes, strict=True)
    )
    assert max(len(each.outcomes) for each in answer.messages) <= 500
    first = UUID(answer.exchange.removeprefix("exchanges/")).int
    parts = [grant["items"][0]["exchange"].removeprefix("exchanges/") for grant in node.grants]
    assert sorted(UUID(each).int for each in parts) == [first + number for number in range(10)]
    assert answer.receipt.provider_receipt.count("\n") == 9
    _, record = record_of(world)
    assert (record.subject_count, record.row_count) == (10_000, 10_000)
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


class Failing(BatchNode):
    """Answers all parts but those that hold a certain subject."""

    def __init__(self, world: World, person: str, **options: Any) -> None:
        super().__init__(world, **options)
        self._person = person

    def Fetch(self, request: FetchRequest, context: grpc.ServicerContext) -> FetchResponse:
        response = super().Fetch(request, context)
        payload = request.grant.split(".")[1]
        if self._person.encode() in urlsafe_b64decode(payload + "=" * (-len(payload) % 4)):
            context.abort(grpc.StatusCode.UNAVAILABLE, "the disk of the department")
        return response


def test_a_part_that_fails_fails_alone(world: World) -> None:
    world.agree(**ANYONE)
    everybody = people(2 * SUBJECTS + 10)
    with Failing(world, everybody[SUBJECTS]).serving():
        answer = batch(world, everybody, case="1")
    assert answer.decisions() == "A" * SUBJECTS + "E" * SUBJECTS + "A" * 10
    assert answer.reasons(SUBJECTS) == ["DEPARTMENT_UNAVAILABLE"]
    assert record_of(world)[1].outcomes == {"ALLOW": SUBJECTS + 10, "DEPARTMENT_UNAVAILABLE": SUBJECTS}
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)


def test_one_subject_that_the_department_refuses_is_found_and_refused_alone(world: World) -> None:
    world.agree(**ANYONE)
    everybody = people(300)

    def veto(grant: Payload, response: FetchResponse, receipt: Payload) -> None:
        (item,) = grant["items"]
        if everybody[77] in item["subjects"]["ids"]:
            response.outcomes[0].Clear()
            response.outcomes[0].refused = REASON_PROVIDER_VETO
            receipt["outcomes"][0] = {"exchange": item["exchange"], "refused": "PROVIDER_VETO"}

    node = BatchNode(world, veto)
    with node.serving():
        answer = batch(world, everybody, case="1")
    assert answer.decisions() == "A" * 77 + "D" + "A" * 222
    assert answer.reasons(77) == ["PROVIDER_VETO"] and len(node.grants) < 25
    assert len({grant["items"][0]["exchange"] for grant in node.grants}) == len(node.grants)


def test_a_veto_of_everything_is_not_asked_again_and_again(world: World) -> None:
    world.agree(**ANYONE)

    def veto(grant: Payload, response: FetchResponse, receipt: Payload) -> None:
        response.outcomes[0].Clear()
        response.outcomes[0].refused = REASON_PROVIDER_VETO
        receipt["outcomes"][0] = {"exchange": grant["items"][0]["exchange"], "refused": "PROVIDER_VETO"}

    node = BatchNode(world, veto)
    with node.serving():
        assert batch(world, people(300), case="1").decisions() == "D" * 300
    assert len(node.grants) <= 5
    assert record_of(world)[1].rules == ("provider-veto",)


def test_rows_that_no_message_holds_are_refused_for_their_subject_only(world: World) -> None:
    world.agree(**ANYONE)
    everybody = people(3)
    rows = {everybody[1]: 60_000}
    with BatchNode(world, rows=lambda id: rows.get(id, 1)).serving():
        answer = batch(world, everybody, case="1")
    assert answer.decisions() == "AEA" and answer.reasons(1) == ["OVERLOADED"]


def test_only_so_many_batches_run_at_once_and_queries_go_on(world: World) -> None:
    world.restart_gateway(exchange=ExchangeSection(fetch_timeout_seconds=20, batches=1))
    world.agree(**{**ANYONE, "modes": ["QUERY", "BATCH"]})
    arrived, opened = threading.Event(), threading.Event()

    def hold(grant: Payload, *_: Any) -> None:
        if grant["items"][0]["mode"] == "BATCH":
            arrived.set()
            assert opened.wait(20)

    with BatchNode(world, hold).serving(), ThreadPoolExecutor() as pool:
        first = pool.submit(batch, world, [RESIDENT], case="1")
        assert arrived.wait(20)
        try:
            with pytest.raises(ResourceExhausted) as refused:
                batch(world, [RESIDENT], case="1")
            assert refused.value.reason is Reason.OVERLOADED and refused.value.retry_after
            assert world.query(case="1").row_set.rows
        finally:
            opened.set()
        assert first.result(20).decisions() == "A"
        assert batch(world, [RESIDENT], case="1").decisions() == "A", "the place is free again"
