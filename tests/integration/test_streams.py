"""Streams through a real gateway: a record before the first byte and one after the last, and nothing that is not granted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from audit.record import Kind
from isthmus.errors import Denied, InvalidArgument, Reason
from isthmus.v1.exchange_service_pb2 import StreamResponse
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import Call, agree, all_records, ends, numbers, request

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def test_a_stream_brings_every_row_between_its_two_records(world: World) -> None:
    agree(world)
    with ScriptedNode(world).serving() as node:
        got = list(Call(world, request()))
        opening = world.sole_decision()
        (end,) = ends(world)
    assert numbers(got) == [0, 1, 2, 3, 4, 5]
    assert [each.exchange for each in got] == [opening.exchange, "", "", "", ""]
    assert [column.name for column in got[0].row_set.columns] == ["姓名", "income"]
    assert (opening.decision, opening.mode, opening.row_count, opening.subject_count) == (
        "ALLOW",
        "STREAM",
        0,
        0,
    )
    assert [each["name"] for each in opening.fields] == ["姓名", "income"]
    assert (end.exchange, end.action, end.row_count, end.grpc_code) == (opening.exchange, "COMPLETE", 6, "OK")
    assert end.response_commitment and end.provider_receipt_digest and end.contract == opening.contract
    receipt = got[-1].receipt
    assert all_records(world)[receipt.record_index] == end
    assert not any(each.HasField("receipt") for each in got[:-1])
    (item,) = node.grants[0]["items"]
    assert (item["mode"], item["subjects"], item["predicate"], item["encoding"]) == (
        "STREAM",
        [],
        None,
        "ROWS",
    )


def test_the_opening_record_is_there_before_the_first_byte_is(world: World) -> None:
    agree(world)
    with ScriptedNode(world).serving():
        call = Call(world, request())
        first = next(call)
        opening = world.sole_decision()
        assert first.exchange == opening.exchange and not ends(world)
        list(call)


def test_rows_and_arrow_agree(world: World) -> None:
    agree(world)
    with ScriptedNode(world).serving():
        rows = list(Call(world, request()))
        arrow = list(Call(world, request(arrow=True)))
    table = pa.ipc.open_stream(b"".join(each.arrow for each in arrow)).read_all()
    assert table.column("income").to_pylist() == numbers(rows)
    assert table.column("姓名").to_pylist() == [str(n) for n in numbers(rows)]
    assert arrow[-1].HasField("receipt")
    assert [each.row_count for each in ends(world)] == [6, 6]


def test_filters_go_to_the_node_and_look_at_nothing_that_is_not_asked_for(world: World) -> None:
    agree(world)
    with ScriptedNode(world).serving() as node:
        list(Call(world, request(fields=("姓名", "city"), filters=[("city", "=", "上海")])))
        with pytest.raises(InvalidArgument) as refused:
            list(Call(world, request(filters=[("city", "=", "上海")])))
        with pytest.raises(Denied) as denied:
            list(Call(world, request(fields=("姓名", "secret"), filters=[("secret", "=", "不外传")])))
    assert refused.value.violations[0].field == "filters[0].field"
    assert denied.value.reason is Reason.FIELDS_OUTSIDE_CONTRACT
    assert node.grants[0]["items"][0]["filters"] == [
        {"field": "city", "operator": "EQ", "values": [{"string": "上海"}]}
    ]
    assert len(node.grants) == 1


def test_a_filter_cannot_tell_what_a_transform_hides(world: World) -> None:
    fields = [{"name": "姓名", "transform": "mask:1"}, {"name": "income", "transform": "plain"}]
    agree(world, fields=fields)
    with ScriptedNode(world).serving() as node, pytest.raises(Denied) as refused:
        list(Call(world, request(filters=[("姓名", "=", "王小明")])))
    assert refused.value.reason is Reason.FIELDS_OUTSIDE_CONTRACT and not node.grants
    assert world.sole_decision().rules == ("filter-on-transformed",)


def test_a_contract_on_consent_gives_no_stream_and_names_the_way(world: World) -> None:
    agree(world, legal_basis="CONSENT")
    with ScriptedNode(world).serving() as node, pytest.raises(Denied) as refused:
        list(Call(world, request()))
    assert refused.value.reasons == (Reason.CONSENT_MISSING,)
    assert "BatchQuery" in refused.value.message
    assert world.sole_decision().reasons == ("CONSENT_MISSING",) and not node.grants


def test_an_emergency_opens_no_stream_on_consent(world: World) -> None:
    glass = {"allowed": True, "systems": ["departments/veterans/systems/benefits"], "review_within_hours": 24}
    agree(world, legal_basis="CONSENT", break_glass=glass)
    with ScriptedNode(world).serving(), pytest.raises(Denied) as refused:
        list(Call(world, request(emergency="地震，需立即核对")))
    assert refused.value.reasons == (Reason.CONSENT_MISSING,)


def test_a_contract_without_the_mode_gives_no_stream(world: World) -> None:
    agree(world, modes=["QUERY"])
    with ScriptedNode(world).serving() as node, pytest.raises(Denied) as refused:
        list(Call(world, request()))
    assert refused.value.reason is Reason.MODE_NOT_ALLOWED
    assert world.sole_decision().decision == "DENY" and not node.grants and not ends(world)


@pytest.mark.parametrize("arrow", [False, True])
def test_a_resumed_stream_brings_exactly_the_rest_as_an_exchange_of_its_own(
    world: World, arrow: bool
) -> None:
    agree(world)
    with ScriptedNode(world, chunks=4).serving() as node:
        whole = list(Call(world, request(arrow=arrow)))
        rest = list(Call(world, request(arrow=arrow, token=whole[2].resume_token)))
    assert [content(each) for each in rest[1:-1]] == [content(each) for each in whole[3:-1]]
    assert node.grants[1]["items"][0]["resume"] == "after:2"
    first, second = world.decisions()
    assert first.exchange != second.exchange
    assert (first.change, second.change) == ({}, {"resumed": True})
    assert [each.row_count for each in ends(world)] == [8, 4]


def content(response: StreamResponse) -> bytes:
    return response.arrow or response.row_set.SerializeToString(deterministic=True)


def test_a_token_of_another_stream_is_the_callers_fault_and_recorded(world: World) -> None:
    agree(world)
    with ScriptedNode(world).serving(), pytest.raises(InvalidArgument) as refused:
        list(Call(world, request(token="forged")))
    assert "resume token" in refused.value.message
    record = world.sole_decision()
    assert (record.decision, record.grpc_code) == ("ERROR", "INVALID_ARGUMENT")
    assert record.kind is Kind.DECISION and not ends(world)


def test_an_empty_stream_is_complete(world: World) -> None:
    agree(world)
    with ScriptedNode(world, chunks=0).serving():
        got = list(Call(world, request()))
    assert len(got) == 2 and got[-1].HasField("receipt")
    assert (ends(world)[0].action, ends(world)[0].row_count) == ("COMPLETE", 0)
