"""Floods are turned away before they cost anything, and a quota says when it opens again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.config import LimitsSection
from gateway.limits import RateLimit
from gateway.state.schema import consents, quota_usage
from isthmus.errors import Denied, Reason, ResourceExhausted
from tests.integration.exchange_parties import OTHER_SYSTEM, STRANGER, SYSTEM
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def flood(world: World, calls: int) -> list[ResourceExhausted]:
    refused = []
    for _ in range(calls):
        try:
            world.explain()
        except ResourceExhausted as error:
            refused.append(error)
    return refused


def test_a_flood_is_turned_away_without_a_record(world: World) -> None:
    world.restart_gateway(limits=LimitsSection(exchanges_per_second=1))
    world.consent(world.agree())
    size = world.size()

    def ask(_: int) -> ResourceExhausted | None:
        try:
            world.query()
        except ResourceExhausted as error:
            return error
        return None

    with ThreadPoolExecutor(8) as pool:
        refused = [error for error in pool.map(ask, range(24)) if error]
    assert len(refused) >= 8 and world.size() == size + 24 - len(refused)
    error = refused[0]
    assert error.reason is Reason.RATE_LIMITED and not error.exchange
    assert error.retry_after is not None and timedelta(0) < error.retry_after <= timedelta(seconds=1)
    turned_away = "isthmus_exchanges_rate_limited_total"
    assert world.registry.get_sample_value(turned_away, {"consumer": "veterans"}) == len(refused)


def test_each_caller_has_a_limit_of_its_own() -> None:
    told: list[str] = []
    limit = RateLimit(1000, told.append)
    for _ in range(1000):
        limit.admit(SYSTEM)
    with pytest.raises(ResourceExhausted):
        for _ in range(1000):
            limit.admit(SYSTEM)
    limit.admit(OTHER_SYSTEM)
    assert told == ["departments/veterans"]


def test_without_a_limit_nobody_is_turned_away(world: World) -> None:
    world.agree()
    assert flood(world, 30) == []


def test_a_quota_that_is_used_up_says_whose_it_is_and_when_it_opens(world: World) -> None:
    quota = {"window": "DAY", "scope": "CONTRACT", "calls": 1, "rows": 0}
    contract = world.agree(legal_basis="PUBLIC_TASK", quotas=[quota])
    world.query(case="1")
    with pytest.raises(ResourceExhausted) as refused:
        world.query(case="1")
    (violation,) = refused.value.quotas
    assert (violation.subject, violation.description) == (contract.name, "1 exchanges each day")
    retry = refused.value.retry_after
    assert retry is not None and timedelta(0) < retry <= timedelta(days=1)


def test_a_consent_allows_exactly_as_many_exchanges_as_it_says(world: World) -> None:
    consent = world.consent(world.agree())

    def at_most(uses: int) -> None:
        change = consents.update().where(consents.c.name == consent.name).values(max_uses=uses)
        world.gateway.ledger.transact(lambda transaction: transaction.connection.execute(change).close())

    at_most(5)

    def ask(_: int) -> tuple[Reason, ...]:
        try:
            world.query()
        except Denied as error:
            return error.reasons
        return ()

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(ask, range(16)))
    assert ended.count(()) == 5 and ended.count((Reason.CONSENT_EXPIRED,)) == 11
    with pytest.raises(Denied) as stranger:
        world.query(resident=STRANGER)
    assert stranger.value.reasons == (Reason.CONSENT_MISSING,)
    used = sa.select(quota_usage.c.scope, quota_usage.c.scope_key, quota_usage.c.calls)
    with world.gateway.ledger.read() as connection:
        assert connection.execute(used).all() == [("CONSENT", consent.name, 5)]
