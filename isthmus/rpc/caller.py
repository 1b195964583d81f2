"""Who is calling, as the connection proves it; nothing a caller writes about itself is believed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import grpc

from isthmus.identity import Identity
from isthmus.traceparent import TraceParent

# gRPC makes one context object for each call and drops it with the call, so the caller lives as long as both.
_ATTRIBUTE: Final = "_isthmus_caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """The party behind one call.

    `thumbprint` is the SHA-256 of its certificate in lower-case hexadecimal. `deadline` (UTC) is when it stops
    waiting; None only for a response stream to a caller that set none. `trace` is the W3C trace that it says the
    call belongs to: fit for finding what belongs together, and for nothing else.
    """

    identity: Identity
    thumbprint: str
    deadline: datetime | None
    trace: TraceParent | None
    context: grpc.ServicerContext

    @property
    def trace_id(self) -> str:
        """The id of its trace; empty when it sent none that could be read."""
        return self.trace.trace_id if self.trace is not None else ""


def caller(context: grpc.ServicerContext) -> Caller:
    """Returns the caller of the call that `context` belongs to.

    Raises:
        RuntimeError: the method is not served by `build_server`, so nobody has identified the caller.
    """
    found = known_caller(context)
    if found is None:
        raise RuntimeError("this call did not pass the guard, so its caller is not known")
    return found


def known_caller(context: grpc.ServicerContext) -> Caller | None:
    """As `caller`; None while the caller is not known."""
    found: Caller | None = getattr(context, _ATTRIBUTE, None)
    return found


def remember_caller(context: grpc.ServicerContext, found: Caller) -> None:
    """Keeps `found` for `caller(context)`; the guard calls it once a call."""
    setattr(context, _ATTRIBUTE, found)
