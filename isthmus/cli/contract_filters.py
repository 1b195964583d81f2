"""Whether one row filter lets fewer rows through than another. Pure."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

_RISING: Final = ("GT", "GE")
_FALLING: Final = ("LT", "LE")


def filter_effect(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool | None:
    """Returns whether `b` lets only rows through that `a` does (True), or the reverse (False); None if neither is known.

    Only two filters about the same field that differ compare: lists of values, and bounds on the same side.

    Args:
        a, b: documents of `isthmus.terms.predicate_to_json`.
    """
    if {a["operator"], b["operator"]} <= {"EQ", "IN"}:
        return _fewer(a["values"], b["values"])
    if a["operator"] != b["operator"]:
        return None
    old, new = (_bound(each["values"]) for each in (a, b))
    if old is None or new is None or type(old) is not type(new) or old == new:
        return None
    if a["operator"] in _RISING:
        return bool(new > old)
    return bool(new < old) if a["operator"] in _FALLING else None


def _fewer(a: list[Any], b: list[Any]) -> bool | None:
    inside, outside = all(each in a for each in b), all(each in b for each in a)
    return inside if inside != outside else None


def _bound(values: list[Any]) -> Any:
    """The one value to compare with, where its order is known; else None."""
    if len(values) != 1 or not values[0]:
        return None
    kind, content = next(iter(values[0].items()))
    try:
        if kind == "date":
            return date.fromisoformat(content)
        number = Decimal(content) if kind in ("int64", "decimal") else None
    except (ValueError, ArithmeticError):
        return None
    return number if number is not None and number.is_finite() else None
