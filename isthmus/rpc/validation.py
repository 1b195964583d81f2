"""Requests against the rules in the protos (protovalidate), as one InvalidArgument that names every field."""

from typing import Any, Final

import protovalidate
from google.protobuf.message import Message

from isthmus.errors import FieldViolation, InvalidArgument

MAX_VIOLATIONS: Final = 20
"""How many violations one answer names; a large bad request must not make a large answer."""


class RequestValidator:
    """Checks requests; safe to use from many threads, and compiles the rules of each message type once."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def check(self, request: Message) -> None:
        """Returns only when `request` keeps every rule of its proto.

        Raises:
            InvalidArgument: it does not; fields are named by path and rules in words, values never repeated.
        """
        found = self._validator.collect_violations(request)
        if not found:
            return
        violations = [_violation(each.proto) for each in found[:MAX_VIOLATIONS]]
        raise InvalidArgument(violations[0].field, violations[0].description, others=violations[1:])


def _violation(proto: Any) -> FieldViolation:
    path = ".".join(_element(each) for each in proto.field.elements) if proto.field else ""
    return FieldViolation(path or "request", proto.message or f"breaks the rule {proto.rule_id}")


def _element(element: Any) -> str:
    subscript = element.subscript
    if subscript is None:
        return str(element.field_name)
    # A map key is the caller's text and may be anything; an index is a number.
    index = subscript.value if subscript.field == "index" else "key"
    return f"{element.field_name}[{index}]"
