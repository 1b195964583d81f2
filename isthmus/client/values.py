"""Typed values on the wire as Python values, and back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from isthmus.errors import InvalidArgument, Reason, Unavailable
from isthmus.v1.common_pb2 import Column, Operator, Predicate, Row, Subject, Value

Python: TypeAlias = bool | int | float | Decimal | str | bytes | date | datetime | None
SubjectLike: TypeAlias = Subject | tuple[str, str]

_READERS = {
    "decimal_value": Decimal,
    "date_value": date.fromisoformat,
    "timestamp_value": datetime.fromisoformat,
}


def to_python(value: Value) -> Python:
    """Returns a value as bool, int, float, Decimal, str, bytes, date, an aware datetime, or None for NULL.

    Raises:
        ValueError: a decimal, date or timestamp is not in the form that the protocol prescribes.
    """
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    content: Python = getattr(value, kind)
    reader = _READERS.get(kind)
    try:
        return content if reader is None else reader(content)  # type: ignore[operator]
    except ArithmeticError:
        raise ValueError("the provider sent a decimal that is none") from None


def to_value(content: Python) -> Value:
    """Returns a Python value as it travels.

    Raises:
        InvalidArgument: its type does not travel, an integer has more than 64 bits, or a time has no zone.
    """
    # bool before int and datetime before date: each is a kind of the other to Python.
    if content is None:
        return Value()
    if isinstance(content, bool):
        return Value(bool_value=content)
    if isinstance(content, int):
        if not -(2**63) <= content < 2**63:
            raise InvalidArgument("value", "must be an integer of at most 64 bits")
        return Value(int64_value=content)
    if isinstance(content, datetime):
        if content.tzinfo is None:
            raise InvalidArgument("value", "must be a time with a zone")
        return Value(timestamp_value=content.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    return _other(content)


def _other(content: Any) -> Value:
    if isinstance(content, float):
        return Value(double_value=content)
    if isinstance(content, Decimal):
        return Value(decimal_value=format(content, "f"))
    if isinstance(content, str):
        return Value(string_value=content)
    if isinstance(content, bytes):
        return Value(bytes_value=content)
    if isinstance(content, date):
        return Value(date_value=content.isoformat())
    raise InvalidArgument("value", f"must be a plain value, not {type(content).__name__}")


def to_rows(columns: Sequence[Column], rows: Iterable[Row]) -> list[dict[str, Python]]:
    """Returns rows as dictionaries, in the order of the columns.

    Raises:
        Unavailable: a row has more or fewer values than there are columns, or a value is not in the form that
            the protocol prescribes (DEPARTMENT_MISBEHAVED).
    """
    names = [column.name for column in columns]
    try:
        return [_dictionary(names, row) for row in rows]
    except ValueError:
        # Without the cause: its text would quote the value.
        message = "the provider sent rows that do not fit their columns"
        raise Unavailable(Reason.DEPARTMENT_MISBEHAVED, message) from None


def _dictionary(names: Sequence[str], row: Row) -> dict[str, Python]:
    return {name: to_python(value) for name, value in zip(names, row.values, strict=True)}


def to_subject(subject: SubjectLike) -> Subject:
    """Returns `("cn.resident-id", "…")` as a Subject; a Subject as it is."""
    return subject if isinstance(subject, Subject) else Subject(scheme=subject[0], id=subject[1])


def to_predicate(field: str, operator: str, value: Any) -> Predicate:
    """Returns a comparison.

    Args:
        field: the field's name.
        operator: `=`, `!=`, `<`, `<=`, `>`, `>=` or `in`, or the name in the proto such as `EQ`.
        value: a plain value; for `in` a list of them.

    Raises:
        InvalidArgument: there is no such operator, or the value does not travel.
    """
    name = _OPERATORS.get(operator, operator.upper())
    if f"OPERATOR_{name}" not in Operator.keys() or name == "UNSPECIFIED":  # noqa: SIM118 - an enum wrapper
        raise InvalidArgument("operator", f"must be one of {' '.join(_OPERATORS)}")
    values = value if name == "IN" and isinstance(value, list | tuple | set) else [value]
    number = Operator.Value(f"OPERATOR_{name}")
    return Predicate(field=field, operator=number, values=[to_value(each) for each in values])


_OPERATORS = {
    "=": "EQ",
    "!=": "NE",
    "<": "LT",
    "<=": "LE",
    ">": "GT",
    ">=": "GE",
    "in": "IN",
}
