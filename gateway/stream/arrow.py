"""An Arrow IPC stream, one message at a time (https://arrow.apache.org/docs/format/Columnar.html). No I/O.

Nothing is copied and no row is looked at: a batch is read in place against the schema, which says how many rows it has,
and that it has no more buffers than the schema accounts for. The gateway needs the extra `arrow` for it.
"""

import struct
from typing import Any, Final

import pyarrow as pa

from gateway.exchange.evidence import Misbehaved
from gateway.stream.content import Part
from isthmus.v1.common_pb2 import Column, FieldType
from isthmus.v1.department_service_pb2 import StreamRowsResponse
from isthmus.v1.exchange_service_pb2 import StreamResponse

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_ALIGNMENT: Final = 64
"""Bytes to which a writer may pad a buffer."""


def arrow_type(kind: FieldType.ValueType) -> pa.DataType:
    """How a type of isthmus.v1 travels in Arrow (docs/PROTOCOL.md).

    Raises:
        Misbehaved: it is none.
    """
    types: dict[Any, pa.DataType] = {
        FieldType.FIELD_TYPE_STRING: pa.string(),
        FieldType.FIELD_TYPE_INT64: pa.int64(),
        FieldType.FIELD_TYPE_DOUBLE: pa.float64(),
        FieldType.FIELD_TYPE_DECIMAL: pa.string(),
        FieldType.FIELD_TYPE_BOOL: pa.bool_(),
        FieldType.FIELD_TYPE_DATE: pa.date32(),
        FieldType.FIELD_TYPE_TIMESTAMP: pa.timestamp("us", "UTC"),
        FieldType.FIELD_TYPE_BYTES: pa.binary(),
    }
    if kind not in types:
        raise Misbehaved("a column has no type")
    return types[kind]


class ArrowContent:
    """An Arrow stream: its schema, its record batches, its end."""

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None
        self._types: list[pa.DataType] = []

    def begin(self, message: StreamRowsResponse) -> list[Part]:
        """As `Content.begin`: the schema says exactly what the columns say."""
        chunk = message.chunk
        found = _message(chunk, "schema")
        try:
            schema = pa.ipc.read_schema(found)
        except (pa.ArrowException, OSError):
            raise Misbehaved("the schema cannot be read") from None
        if len(schema) != len(message.columns) or schema.metadata:
            raise Misbehaved("the schema is not that of the columns")
        for each, column in zip(schema, message.columns, strict=True):
            _require_same(each, column)
        self._schema, self._types = schema, list(schema.types)
        return [Part(StreamResponse(arrow=chunk), 0, chunk)]

    def part(self, chunk: bytes) -> Part:
        """As `Content.part`: one record batch that fits the schema and fills its message."""
        found = _message(chunk, "record batch")
        self._require_plain(found.metadata.to_pybytes())
        try:
            batch = pa.ipc.read_record_batch(found, self._schema)
            batch.validate()
        except (pa.ArrowException, OSError, ValueError):
            raise Misbehaved("a record batch does not fit the schema") from None
        _require_full(batch, found.body.size if found.body is not None else 0)
        return Part(StreamResponse(arrow=chunk), batch.num_rows, chunk)

    def _require_plain(self, metadata: bytes) -> None:
        """Refuses columns and buffers beyond the schema, which pyarrow would leave unread, and compression, by which a
        department would choose how much memory the gateway takes.
        """
        nodes, buffers, compressed = _layout(metadata)
        if compressed:
            raise Misbehaved("a record batch is compressed")
        if (nodes, buffers) != (len(self._types), sum(map(_buffers, self._types))):
            raise Misbehaved("a record batch has more or fewer columns than the schema")

    def end(self, chunk: bytes) -> Part:
        """As `Content.end`."""
        if chunk != END_OF_STREAM:
            raise Misbehaved("the last message is not the end of an Arrow stream")
        return Part(StreamResponse(arrow=chunk), 0, chunk)


def _message(chunk: bytes, kind: str) -> Any:
    """The one Arrow message that a chunk holds, and nothing beside it."""
    reader = pa.BufferReader(chunk)
    try:
        found = pa.ipc.read_message(reader)
    except (pa.ArrowException, OSError, EOFError):
        raise Misbehaved("a chunk is no Arrow message") from None
    if found.type != kind or reader.tell() != len(chunk):
        raise Misbehaved(f"a chunk is not exactly one Arrow {kind}")
    return found


def _buffers(kind: pa.DataType) -> int:
    """How many buffers a column has: validity and values, and offsets where values differ in length."""
    return 3 if pa.types.is_string(kind) or pa.types.is_binary(kind) else 2


def _layout(metadata: bytes) -> tuple[int, int, bool]:
    """Nodes, buffers and whether there is compression: fields 1 to 3 of a RecordBatch (Message.fbs), in a flatbuffer that
    pyarrow has verified.
    """
    root = _unsigned(metadata, 0)
    header = root + _member(metadata, root, 2)
    batch = header + _unsigned(metadata, header)
    lengths = []
    for index in (1, 2):
        place = _member(metadata, batch, index)
        vector = batch + place
        lengths.append(_unsigned(metadata, vector + _unsigned(metadata, vector)) if place else 0)
    return lengths[0], lengths[1], _member(metadata, batch, 3) != 0


def _unsigned(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def _member(data: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffer's table stands, counted from the table; 0 when it is absent."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    place = 4 + 2 * index
    return int(struct.unpack_from("<H", data, table - back + place)[0]) if place < size else 0


def _require_same(each: pa.Field, column: Column) -> None:
    metadata = each.metadata or {}
    labels = {
        b"isthmus.type": FieldType.Name(column.type).removeprefix("FIELD_TYPE_").lower().encode(),
        b"isthmus.transform": column.transform.encode(),
    }
    told = {name: value.lower() if name == b"isthmus.type" else value for name, value in metadata.items()}
    if each.name != column.name or each.type != arrow_type(column.type) or not told.items() <= labels.items():
        raise Misbehaved("the schema is not that of the columns")


def _require_full(batch: pa.RecordBatch, body: int) -> None:
    """Refuses what the schema does not account for: a buffer too many would travel unseen."""
    buffers = [each for column in batch.columns for each in column.buffers() if each is not None]
    spare = body - sum(each.size for each in buffers)
    if not 0 <= spare <= _ALIGNMENT * (len(buffers) + 1):
        raise Misbehaved("a record batch holds more, or other, than the schema says")
