"""Typed values: from what a database driver returns to Python values of the declared type, and to the wire.

A value that does not fit its declared type is never guessed at: `UnfitValue` says which type was declared and
never what was found.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Final
from uuid import UUID

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

Typed = bool | int | float | Decimal | str | bytes | date | datetime
Read = Callable[[object], Typed | None]

_MAX_DIGITS: Final = 128
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DOUBLE: Final = re.compile(r"[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][+-]?[0-9]{1,3})?")
# Also money as people write it, for example `$1,929.00`.
_DECIMAL: Final = re.compile(
    r"([+-]?)[$¥￥€£]?([+-]?)((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,100})(?:\.[0-9]{0,64})?|\.[0-9]{1,64})"
)
# A decimal as it stands: read and written again it is the same text.
_WRITTEN_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,64})?")
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1", "是"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0", "否"})


class UnfitValue(ValueError):
    """A stored value is not of the declared type."""


def _unfit() -> UnfitValue:
    return UnfitValue("a stored value is not of the declared type")


def reader(kind: FieldType.ValueType, zone: tzinfo = UTC) -> Read:
    """A function from a driver's value to a Python value of the declared type.

    NULL stays None, and so does blank text under every type but string.

    Args:
        kind: the declared type.
        zone: the zone of stored times that name none.

    Raises:
        UnfitValue: by the function, when the value is not of the type.
    """
    if kind == FIELD_TYPE_TIMESTAMP:
        return lambda raw: None if raw is None else _timestamp(raw, zone)
    read = _READERS[kind]
    return lambda raw: None if raw is None else read(raw)


def _bool(raw: object) -> bool | None:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().casefold() if isinstance(raw, str | int) else "?"
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if word == "":
        return None
    raise _unfit()


def _int64(raw: object) -> int | None:
    if isinstance(raw, str):
        text = raw.strip()
        if not text:
            return None
        if not _INTEGER.fullmatch(text):
            raise _unfit()
        raw = int(text)
    elif isinstance(raw, float | Decimal):
        if not _is_finite(raw) or raw != int(raw):
            raise _unfit()
        raw = int(raw)
    if not isinstance(raw, int) or not -(2**63) <= raw < 2**63:
        raise _unfit()
    return int(raw)


def _double(raw: object) -> float | None:
    if isinstance(raw, str):
        text = raw.strip()
        if not text:
            return None
        if not _DOUBLE.fullmatch(text):
            raise _unfit()
        return float(text)
    if not isinstance(raw, int | float | Decimal):
        raise _unfit()
    try:
        return float(raw)
    except (ValueError, OverflowError):
        raise _unfit() from None


def _is_finite(number: float | Decimal) -> bool:
    # math.isfinite() raises for a signalling NaN.
    return number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)


def _decimal(raw: object) -> Decimal | None:
    if isinstance(raw, str):
        text = raw.strip()
        if not text:
            return None
        found = _DECIMAL.fullmatch(text)
        if found is None or (found[1] and found[2]):
            raise _unfit()
        return Decimal(f"{found[1] or found[2]}{found[3].replace(',', '')}")
    if isinstance(raw, float):
        raw = Decimal(repr(raw))
    elif isinstance(raw, int):
        raw = Decimal(raw)
    if not isinstance(raw, Decimal) or not raw.is_finite() or abs(raw.adjusted()) > _MAX_DIGITS:
        raise _unfit()
    return raw


def _string(raw: object) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bytes | bytearray | memoryview):
        raise _unfit()
    if isinstance(raw, dict | list):
        return json.dumps(raw, ensure_ascii=False, sort_keys=True)
    if isinstance(raw, bool | int | float | Decimal | date):
        return as_text(raw)
    if isinstance(raw, UUID):
        return str(raw)
    return str(raw)


def _bytes(raw: object) -> bytes:
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw)
    raise _unfit()


def _date(raw: object) -> date | None:
    if isinstance(raw, datetime):
        return raw.date()
    if isinstance(raw, date):
        return raw
    if not isinstance(raw, str):
        raise _unfit()
    text = raw.strip()
    if not text:
        return None
    try:
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text).date()
    except ValueError:
        raise _unfit() from None


def _timestamp(raw: object, zone: tzinfo) -> datetime | None:
    if isinstance(raw, str):
        text = raw.strip()
        if not text:
            return None
        try:
            raw = datetime.fromisoformat(text)
        except ValueError:
            raise _unfit() from None
    elif isinstance(raw, date) and not isinstance(raw, datetime):
        raw = datetime(raw.year, raw.month, raw.day, tzinfo=zone)
    if not isinstance(raw, datetime):
        raise _unfit()
    try:
        return (raw if raw.tzinfo else raw.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise _unfit() from None


_READERS: Final[Mapping[FieldType.ValueType, Read]] = {
    FIELD_TYPE_BOOL: _bool,
    FIELD_TYPE_INT64: _int64,
    FIELD_TYPE_DOUBLE: _double,
    FIELD_TYPE_DECIMAL: _decimal,
    FIELD_TYPE_STRING: _string,
    FIELD_TYPE_BYTES: _bytes,
    FIELD_TYPE_DATE: _date,
}


def stands_as_text(kind: FieldType.ValueType) -> Callable[[str], object]:
    """A function that says of stored text whether it is, just as it stands, what `as_text` writes of its value.

    For types of which that can be told more cheaply than by reading the value; of the others it is never said.
    """
    if kind == FIELD_TYPE_STRING:
        return lambda text: True
    if kind == FIELD_TYPE_DECIMAL:
        return _WRITTEN_DECIMAL.fullmatch
    return lambda text: False


def as_text(value: Typed) -> str:
    """A value as the wire writes it: ISO 8601 dates, RFC 3339 times in UTC, decimals without exponent."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    return repr(value)
