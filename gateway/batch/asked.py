"""What a batch asks: what all of it has in common, and about whom."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.exchange.item import Asked, Mode, plain_text, telling
from gateway.exchange.questions import asked_of
from isthmus.errors import InvalidArgument
from isthmus.rpc import Caller
from isthmus.v1.exchange_service_pb2 import BatchQueryRequest

_NAMED: Final = (
    "holds the identifier of a subject, and is kept in the log for good; give text that names nobody"
)

Sent = tuple[str, str]
"""A subject as it was sent: scheme and identifier."""


@dataclass(frozen=True, slots=True)
class BatchAsked:
    """A batch: `asked` is what it has in common, and names nobody; `subjects` are in the order of the request."""

    asked: Asked
    subjects: tuple[Sent, ...]

    def named_in(self, text: str) -> bool:
        """Whether a text holds the identifier of any subject; as `Asked.named_in`."""
        return bool(text) and any_named_in(text, self.subjects)


def of_batch(request: BatchQueryRequest, caller: Caller) -> BatchAsked:
    """Returns what a BatchQuery asks.

    Raises:
        InvalidArgument: the context is malformed, or a text that is recorded as the caller wrote it names a subject.
    """
    asked = asked_of(request, request.context, caller, mode=Mode.BATCH, fields=request.fields, at="")
    batch = BatchAsked(asked, tuple((each.scheme, each.id) for each in request.subjects))
    for name in ("case_reference", "emergency"):
        if batch.named_in(getattr(asked, name)):
            raise InvalidArgument(f"context.{name}", _NAMED)
    trace = asked.trace
    if trace is not None and any(map(batch.named_in, (trace.trace_id, trace.span_id))):
        return replace(batch, asked=replace(asked, trace=None))
    return batch


def any_named_in(text: str, subjects: Sequence[Sent]) -> bool:
    """Whether a text holds an identifier, by the rule of `Asked.named_in`; the text is read once."""
    plain = plain_text(text)
    return any(_within(plain, identifier) for _, identifier in subjects)


def _within(plain: str, identifier: str) -> bool:
    # Most identifiers are letters and digits already; the rest take the long way.
    ready = identifier.isascii() and identifier.isalnum()
    wanted = identifier.lower() if ready else plain_text(identifier)
    if not wanted:
        return False
    digits = wanted if wanted.isdigit() and wanted.isascii() else re.sub(r"[^0-9]", "", wanted)
    return plain == wanted or telling(plain, (wanted, digits))
