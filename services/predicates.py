"""Comparing stored values with the values of a predicate, at the source and on the declared types.

NULL compares as in SQL: nothing holds of it, not even that it differs.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from decimal import Decimal
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
    OPERATOR_EQ,
    OPERATOR_GE,
    OPERATOR_GT,
    OPERATOR_IN,
    OPERATOR_LE,
    OPERATOR_LT,
    OPERATOR_NE,
    FieldType,
    Operator,
    Predicate,
    Value,
)
from services.manifest import Field, type_name
from services.values import Typed, UnfitValue, reader

Holds = Callable[[object], bool | None]
"""Whether a predicate holds of a driver's value; None when there is no value to compare. Raises UnfitValue."""


class PredicateError(ValueError):
    """A predicate cannot be asked of this field. The message says why."""


_COMPARE: Final[Mapping[Operator.ValueType, Callable[[Any, Any], bool]]] = {
    OPERATOR_EQ: operator.eq,
    OPERATOR_NE: operator.ne,
    OPERATOR_LT: operator.lt,
    OPERATOR_LE: operator.le,
    OPERATOR_GT: operator.gt,
    OPERATOR_GE: operator.ge,
}
_ORDER: Final = frozenset({OPERATOR_LT, OPERATOR_LE, OPERATOR_GT, OPERATOR_GE})
_UNORDERED: Final = frozenset({FIELD_TYPE_BOOL, FIELD_TYPE_BYTES})
_KINDS: Final[Mapping[FieldType.ValueType, frozenset[str]]] = {
    FIELD_TYPE_BOOL: frozenset({"bool_value"}),
    FIELD_TYPE_INT64: frozenset({"int64_value", "decimal_value"}),
    FIELD_TYPE_DOUBLE: frozenset({"double_value", "int64_value", "decimal_value"}),
    FIELD_TYPE_DECIMAL: frozenset({"decimal_value", "int64_value"}),
    FIELD_TYPE_STRING: frozenset({"string_value"}),
    FIELD_TYPE_BYTES: frozenset({"bytes_value"}),
    FIELD_TYPE_DATE: frozenset({"date_value"}),
    FIELD_TYPE_TIMESTAMP: frozenset({"timestamp_value"}),
}


def compile_predicate(predicate: Predicate, field: Field, *, zone: tzinfo = UTC) -> Holds:
    """A function that evaluates a predicate on stored values.

    Args:
        predicate: as the grant states it.
        field: the field it names.
        zone: the zone of stored times that name none.

    Raises:
        PredicateError: the operator does not suit the field's type, or a value is not of it.
    """
    _check(predicate, field)
    read = reader(field.type, zone)
    constants = [_constant(value, field, zone) for value in predicate.values]
    if predicate.operator == OPERATOR_IN:
        wanted = frozenset(constants)
        return lambda raw: None if (value := read(raw)) is None else value in wanted
    compare, constant = _COMPARE[predicate.operator], constants[0]
    return lambda raw: None if (value := read(raw)) is None else compare(value, constant)


def _check(predicate: Predicate, field: Field) -> None:
    if predicate.operator not in _COMPARE and predicate.operator != OPERATOR_IN:
        raise PredicateError("it names no operator that this node knows")
    if predicate.operator in _ORDER and field.type in _UNORDERED:
        raise PredicateError(f"{type_name(field.type)} has no order; EQ, NE and IN can be asked of it")
    if not predicate.values or (predicate.operator != OPERATOR_IN and len(predicate.values) != 1):
        raise PredicateError("it needs exactly one value, or at least one with IN")


def _constant(value: Value, field: Field, zone: tzinfo) -> Typed:
    kind = value.WhichOneof("kind")
    if kind not in _KINDS[field.type]:
        given = "NULL" if kind is None else kind.removesuffix("_value")
        raise PredicateError(f"it compares {type_name(field.type)} with {given}")
    content = getattr(value, kind)
    try:
        # A whole number of another kind keeps its exact value; the stored side is read as declared.
        if field.type == FIELD_TYPE_INT64 and kind == "decimal_value":
            return _require(reader(FIELD_TYPE_DECIMAL)(content))
        if isinstance(content, int) and field.type in (FIELD_TYPE_DECIMAL, FIELD_TYPE_DOUBLE):
            return Decimal(content)
        if field.type == FIELD_TYPE_DOUBLE and kind == "decimal_value":
            return _require(reader(FIELD_TYPE_DOUBLE)(content))
        return _require(reader(field.type, zone)(content))
    except UnfitValue:
        raise PredicateError(f"it holds a value that is no {type_name(field.type)}") from None


def _require(value: Typed | None) -> Typed:
    if value is None:
        raise UnfitValue("a value is empty")
    return value
