"""How tests read the responses of a stream, as typed rows and as Arrow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from isthmus.errors import IsthmusError
from isthmus.v1 import common_pb2
from isthmus.v1.department_service_pb2 import StreamRowsResponse
from services.values import as_text

KINDS = ("bool", "int64", "double", "decimal", "string", "bytes", "date", "timestamp")
ALL = "departments/civil-registry/datasets/all"
VIEW = "departments/civil-registry/datasets/view"


def rows_of(responses: Sequence[StreamRowsResponse]) -> list[tuple[Any, ...]]:
    """The rows of a stream in the encoding ROWS, after a look at its form."""
    first, *chunks, last = responses
    assert first.columns and not first.chunk and not last.chunk
    assert not first.row_count and not last.row_count
    found: list[tuple[Any, ...]] = []
    for each in chunks:
        row_set = common_pb2.RowSet.FromString(each.chunk)
        assert not row_set.columns and len(row_set.rows) == each.row_count > 0
        found += [tuple(plain(value) for value in row.values) for row in row_set.rows]
    return found


def plain(value: common_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    return None if kind is None else getattr(value, kind)


def arrow_rows(responses: Sequence[StreamRowsResponse]) -> list[tuple[Any, ...]]:
    """The rows of a stream in the encoding ARROW, each value as typed rows would write it."""
    table = arrow_table(responses)
    return [tuple(_wire(value) for value in row.values()) for row in table.to_pylist()]


def arrow_table(responses: Sequence[StreamRowsResponse]) -> Any:
    first, *chunks, last = responses
    assert first.columns and not first.row_count and not last.row_count
    with pa.ipc.open_stream(b"".join(each.chunk for each in responses)) as reader:
        assert [each.name for each in reader.schema] == [each.name for each in first.columns]
        batches = [reader.read_next_batch() for _ in chunks]
        with_end = list(reader)
    assert not with_end and [each.num_rows for each in batches] == [each.row_count for each in chunks]
    return pa.Table.from_batches(batches, schema=reader.schema)


def _wire(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | bytes) else as_text(value)


def digest_of(responses: Sequence[StreamRowsResponse]) -> str:
    return hashlib.sha256(b"".join(each.chunk for each in responses)).hexdigest()


def fields_of(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "transform": "plain"} for name in names]


def many(count: int) -> list[tuple[Any, ...]]:
    return [
        (f"人{n % 97}", n % 2, n, n / 4, f"{n}.50", f"第{n}行", b"b", "2020-02-29", None)
        for n in range(count)
    ]


def stream(world: Any, **changes: Any) -> list[Any]:
    return list(world.responses(world.stream(**({"dataset": ALL, "fields": fields_of(*KINDS)} | changes))))


def refusal(world: Any, **changes: Any) -> IsthmusError:
    with pytest.raises(IsthmusError) as error:
        stream(world, **changes)
    return error.value
