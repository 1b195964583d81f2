"""The SDK against a real server: pages, retries, pins and typed refusals, blocking and with await."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.client import AsyncClient
from isthmus.errors import DeadlineExceeded, Denied, Reason, Unavailable
from tests.integration.client_world import DATASET, OFFICER, World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


ASKED: dict[str, Any] = {
    "contract": "contracts/edu",
    "purpose": "入学审核",
    "subject": ("cn.resident-id", "110101199003072316"),
    "fields": ["姓名", "曾用名"],
}


def test_a_query_answers_python_rows_and_the_exchange_to_quote(world: World) -> None:
    result = world.client().query(**ASKED)
    assert result.rows == [{"姓名": "王芳", "曾用名": None}]
    assert (result.exchange, result.subject_known) == ("exchanges/1", True)


def test_a_denial_is_typed_with_every_reason_and_the_exchange(world: World) -> None:
    with pytest.raises(Denied) as caught:
        world.client().query(**{**ASKED, "purpose": "闲逛"})
    assert caught.value.reasons == (Reason.PURPOSE_NOT_ALLOWED, Reason.CONSENT_MISSING)
    assert caught.value.exchange == "exchanges/8"
    assert str(caught.value) == "用途不在合同内"


def test_lists_go_on_from_page_to_page(world: World) -> None:
    names = [each.name for each in world.client().catalog.list()]
    assert names == [f"{DATASET}-{number}" for number in range(3)]


def test_a_safe_call_is_tried_again_while_the_server_is_away(world: World) -> None:
    world.catalog.away = 2
    assert world.client().catalog.get(DATASET).name == DATASET
    assert world.catalog.calls == 3


def test_an_exchange_is_never_sent_twice(world: World) -> None:
    with pytest.raises(Unavailable) as caught:
        world.client().query(**{**ASKED, "contract": "contracts/away"})
    assert (caught.value.reason, world.exchange.calls) == (Reason.DEPARTMENT_UNAVAILABLE, 1)


def test_a_server_of_another_name_is_not_talked_to(world: World) -> None:
    with pytest.raises(Unavailable):
        world.client(server="gateway/other").query(**ASKED)
    assert world.exchange.calls == 0


def test_a_deadline_ends_a_call(world: World) -> None:
    client = world.client()
    with pytest.raises(DeadlineExceeded):
        client.with_deadline(0.2).query(**{**ASKED, "contract": "contracts/slow"})
    world.exchange.release.set()
    assert client.query(**ASKED).exchange == "exchanges/1"


def test_a_stream_yields_rows_and_can_be_resumed_where_it_was_left(world: World) -> None:
    asked: dict[str, Any] = {"contract": "contracts/edu", "purpose": "入学审核", "fields": ["n"]}
    client = world.client()
    stream = client.exchange.stream(**asked)
    rows = iter(stream)
    assert [next(rows)["n"], next(rows)["n"]] == [0, 1]
    # The second row was taken, but whoever takes it may not have kept it yet.
    assert (stream.exchange, stream.resume_token, stream.receipt) == ("exchanges/5", "1", None)
    rest = client.exchange.stream(**asked, resume_token=stream.resume_token)
    assert [row["n"] for row in rest] == [1, 2, 3]
    assert rest.receipt is not None
    assert rest.resume_token == "4"


def test_leaving_a_stream_early_ends_it_at_the_server(world: World) -> None:
    stream = world.client().exchange.stream(contract="contracts/edu", purpose="无尽", fields=["n"])
    for row in stream:
        assert row == {"n": 0}
        break
    assert world.exchange.ended.wait(10)


def test_everything_works_with_await_too(world: World) -> None:
    async def ask() -> None:
        arguments = world.arguments(OFFICER)
        async with AsyncClient(f"127.0.0.1:{world.server.port}", **arguments) as client:
            assert (await client.query(**ASKED)).rows[0]["姓名"] == "王芳"
            assert len([each async for each in client.catalog.list()]) == 3
            with pytest.raises(Denied):
                await client.query(**{**ASKED, "purpose": "闲逛"})
            stream = client.exchange.stream(contract="contracts/edu", purpose="入学审核", fields=["n"])
            assert [row["n"] async for row in stream] == [0, 1, 2, 3]
            assert stream.receipt is not None
            await client.contracts.sign("contracts/edu@1")
            with pytest.raises(DeadlineExceeded):
                await client.with_deadline(0.2).query(**{**ASKED, "contract": "contracts/slow"})
            world.exchange.release.set()

    asyncio.run(ask())
    assert len(world.contracts.signed) == 1


def test_the_sync_and_the_async_client_offer_the_same() -> None:
    for part in ("audit", "catalog", "consents", "contracts", "exchange"):
        module = __import__(f"isthmus.client.{part}", fromlist=["x"])
        name = part.capitalize()
        offered = {each for each in vars(getattr(module, name)) if not each.startswith("_")}
        assert offered == {each for each in vars(getattr(module, f"Async{name}")) if not each.startswith("_")}
