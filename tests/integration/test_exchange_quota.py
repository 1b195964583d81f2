"""Quotas hold whatever runs at the same time, and whoever is refused pays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.state.schema import quota_usage
from isthmus.errors import Denied, IsthmusError, Reason, ResourceExhausted
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


def test_eight_threads_never_exceed_the_limit(world: World) -> None:
    limit, each = 20, 6
    world.agree(legal_basis="PUBLIC_TASK", quotas=[quota(calls=limit)])

    def ask(_: int) -> int:
        answers = 0
        for _ in range(each):
            try:
                answers += world.query(case="1").subject_known
            except ResourceExhausted as error:
                assert error.reasons == (Reason.QUOTA_EXHAUSTED,)
                assert error.quotas[0].description == "20 exchanges in all"
        return answers

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == limit
    decisions = [record.decision for record in world.decisions()]
    assert decisions.count("ALLOW") == limit and decisions.count("DENY") == 8 * each - limit
    assert used(world) == [("CONTRACT", limit, limit)]


def test_every_scope_is_counted_and_only_for_what_was_released(world: World) -> None:
    scopes = [quota(scope=scope, calls=5, window="DAY") for scope in ("CONTRACT", "SYSTEM", "SUBJECT")]
    contract = world.agree(quotas=scopes)
    with pytest.raises(Denied):
        world.query()
    assert used(world) == [], "a refused exchange costs nothing"
    world.consent(contract)
    world.query()
    world.stop_node()
    with pytest.raises(IsthmusError):
        world.query()
    assert used(world) == [("CONTRACT", 1, 1), ("SUBJECT", 1, 1), ("SYSTEM", 1, 1)]


def test_one_subjects_quota_is_not_anothers(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK", quotas=[quota(scope="SUBJECT", calls=1)])
    world.query(case="1")
    with pytest.raises(ResourceExhausted):
        world.query(case="1", resident=f'"{RESIDENT}"')
    world.query(case="1", resident=STRANGER)


def test_rows_count_as_they_are_released(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK", quotas=[quota(rows=1)])
    assert not world.query(case="1", resident=STRANGER).subject_known, "no row, no use"
    world.query(case="1")
    with pytest.raises(ResourceExhausted):
        world.query(case="1")
    assert used(world) == [("CONTRACT", 2, 1)]


def test_a_new_version_starts_from_zero(world: World) -> None:
    for _ in range(2):
        world.agree(legal_basis="PUBLIC_TASK", quotas=[quota(calls=1)])
        world.query(case="1")
        with pytest.raises(ResourceExhausted):
            world.query(case="1")
