"""Transforms at the source: what happens to a value before it leaves the department.

`isthmus.transforms` defines the notation; here it is applied. What is hidden here never reaches the gateway.
"""

import hmac
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Final

from isthmus.transforms import Transform, TransformKind
from isthmus.v1.common_pb2 import FIELD_TYPE_STRING, FieldType, Value
from services.manifest import Field, released_type
from services.values import ENCODERS, Typed, UnfitValue, as_text, reader

Release = Callable[[object], Value]
"""From a driver's value to what is released of it. Raises UnfitValue."""

MASK: Final = "*"

_NULL: Final = Value()
_DIGEST_CHARACTERS: Final = 32
_LABEL: Final = b"isthmus field hash v1\0"


def pairwise_key(node_key: bytes, *, contract: str, dataset: str) -> bytes:
    """The key of the hashes released under one contract, so that two contracts' hashes never match.

    Args:
        node_key: the node's secret, at least 32 bytes.
        contract: `contracts/{contract}` without a version: hashes stay stable when the terms are renewed.
        dataset: `departments/{department}/datasets/{dataset}`.
    """
    return hmac.digest(node_key, _LABEL + contract.encode() + b"\0" + dataset.encode(), "sha256")


def mask(text: str, keep: int) -> str:
    """Stars for all but the last `keep` characters. Text no longer than that is hidden whole."""
    hidden = len(text) - keep if len(text) > keep else len(text)
    return MASK * hidden + text[hidden:]


def field_hash(text: str, *, key: bytes, field: str) -> str:
    """The keyed digest of a field's value: 32 hex digits of HMAC-SHA256."""
    return hmac.digest(key, field.encode() + b"\0" + text.encode(), "sha256").hex()[:_DIGEST_CHARACTERS]


def bucket(value: Typed, argument: str) -> Typed:
    """The multiple of N at or below a number, or the first day or instant of a date's year or month."""
    if argument.isdigit():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | Decimal)
            or not math.isfinite(value)
        ):
            raise UnfitValue("a stored value has no bucket")
        floor = math.floor(value)
        # From the whole part, exactly: a quotient of floats could round up past the value.
        return type(value)(floor - floor % int(argument))
    month = 1 if argument == "year" else None
    if isinstance(value, datetime):
        return datetime(value.year, month or value.month, 1, tzinfo=UTC)
    if isinstance(value, date):
        return date(value.year, month or value.month, 1)
    raise UnfitValue("a stored value has no calendar bucket")


def release(field: Field, transform: Transform, *, key: bytes | None = None, zone: tzinfo = UTC) -> Release:
    """The function that releases a field's values under a transform.

    Args:
        field: the field, with its declared type.
        transform: it must fit the type (`services.manifest.transform_fits`).
        key: the pairwise key; needed for hashes.
        zone: the zone of stored times that name none.

    Raises:
        ValueError: a hash without a key.
    """
    if transform.kind is TransformKind.OMIT:
        return lambda raw: _NULL
    read = reader(field.type, zone)
    if transform.kind is TransformKind.PLAIN:
        return _plain(field.type, zone)
    change = _change(field, transform, key)
    encode = ENCODERS[released_type(transform, field.type)]

    def released(raw: object) -> Value:
        value = read(raw)
        return _NULL if value is None else encode(change(value))

    return released


def _plain(kind: FieldType.ValueType, zone: tzinfo) -> Release:
    read, encode = reader(kind, zone), ENCODERS[kind]

    def plain(raw: object) -> Value:
        value = read(raw)
        return _NULL if value is None else encode(value)

    def plain_text(raw: object) -> Value:
        return Value(string_value=raw) if type(raw) is str else plain(raw)

    return plain_text if kind == FIELD_TYPE_STRING else plain


def _change(field: Field, transform: Transform, key: bytes | None) -> Callable[[Typed], Typed]:
    if transform.kind is TransformKind.MASK:
        keep = int(transform.argument)
        return lambda value: mask(as_text(value), keep)
    if transform.kind is TransformKind.BUCKET:
        return lambda value: bucket(value, transform.argument)
    if key is None:
        raise ValueError("a hash needs the node's key")
    return lambda value: field_hash(as_text(value), key=key, field=field.name)
