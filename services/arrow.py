"""A stream as Apache Arrow: its chunks, one after the other, are one IPC stream (Arrow columnar format, IPC).

Every value is the one that typed rows would hold; decimals travel as their exact text. Columns that leave as they
are stored, and are stored as they are declared, are handed to Arrow whole.
"""

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from isthmus.v1.common_pb2 import (
    FIELD_TYPE_BOOL,
    FIELD_TYPE_BYTES,
    FIELD_TYPE_DATE,
    FIELD_TYPE_DECIMAL,
    FIELD_TYPE_DOUBLE,
    FIELD_TYPE_INT64,
    FIELD_TYPE_STRING,
    FIELD_TYPE_TIMESTAMP,
    FieldType,
)
from services.chunks import Columns
from services.columns import Column
from services.plan import ReleasedField, Shape
from services.row_cells import converted
from services.values import Typed, as_text, stands_as_text

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of an IPC stream: a continuation mark and a length of zero."""

# Which stored values Arrow may take as they are. It takes bytes for text and cuts fractions off, so their types are
# looked at; a double it takes only from numbers that are one.
_DIRECT: Final[Mapping[FieldType.ValueType, frozenset[type] | None]] = {
    FIELD_TYPE_STRING: frozenset({str, type(None)}),
    FIELD_TYPE_BYTES: frozenset({bytes, type(None)}),
    FIELD_TYPE_INT64: frozenset({int, type(None)}),
    FIELD_TYPE_DOUBLE: None,
}


class ArrowMissing(Exception):
    """The library `pyarrow` is not installed."""


def _days(value: Any) -> int:
    return int(value.toordinal()) - _EPOCH_DAY


def _microseconds(value: Any) -> int:
    return int((value - _EPOCH) // _MICROSECOND)


_TO_STORAGE: Final[Mapping[FieldType.ValueType, Callable[[Any], Any]]] = {
    FIELD_TYPE_DATE: _days,
    FIELD_TYPE_TIMESTAMP: _microseconds,
    FIELD_TYPE_DECIMAL: as_text,
}


class ArrowChunks:
    """Arrow record batches: the head is the schema, each chunk one batch.

    Raises:
        ArrowMissing: `pyarrow` is not installed.
    """

    tail = _END

    def __init__(self, shape: Shape) -> None:
        try:
            # Optional: the extra `arrow`. A node that serves no Arrow need not have it.
            self._arrow: Any = importlib.import_module("pyarrow")
        except ImportError:
            raise ArrowMissing from None
        self._columns = [_ArrowColumn(self._arrow, each) for each in shape.fields]
        notation = [column.transform for column in shape.columns]
        self._schema = self._arrow.schema(
            [
                self._arrow.field(each.field.name, each.type, metadata=_metadata(each.field, transform))
                for each, transform in zip(self._columns, notation, strict=True)
            ]
        )
        self.head: bytes = self._schema.serialize().to_pybytes()

    def encode(self, columns: Columns, count: int) -> bytes:
        arrays = [each.array(columns, count) for each in self._columns]
        batch = self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        found: bytes = batch.serialize().to_pybytes()
        return found


def _metadata(field: ReleasedField, transform: str) -> dict[str, str]:
    kind = FieldType.Name(field.kind).removeprefix("FIELD_TYPE_")
    return {"isthmus.type": kind, "isthmus.transform": transform}


class _ArrowColumn:
    def __init__(self, arrow: Any, field: ReleasedField) -> None:
        self._arrow = arrow
        self.field = field
        self.type = _types(arrow)[field.kind]
        storage = {FIELD_TYPE_DATE: arrow.int32(), FIELD_TYPE_TIMESTAMP: arrow.int64()}
        self._storage = storage.get(field.kind, self.type)
        self._column = Column(_stored(field))
        self._direct = field.plain and field.kind in _DIRECT
        self._exact = _DIRECT.get(field.kind)

    def array(self, columns: Columns, count: int) -> Any:
        arrow, index = self._arrow, self.field.index
        if index is None:
            return arrow.nulls(count, self.type)
        raws = columns[index]
        if self._direct and (self._exact is None or self._exact.issuperset(map(type, raws))):
            # What Arrow does not take is converted, or found unfit, value by value.
            with suppress(arrow.ArrowException, OverflowError, TypeError, UnicodeError):
                return arrow.array(raws, type=self.type)
        values = converted(self.field, self._column.convert, columns)
        return arrow.array(values, type=self._storage).cast(self.type)


def _stored(field: ReleasedField) -> Callable[[Any], Any]:
    release, to_storage = field.release, _TO_STORAGE.get(field.kind, _same)

    def stored(raw: Any) -> Any:
        value = release(raw)
        return None if value is None else to_storage(value)

    if not field.plain or field.kind != FIELD_TYPE_DECIMAL:
        return stored
    stands = stands_as_text(field.kind)
    return lambda raw: raw if type(raw) is str and stands(raw) else stored(raw)


def _same(value: Typed) -> Typed:
    if type(value) is str:
        # A lone surrogate is not text; Arrow would only say so for the whole column.
        value.encode()
    return value


def _types(arrow: Any) -> Mapping[FieldType.ValueType, Any]:
    return {
        FIELD_TYPE_BOOL: arrow.bool_(),
        FIELD_TYPE_INT64: arrow.int64(),
        FIELD_TYPE_DOUBLE: arrow.float64(),
        FIELD_TYPE_DECIMAL: arrow.utf8(),
        FIELD_TYPE_STRING: arrow.utf8(),
        FIELD_TYPE_BYTES: arrow.binary(),
        FIELD_TYPE_DATE: arrow.date32(),
        FIELD_TYPE_TIMESTAMP: arrow.timestamp("us", tz="UTC"),
    }
