"""The trace that a client's calls belong to: the one given by hand, or OpenTelemetry's where the program uses it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from isthmus.errors import InvalidArgument
from isthmus.traceparent import KEY, parse

_GIVEN: Final[ContextVar[str]] = ContextVar("isthmus_traceparent", default="")


@contextmanager
def traced(traceparent: str) -> Iterator[None]:
    """Lets the calls made inside belong to a trace; streams and batches are calls from when they are first read.

    Args:
        traceparent: as W3C Trace Context writes it, `00-{trace id}-{span id}-{flags}`.

    Raises:
        InvalidArgument: it is malformed.
    """
    if parse(traceparent) is None:
        raise InvalidArgument(
            "traceparent", "is not of the form 00-{32 hex}-{16 hex}-{2 hex} of W3C Trace Context"
        )
    token = _GIVEN.set(traceparent)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def trace_metadata() -> tuple[tuple[str, str], ...] | None:
    """What a call says of its trace; None when there is none. Imports nothing: a program without OpenTelemetry has none."""
    traceparent = _GIVEN.get() or _current()
    return ((KEY, traceparent),) if traceparent else None


def _current() -> str:
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return ""
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
