"""Quotas hold in batches as they do elsewhere: each subject answered is one call and its rows, whoever asks meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.verifier.ledger import verify_ledger
from gateway.state.schema import consents, quota_usage
from isthmus.errors import ResourceExhausted
from tests.integration.batch_calls import ANYONE, MODES, BatchNode, batch, record_of, resident
from tests.integration.exchange_parties import RESIDENT, STRANGER
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def used(world: World) -> list[tuple[str, int, int]]:
    query = sa.select(quota_usage.c.scope, quota_usage.c.calls, quota_usage.c.row_count)
    with world.gateway.ledger.read() as connection:
        return sorted((scope, calls, rows) for scope, calls, rows in connection.execute(query))


def quota(**limit: object) -> dict[str, object]:
    return {"window": "TOTAL", "scope": "CONTRACT", "calls": 0, "rows": 0, **limit}


def anyone(world: World, *quotas: dict[str, object]) -> Any:
    return world.agree(**ANYONE, quotas=list(quotas))


def test_a_quota_that_suffices_for_the_first_three_refuses_the_others(world: World) -> None:
    anyone(world, quota(calls=3))
    node = BatchNode(world)
    with node.serving():
        answer = batch(world, [resident(each) for each in range(5)], case="1")
        assert answer.decisions() == "AAADD" and answer.reasons(4) == ["QUOTA_EXHAUSTED"]
        assert len(node.grants[0]["items"][0]["subjects"]["ids"]) == 3, "the others never left"
        with pytest.raises(ResourceExhausted) as refused:
            batch(world, [resident(9)], case="1")
    assert refused.value.quotas[0].description == "3 exchanges in all"
    assert used(world) == [("CONTRACT", 3, 3)]


def test_rows_count_as_they_are_released(world: World) -> None:
    anyone(world, quota(rows=5))
    rows = {resident(0): 2, resident(1): 2, resident(2): 2, resident(3): 0, resident(4): 1}
    with BatchNode(world, rows=lambda id: rows[id]).serving():
        answer = batch(world, list(rows), case="1")
    assert answer.decisions() == "AADAA"
    assert used(world) == [("CONTRACT", 4, 5)]
    assert record_of(world)[1].row_count == 5


def test_who_is_named_twice_counts_once(world: World) -> None:
    anyone(world, quota(calls=2))
    assert batch(world, [RESIDENT, RESIDENT, STRANGER, RESIDENT], case="1").decisions() == "AAAA"
    assert used(world) == [("CONTRACT", 2, 1)]


def test_one_subjects_quota_is_not_anothers_and_holds_across_queries(world: World) -> None:
    anyone(world, quota(scope="SUBJECT", calls=2), quota(scope="SYSTEM", calls=9))
    world.query(case="1")
    people = [RESIDENT, resident(1)]
    assert batch(world, people, case="1").decisions() == "AA"
    assert batch(world, people, case="1").decisions() == "DA"
    assert batch(world, people, case="1").decisions() == "DD"
    with pytest.raises(ResourceExhausted):
        world.query(case="1")
    assert used(world) == [("SUBJECT", 2, 2), ("SUBJECT", 2, 2), ("SYSTEM", 4, 4)]


def test_what_is_refused_or_lost_costs_nothing(world: World) -> None:
    contract = world.agree(modes=MODES, quotas=[quota(calls=9)])
    given = [world.consent(contract, resident=resident(each), modes=("BATCH",)) for each in range(2)]
    with BatchNode(world, lambda *_: world.withdraw(given[1]) and None).serving():
        assert batch(world, [resident(each) for each in range(3)]).decisions() == "ADD"
    assert used(world) == [("CONTRACT", 1, 1)]
    world.stop_node()
    assert batch(world, [resident(0)]).decisions() == "E"
    assert used(world) == [("CONTRACT", 1, 1)]


def test_a_consent_allows_exactly_as_many_uses_as_it_says(world: World) -> None:
    contract = world.agree(modes=MODES)
    given = [world.consent(contract, resident=resident(each), modes=("BATCH", "QUERY")) for each in range(2)]
    change = consents.update().where(consents.c.name == given[0].name).values(max_uses=2)
    world.gateway.ledger.transact(lambda transaction: transaction.connection.execute(change).close())
    people = [resident(0), resident(1)]
    assert batch(world, people).decisions() == "AA"
    world.query(resident=resident(0))
    answer = batch(world, people)
    assert answer.decisions() == "DA" and answer.reasons(0) == ["CONSENT_EXPIRED"]
    assert used(world) == [("CONSENT", 2, 2)]


def test_a_quota_is_exact_while_batches_and_queries_meet(world: World) -> None:
    limit = 40
    anyone(world, quota(calls=limit))

    def batches(first: int) -> int:
        answered = 0
        for _ in range(3):
            try:
                told = batch(world, [resident(first * 10 + each) for each in range(7)], case="1")
                answered += told.decisions().count("A")
            except ResourceExhausted:
                pass
        return answered

    def queries(_: int) -> int:
        answered = 0
        for _ in range(10):
            try:
                answered += world.query(case="1").subject_known
            except ResourceExhausted:
                pass
        return answered

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(batches, each) for each in range(3)]
        asked += [pool.submit(queries, each) for each in range(3)]
        assert sum(each.result(60) for each in asked) == limit
    assert used(world) == [("CONTRACT", limit, limit)]
    verify_ledger(world.config.ledger.url, world.gateway.ledger.verifier_key)
