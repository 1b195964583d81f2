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
from services.manifest import Field
from services.values import Typed, UnfitValue, as_text, reader

Release = Callable[[object], Typed | None]
"""From a driver's value to what is released of it; None is NULL. Raises UnfitValue."""

MASK: Final = "*"

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


def hasher(*, key: bytes, field: str) -> Callable[[str], str]:
    """A function from a value's text to its keyed digest: 32 hex digits of HMAC-SHA256 over field, NUL and text."""
    start = hmac.new(key, field.encode() + b"\0", "sha256")

    def digest(text: str) -> str:
        mac = start.copy()
        mac.update(text.encode())
        return mac.hexdigest()[:_DIGEST_CHARACTERS]

    return digest


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
    """The function that releases a field's values under a transform; their type is `released_type`.

    Args:
        field: the field, with its declared type.
        transform: it must fit the type (`services.manifest.transform_fits`).
        key: the pairwise key; needed for hashes.
        zone: the zone of stored times that name none.

    Raises:
        ValueError: a hash without a key.
    """
    if transform.kind is TransformKind.OMIT:
        return lambda raw: None
    read = reader(field.type, zone)
    if transform.kind is TransformKind.PLAIN:
        return read
    change = _change(field, transform, key)
    return lambda raw: None if (value := read(raw)) is None else change(value)


def _change(field: Field, transform: Transform, key: bytes | None) -> Callable[[Typed], Typed]:
    if transform.kind is TransformKind.MASK:
        keep = int(transform.argument)
        return lambda value: mask(as_text(value), keep)
    if transform.kind is TransformKind.BUCKET:
        return lambda value: bucket(value, transform.argument)
    if key is None:
        raise ValueError("a hash needs the node's key")
    digest = hasher(key=key, field=field.name)
    return lambda value: digest(as_text(value))
