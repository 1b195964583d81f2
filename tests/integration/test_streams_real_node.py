"""Streams from a real node with a database: the whole way, in both encodings, resumed, and counted by three parties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from isthmus.errors import Denied, Reason
from services.manifest_file import load_manifest
from services.node import Node
from tests.integration import exchange_world
from tests.integration.exchange_parties import CONTRACT, MANIFEST, PURPOSE, now
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_world import CASE, agree, client, ends, verified

pytestmark = pytest.mark.integration

PEOPLE = 301
ASKED: dict[str, Any] = {
    "contract": CONTRACT,
    "purpose": PURPOSE,
    "fields": ["姓名", "income", "city"],
    "case_reference": CASE,
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "hash.key").write_text("5a" * 32)
    with_key = MANIFEST.replace("[server]\n", '[server]\nhash_key = "hash.key"\n')
    monkeypatch.setattr(exchange_world, "MANIFEST", with_key)
    with world_in(tmp_path) as each:
        agree(each)
        yield each


def test_rows_and_arrow_are_the_same_rows_and_all_parties_agree_how_many(world: World) -> None:
    with client(world, world.folder) as sdk:
        rows, arrow = sdk.exchange.stream(**ASKED), sdk.exchange.stream(**ASKED, arrow=True)
        assert list(rows) == list(arrow)
        assert rows.rows == arrow.rows == PEOPLE
        for each in (rows, arrow):
            assert sdk.verify_receipt(each.result).department == "departments/civil-registry"
    assert [(each.action, each.row_count) for each in ends(world)] == [("COMPLETE", PEOPLE)] * 2
    verified(world)


def test_filters_are_the_databases(world: World) -> None:
    with client(world, world.folder) as sdk:
        filters = [("income", ">=", 1290), ("city", "=", "上海")]
        assert [row["income"] for row in sdk.exchange.stream(**ASKED, filters=filters)] == list(
            range(1290, 1300)
        )


def test_a_resumed_stream_has_exactly_the_rest(world: World) -> None:
    with client(world, world.folder) as sdk:
        whole = list(sdk.exchange.stream(**ASKED))
        first = sdk.exchange.stream(**ASKED)
        (part, *_) = [each for each in first.parts() if each.rows]
        rest = list(sdk.exchange.stream(**ASKED, resume_token=part.resume_token))
        assert [*part.rows, *rest] == whole


def test_the_providers_own_manifest_has_the_last_word(world: World) -> None:
    """Published and agreed with streams, the node's manifest no longer offers them: its veto is recorded and told."""
    path = world.folder / "department.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(', "stream"]', "]"), encoding="utf-8")
    world.stop_node()
    world.node = Node(load_manifest(path, environ={}), clock=now, registry=CollectorRegistry())
    world.node.start()
    world.use_node(world.node.port)
    with client(world, world.folder) as sdk, pytest.raises(Denied) as refused:
        list(sdk.exchange.stream(**ASKED))
    assert refused.value.reason is Reason.PROVIDER_VETO
    record = world.sole_decision()
    assert (record.decision, record.rules) == ("DENY", ("provider-veto",)) and not ends(world)
