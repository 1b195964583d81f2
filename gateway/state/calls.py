"""What the services of the control plane share at their edge: who calls, and where a page goes on."""

from typing import Any

import grpc

from gateway.state.change import Call, Control
from isthmus.errors import InvalidArgument
from isthmus.rpc import caller
from isthmus.rpc.paging import cursor_of


def call_of(control: Control, context: grpc.ServicerContext, method: str) -> Call:
    """Returns the control call that a gRPC call of `method` is; the caller is the one the connection proves."""
    found = caller(context)
    return control.call(
        found.identity, found.thumbprint, method, deadline=found.deadline, trace_id=found.trace_id
    )


def last_text(request: Any) -> str:
    """Returns the one text in the cursor of a list request; empty for the first page.

    Raises:
        InvalidArgument: the page token holds something else.
    """
    match cursor_of(request):
        case None:
            return ""
        case (str(text),):
            return text
        case _:
            raise InvalidArgument(
                "page_token", "is not a token that this service gave; begin again without one"
            )


def last_number(request: Any) -> int:
    """Returns the one number in the cursor of a list request; 0 for the first page.

    Raises:
        InvalidArgument: the page token holds something else.
    """
    match cursor_of(request):
        case None:
            return 0
        case (int(number),):
            return number
        case _:
            raise InvalidArgument(
                "page_token", "is not a token that this service gave; begin again without one"
            )
