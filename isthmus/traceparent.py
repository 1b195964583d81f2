"""The `traceparent` header of W3C Trace Context (https://www.w3.org/TR/trace-context/): read strictly, written exactly.

It says which calls of several systems belong together, and nothing else: a caller may write what it likes into it, so
nothing is decided by it. `tracestate` is neither read nor passed on: it is free text, and could say something about a
person to whoever gets it next.

A trace that Isthmus begins itself bears the id of what it is about: a UUIDv7 is a trace id too, random in its last seven
bytes as Trace Context asks. So nobody has to remember it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

KEY: Final = "traceparent"
MAX_CHARACTERS: Final = 512
"""Longer than any known version; a later one that is longer still is ignored."""

# Sections 3.2.2 and 4.3: version 00 is exactly this long, a later one may go on after another dash, ff is invalid, and ids
# are not all zeros.
_FORM: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The trace that a call belongs to, the span that made the call, and whether its caller keeps the trace.

    `trace_id` are 32 and `span_id` 16 hexadecimal digits in lower case.
    """

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call is sent with."""
        return ((KEY, str(self)),)


def parse(text: str) -> TraceParent | None:
    """Returns what a `traceparent` says; None when it is malformed."""
    match = _FORM.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if match is None or (match[5] and match[1] == "00"):
        return None
    return TraceParent(match[2], match[3], bool(int(match[4], 16) & _SAMPLED))


def trace_of(metadata: Iterable[Any]) -> TraceParent | None:
    """Returns the trace that a call's metadata name; None when they name none, several, or one in a wrong form."""
    found = [value for key, value in metadata if key == KEY]
    # More than one is malformed: nobody can say which is meant.
    if len(found) != 1 or not isinstance(found[0], str):
        return None
    return parse(found[0])


def own_trace_id(id: str) -> str:
    """The id of the trace that begins with what a UUID names, such as an exchange or a grant.

    Args:
        id: a UUID, alone or as the last part of a name such as `exchanges/{uuid}`.
    """
    return id[-36:].replace("-", "")


def own_span_id(id: str) -> str:
    """The id of the span of what a UUID names: its last eight bytes. `id` as for `own_trace_id`."""
    return id[-17:].replace("-", "")
