"""A department's node that breaks the protocol of streams: each lie stops the stream before its chunk goes out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import grpc
import pyarrow as pa
import pytest

from isthmus.errors import IsthmusError, Reason
from isthmus.identity import Role
from isthmus.v1.common_pb2 import FIELD_TYPE_INT64, FIELD_TYPE_STRING, Column, Row, RowSet, Value
from isthmus.v1.department_service_pb2 import StreamRowsRequest, StreamRowsResponse
from isthmus.v1.exchange_service_pb2 import StreamResponse
from tests.integration.exchange_parties import VETERANS, party
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode, arrow_chunk, rows_chunk, schema_of
from tests.integration.stream_world import Call, agree, ends, request, verified

pytestmark = pytest.mark.integration

COLUMNS = [
    Column(name="姓名", type=FIELD_TYPE_STRING, transform="plain"),
    Column(name="income", type=FIELD_TYPE_INT64, transform="plain"),
]
SECRET = Column(name="secret", type=FIELD_TYPE_STRING, transform="plain")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("world")) as each:
        agree(each)
        yield each


Change = Callable[[StreamRowsResponse, dict[str, Any]], None]


def told_by(world: World, number: int, change: Change, *, arrow: bool) -> tuple[int, IsthmusError]:
    """Streams from a node that changes one message; returns how many responses came, and what it failed with."""

    def lie(at: int, message: StreamRowsResponse, receipt: dict[str, Any]) -> None:
        if at == number:
            change(message, receipt)

    with ScriptedNode(world, lie=lie).serving():
        got = 0
        with pytest.raises(IsthmusError) as error:
            for _ in Call(world, request(arrow=arrow)):
                got += 1
    return got, error.value


def rows_of(message: StreamRowsResponse) -> RowSet:
    return RowSet.FromString(message.chunk)


def put(message: StreamRowsResponse, rows: RowSet) -> None:
    message.chunk, message.row_count = rows.SerializeToString(deterministic=True), len(rows.rows)


def extra_column(message: StreamRowsResponse, _: Any) -> None:
    message.columns.append(SECRET)


def unmasked(message: StreamRowsResponse, _: Any) -> None:
    message.columns[0].transform = "mask:1"


def too_wide(message: StreamRowsResponse, _: Any) -> None:
    rows = rows_of(message)
    rows.rows[1].values.append(Value(string_value="不外传"))
    put(message, rows)


def too_narrow(message: StreamRowsResponse, _: Any) -> None:
    rows = rows_of(message)
    del rows.rows[0].values[1]
    put(message, rows)


def hidden_columns(message: StreamRowsResponse, _: Any) -> None:
    rows = rows_of(message)
    rows.columns.append(SECRET)
    put(message, rows)


def unknown_field(message: StreamRowsResponse, _: Any) -> None:
    message.chunk += b"\x7a\x05extra"


def no_rows(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = b"\xff\xff"


def more_counted(message: StreamRowsResponse, _: Any) -> None:
    message.row_count += 1


def fewer_counted(message: StreamRowsResponse, _: Any) -> None:
    rows = rows_of(message)
    rows.rows.append(rows.rows[0])
    message.chunk = rows.SerializeToString(deterministic=True)


def columns_again(message: StreamRowsResponse, _: Any) -> None:
    message.columns.extend(COLUMNS)


def long_token(message: StreamRowsResponse, _: Any) -> None:
    message.resume_token = "x" * 2000


def too_large(message: StreamRowsResponse, _: Any) -> None:
    filler = Value(string_value="x" * ((4 << 20) - 30_000))
    put(message, RowSet(rows=[Row(values=[filler, Value()])]))


def early_receipt(message: StreamRowsResponse, _: Any) -> None:
    message.receipt = "a.b.c"


BEGINNING: list[Change] = [extra_column, unmasked]
MIDDLE: list[Change] = [
    too_wide, too_narrow, hidden_columns, unknown_field, no_rows, more_counted, fewer_counted, columns_again,
    long_token, too_large, early_receipt,
]  # fmt: skip


@pytest.mark.parametrize("change", BEGINNING)
def test_what_is_wrong_from_the_beginning_never_opens(world: World, change: Change) -> None:
    before = len(ends(world))
    got, error = told_by(world, 0, change, arrow=False)
    assert (got, error.reason) == (0, Reason.DEPARTMENT_MISBEHAVED)
    assert world.decisions()[-1].decision == "ERROR" and len(ends(world)) == before


@pytest.mark.parametrize("change", MIDDLE)
def test_a_wrong_chunk_is_not_handed_on(world: World, change: Change) -> None:
    got, error = told_by(world, 2, change, arrow=False)
    assert (got, error.reason) == (2, Reason.DEPARTMENT_MISBEHAVED), error.message
    end = ends(world)[-1]
    assert (end.action, end.reasons, end.row_count) == ("FAILED", ("DEPARTMENT_MISBEHAVED",), 2)


def wrong_digest(_: Any, receipt: dict[str, Any]) -> None:
    receipt["outcomes"][0]["digest"] = "00" * 32


def wrong_count(_: Any, receipt: dict[str, Any]) -> None:
    receipt["outcomes"][0]["row_count"] = 7


def other_exchange(_: Any, receipt: dict[str, Any]) -> None:
    receipt["outcomes"][0]["exchange"] = "exchanges/00000000-0000-7000-8000-000000000000"


def other_grant(_: Any, receipt: dict[str, Any]) -> None:
    receipt["grant"] = "00000000-0000-7000-8000-000000000000"


def two_lines(_: Any, receipt: dict[str, Any]) -> None:
    receipt["outcomes"] *= 2


def forged(message: StreamRowsResponse, _: Any) -> None:
    message.receipt = "a.b.c"


def rows_beside_it(message: StreamRowsResponse, _: Any) -> None:
    put(message, RowSet(rows=[Row(values=[Value(), Value()])]))


@pytest.mark.parametrize(
    "change", [wrong_digest, wrong_count, other_exchange, other_grant, two_lines, forged, rows_beside_it]
)
def test_a_wrong_receipt_gives_no_receipt_and_no_complete_end(world: World, change: Change) -> None:
    got, error = told_by(world, -1, change, arrow=False)
    assert (got, error.reason) == (4, Reason.DEPARTMENT_MISBEHAVED)
    assert (ends(world)[-1].action, ends(world)[-1].row_count) == ("FAILED", 6)


class Chatty(ScriptedNode):
    """Goes on after its receipt."""

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        yield from super().StreamRows(request, context)
        yield StreamRowsResponse(chunk=rows_chunk(COLUMNS, range(2)), row_count=2)


class Abrupt(ScriptedNode):
    """Ends after so many messages, as if that were all."""

    def __init__(self, world: World, messages: int) -> None:
        super().__init__(world)
        self.messages = messages

    def StreamRows(
        self, request: StreamRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamRowsResponse]:
        yield from islice(super().StreamRows(request, context), self.messages)


def test_what_comes_after_the_receipt_is_not_handed_on(world: World) -> None:
    with Chatty(world).serving():
        got: list[StreamResponse] = []
        with pytest.raises(IsthmusError) as error:
            got.extend(Call(world, request()))
    assert error.value.reason is Reason.DEPARTMENT_MISBEHAVED
    assert not any(each.HasField("receipt") for each in got) and ends(world)[-1].row_count == 6


@pytest.mark.parametrize("messages", [0, 1, 3])
def test_an_end_without_a_receipt_is_no_end(world: World, messages: int) -> None:
    before = len(ends(world))
    with Abrupt(world, messages).serving(), pytest.raises(IsthmusError) as error:
        list(Call(world, request()))
    assert error.value.reason is Reason.DEPARTMENT_MISBEHAVED
    assert len(ends(world)) == before + bool(messages)


def test_a_receipt_by_a_node_of_another_department_is_refused(world: World) -> None:
    signer = party(Role.NODE, VETERANS)
    with ScriptedNode(world, signer=signer).serving(), pytest.raises(IsthmusError) as error:
        list(Call(world, request()))
    assert error.value.reason is Reason.DEPARTMENT_MISBEHAVED


# ---- Arrow


def other_schema(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = schema_of([*COLUMNS, SECRET]).serialize().to_pybytes()


def other_type(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = (
        pa.schema([pa.field("姓名", pa.string()), pa.field("income", pa.string())]).serialize().to_pybytes()
    )


def smuggled_metadata(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = schema_of(COLUMNS).with_metadata({"note": "不外传"}).serialize().to_pybytes()


def smuggled_label(message: StreamRowsResponse, _: Any) -> None:
    schema = schema_of(COLUMNS)
    message.chunk = schema.set(0, schema.field(0).with_metadata({"note": "不外传"})).serialize().to_pybytes()


def no_schema(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = arrow_chunk(COLUMNS, range(2))


@pytest.mark.parametrize("change", [other_schema, other_type, smuggled_metadata, smuggled_label, no_schema])
def test_a_schema_that_is_not_the_columns_never_opens(world: World, change: Change) -> None:
    got, error = told_by(world, 0, change, arrow=True)
    assert (got, error.reason) == (0, Reason.DEPARTMENT_MISBEHAVED), error.message


def schema_drift(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = arrow_chunk([*COLUMNS, SECRET], range(2))


def types_drift(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = arrow_chunk([COLUMNS[1], COLUMNS[1]], range(2))


def schema_again(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = schema_of(COLUMNS).serialize().to_pybytes()


def two_batches(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = arrow_chunk(COLUMNS, range(1)) + arrow_chunk(COLUMNS, range(1))


def trailing_bytes(message: StreamRowsResponse, _: Any) -> None:
    message.chunk += b"data!!!!"


def miscounted(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = arrow_chunk(COLUMNS, range(3))


def compressed(message: StreamRowsResponse, _: Any) -> None:
    # So short that nothing is gained by it: sizes alone do not tell.
    batch = pa.record_batch([pa.array(["王", "李"]), pa.array([1, 2])], schema=schema_of(COLUMNS))
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    reader = pa.BufferReader(sink.getvalue())
    pa.ipc.read_message(reader)
    message.chunk = pa.ipc.read_message(reader).serialize().to_pybytes()


def garbage(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = b"\x00" * 64


def ended_early(message: StreamRowsResponse, _: Any) -> None:
    message.chunk = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "change",
    [
        schema_drift, types_drift, schema_again, two_batches, trailing_bytes, miscounted, compressed, garbage,
        ended_early, early_receipt,
    ],
)  # fmt: skip
def test_a_batch_that_is_not_what_it_should_be_is_not_handed_on(world: World, change: Change) -> None:
    got, error = told_by(world, 2, change, arrow=True)
    assert (got, error.reason) == (2, Reason.DEPARTMENT_MISBEHAVED), error.message
    assert (ends(world)[-1].action, ends(world)[-1].row_count) == ("FAILED", 2)


def test_an_arrow_stream_ends_with_its_end_and_nothing_else(world: World) -> None:
    """The receipt covers what is there instead: only the form gives it away."""
    digest = hashlib.sha256()

    def lie(at: int, message: StreamRowsResponse, receipt: dict[str, Any]) -> None:
        if at == -1:
            message.chunk = "不外传".encode()
        digest.update(message.chunk)
        if at == -1:
            receipt["outcomes"][0]["digest"] = digest.hexdigest()

    with ScriptedNode(world, lie=lie).serving():
        got: list[StreamResponse] = []
        with pytest.raises(IsthmusError) as error:
            got.extend(Call(world, request(arrow=True)))
    assert error.value.reason is Reason.DEPARTMENT_MISBEHAVED
    assert len(got) == 4 and ends(world)[-1].action == "FAILED"


def test_after_all_that_the_ledger_verifies(world: World) -> None:
    assert verified(world).size
