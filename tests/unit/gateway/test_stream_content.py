"""Chunks of streams as a department may send them: nothing unforeseen is raised, and nothing goes on that was changed."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.evidence import Misbehaved
from gateway.stream.arrow import ArrowContent, arrow_type
from gateway.stream.content import RowsContent
from isthmus.v1.common_pb2 import Column, FieldType, Row, RowSet, Value
from isthmus.v1.department_service_pb2 import StreamRowsResponse
from isthmus.v1.exchange_service_pb2 import StreamResponse

KINDS = [kind for kind in FieldType.values() if kind]
COLUMNS = [Column(name=f"列{kind}", type=kind, transform="plain") for kind in KINDS]


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([pa.field(each.name, arrow_type(each.type)) for each in columns])


def begun_arrow(columns: Sequence[Column] = COLUMNS) -> ArrowContent:
    content = ArrowContent()
    content.begin(StreamRowsResponse(columns=columns, chunk=schema_of(columns).serialize().to_pybytes()))
    return content


def begun_rows() -> RowsContent:
    content = RowsContent()
    content.begin(StreamRowsResponse(columns=COLUMNS))
    return content


def batch(rows: int) -> bytes:
    schema = schema_of(COLUMNS)
    arrays = [pa.nulls(rows, each.type) for each in schema]
    data: bytes = pa.RecordBatch.from_arrays(arrays, schema=schema).serialize().to_pybytes()
    return data


@given(st.integers(0, 50))
def test_a_batch_of_every_type_is_counted_and_goes_on_as_it_came(rows: int) -> None:
    chunk = batch(rows)
    part = begun_arrow().part(chunk)
    assert (part.rows, part.response.arrow, part.content) == (rows, chunk, chunk)


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=9)), max_size=30),
    st.lists(st.one_of(st.none(), st.binary(max_size=9)), max_size=30),
)
def test_values_of_any_length_and_missing_ones_fill_their_batch(texts: list[str], data: list[bytes]) -> None:
    rows = min(len(texts), len(data))
    columns = [
        Column(name="a", type=FieldType.FIELD_TYPE_STRING),
        Column(name="b", type=FieldType.FIELD_TYPE_BYTES),
    ]
    schema = schema_of(columns)
    arrays = [pa.array(texts[:rows], pa.string()), pa.array(data[:rows], pa.binary())]
    chunk = pa.RecordBatch.from_arrays(arrays, schema=schema).serialize().to_pybytes()
    assert begun_arrow(columns).part(chunk).rows == rows


@settings(max_examples=300)
@given(st.data())
def test_a_batch_that_was_changed_anywhere_is_read_or_refused_and_never_worse(data: st.DataObject) -> None:
    chunk = bytearray(batch(5))
    for _ in range(data.draw(st.integers(1, 4))):
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(chunk[: data.draw(st.integers(0, len(chunk)))])
    try:
        part = begun_arrow().part(changed)
    except Misbehaved:
        return
    assert part.content == changed


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(chunk: bytes) -> None:
    for content in (begun_rows(), begun_arrow()):
        try:
            assert content.part(chunk).content == chunk
        except Misbehaved:
            pass


@given(st.lists(st.lists(st.sampled_from([Value(), Value(int64_value=3), Value(string_value="王")]), min_size=len(COLUMNS), max_size=len(COLUMNS)), min_size=1, max_size=20))  # fmt: skip
def test_rows_go_on_in_the_bytes_in_which_they_came(rows: list[list[Value]]) -> None:
    chunk = RowSet(rows=[Row(values=each) for each in rows]).SerializeToString(deterministic=True)
    part = begun_rows().part(chunk)
    assert part.rows == len(rows)
    sent = StreamResponse.FromString(part.response.SerializeToString())
    assert sent.row_set.SerializeToString(deterministic=True) == chunk


def test_rows_in_another_spelling_are_refused() -> None:
    """A length written with a byte too many: the same message to a parser, other bytes to a digest."""
    chunk = RowSet(rows=[Row(values=[Value()] * len(COLUMNS))]).SerializeToString(deterministic=True)
    longer = chunk[:1] + bytes([chunk[1] | 0x80, 0]) + chunk[2:]
    assert RowSet.FromString(longer) == RowSet.FromString(chunk)
    with pytest.raises(Misbehaved):
        begun_rows().part(longer)
