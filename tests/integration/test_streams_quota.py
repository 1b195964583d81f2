"""Row quotas are exact for streams: each chunk is counted durably before it leaves, and one too many does not leave."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ExchangeSection
from isthmus.errors import IsthmusError, Reason
from isthmus.v1.exchange_service_pb2 import StreamResponse
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import Call, agree, ends, numbers, request, verified

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, exchange=ExchangeSection(streams=8, streams_per_department=8)) as each:
        yield each


def quota(*, calls: int = 0, rows: int = 0) -> list[dict[str, Any]]:
    return [{"window": "TOTAL", "calls": calls, "rows": rows, "scope": "CONTRACT"}]


def take(world: World) -> tuple[list[StreamResponse], IsthmusError | None]:
    got: list[StreamResponse] = []
    try:
        got.extend(Call(world, request()))
    except IsthmusError as error:
        return got, error
    return got, None


def test_a_stream_stops_before_the_chunk_that_would_break_the_row_quota(world: World) -> None:
    agree(world, quotas=quota(rows=5))
    with ScriptedNode(world, chunks=10).serving():
        got, error = take(world)
        assert len(numbers(got)) == 4
        assert error is not None and error.reason is Reason.QUOTA_EXHAUSTED and error.quotas
        assert (ends(world)[0].action, ends(world)[0].row_count) == ("STOPPED", 4)
        # One row is left of five, so another stream may begin, and gets nothing.
        again, error = take(world)
        assert not numbers(again) and error is not None and error.reason is Reason.QUOTA_EXHAUSTED
    verified(world)


def test_a_quota_that_is_just_enough_is_enough(world: World) -> None:
    agree(world, quotas=quota(rows=6))
    with ScriptedNode(world).serving():
        got, error = take(world)
        assert len(numbers(got)) == 6 and error is None
        assert take(world)[1] is not None, "nothing is left"
    assert world.decisions()[-1].decision == "DENY"


def test_a_stream_is_one_call_whatever_it_brings(world: World) -> None:
    agree(world, quotas=quota(calls=2, rows=100))
    with ScriptedNode(world).serving():
        assert [take(world)[1] for _ in range(2)] == [None, None]
        got, error = take(world)
    assert not got and error is not None and error.reason is Reason.QUOTA_EXHAUSTED


def test_streams_at_once_share_one_quota_exactly(world: World) -> None:
    agree(world, quotas=quota(rows=31))
    with ScriptedNode(world, chunks=10).serving(), ThreadPoolExecutor(4) as pool:
        rows = sum(len(numbers(got)) for got, _ in pool.map(lambda _: take(world), range(4)))
    assert rows == 30
    assert sum(each.row_count for each in ends(world)) == 30


def test_rows_are_counted_before_they_leave_so_a_lost_chunk_is_not_given_twice(world: World) -> None:
    agree(world, quotas=quota(rows=6))
    with ScriptedNode(world).serving():
        call = Call(world, request())
        next(call), next(call)
        call.raw.cancel()
        rest, _ = take(world)
    assert 2 + len(numbers(rest)) <= 6
