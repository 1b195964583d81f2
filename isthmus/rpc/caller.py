"""Who is calling, as the connection proves it; nothing a caller writes about itself is believed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import grpc

from isthmus.identity import Identity

# gRPC makes one context object for each call and drops it with the call, so the caller lives as long as both.
_ATTRIBUTE: Final = "_isthmus_caller"

# W3C Trace Context section 3.2.2: a version other than ff, and ids that are not all zeros.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,256})?"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The party behind one call.

    `thumbprint` is the SHA-256 of its certificate in lower-case hexadecimal. `deadline` (UTC) is when it stops
    waiting; None only for a response stream to a caller that set none. `trace_id` is the W3C trace id it sent, or
    empty: fit for finding related log lines, and for nothing else.
    """

    identity: Identity
    thumbprint: str
    deadline: datetime | None
    trace_id: str
    context: grpc.ServicerContext


def caller(context: grpc.ServicerContext) -> Caller:
    """Returns the caller of the call that `context` belongs to.

    Raises:
        RuntimeError: the method is not served by `build_server`, so nobody has identified the caller.
    """
    found: Caller | None = getattr(context, _ATTRIBUTE, None)
    if found is None:
        raise RuntimeError("this call did not pass the guard, so its caller is not known")
    return found


def remember_caller(context: grpc.ServicerContext, found: Caller) -> None:
    """Keeps `found` for `caller(context)`; the guard calls it once a call."""
    setattr(context, _ATTRIBUTE, found)


def trace_id_of(metadata: Iterable[Any]) -> str:
    """Returns the trace id of a W3C `traceparent` among a call's metadata; empty when absent or malformed."""
    values = [value for key, value in metadata if key == "traceparent"]
    # More than one is malformed: nobody can say which is meant.
    if len(values) != 1 or not isinstance(values[0], str):
        return ""
    match = _TRACEPARENT.fullmatch(values[0])
    return match[1] if match else ""
