"""Rows as protobuf bytes, written directly.

Building a message for every value costs several times what the value itself does, so the few shapes that a row can
have are written here by hand (https://protobuf.dev/programming-guides/encoding/). The bytes are exactly those of
`Row.SerializeToString(deterministic=True)`; a test holds the two against each other.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
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
from services.values import UnfitValue, as_text

Write = Callable[[Any], bytes]
"""From a typed value, never None, to its entry in `Row.values`."""

_VALUES: Final = 0x0A
_ROWS: Final = b"\x12"
_SHORT: Final = 126
"""Content of fewer bytes has lengths of one byte, its own and that of the Value around it."""

_MAX_LENGTHS: Final = 8_192

NULL: Final = bytes((_VALUES, 0))
"""The entry of SQL NULL: a Value with no alternative set."""


def varint(number: int) -> bytes:
    """A number of 0 or more as a base 128 varint."""
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


_length = lru_cache(maxsize=_MAX_LENGTHS)(varint)
"""A varint of a length: there are few of them, and they tell nothing."""


def row_entry(cells: bytes) -> bytes:
    """A row's entry in `RowSet.rows` or `SubjectRows.rows`, which have the same field number.

    Args:
        cells: the entries of its values, joined.
    """
    return _ROWS + _length(len(cells)) + cells


def _delimited(tag: int) -> Write:
    short = tuple(bytes((_VALUES, size + 2, tag, size)) for size in range(_SHORT))

    def write(content: bytes) -> bytes:
        size = len(content)
        if size < _SHORT:
            return short[size] + content
        value = bytes((tag,)) + varint(size) + content
        return bytes((_VALUES,)) + varint(len(value)) + value

    return write


def _text(tag: int) -> Write:
    short = tuple(bytes((_VALUES, size + 2, tag, size)) for size in range(_SHORT))
    write = _delimited(tag)

    def write_text(value: Any) -> bytes:
        try:
            content: bytes = (value if type(value) is str else as_text(value)).encode()
            size = len(content)
            return short[size] + content if size < _SHORT else write(content)
        except UnicodeEncodeError:
            raise UnfitValue("a stored value holds a lone surrogate, which is not text") from None

    return write_text


def _bool(value: bool) -> bytes:
    return b"\x0a\x02\x08\x01" if value else b"\x0a\x02\x08\x00"


def _int64(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((_VALUES, 2, 0x10, value))
    # A negative number travels as its two's complement of 64 bits.
    content = varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return bytes((_VALUES, len(content) + 1, 0x10)) + content


def _double(value: float) -> bytes:
    return b"\x0a\x09\x19" + struct.pack("<d", value)


WRITERS: Final[Mapping[FieldType.ValueType, Write]] = {
    FIELD_TYPE_BOOL: _bool,
    FIELD_TYPE_INT64: _int64,
    FIELD_TYPE_DOUBLE: _double,
    FIELD_TYPE_DECIMAL: _text(0x22),
    FIELD_TYPE_STRING: _text(0x2A),
    FIELD_TYPE_BYTES: _delimited(0x32),
    FIELD_TYPE_DATE: _text(0x3A),
    FIELD_TYPE_TIMESTAMP: _text(0x42),
}
"""How values of a type are written."""
