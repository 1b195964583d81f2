"""One exchange under way: what was asked, who waits for it, and how it ended."""

import re
import threading
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from isthmus.errors import Cancelled, DeadlineExceeded, InvalidArgument, IsthmusError
from isthmus.reasons import Reason
from isthmus.traceparent import TraceParent
from isthmus.v1.common_pb2 import Receipt, RowSet
from isthmus.v1.exchange_service_pb2 import Verdict

# A client whose deadline ends cancels the call, and that may arrive before the gateway's own clock says so.
_DEADLINE_SLACK: Final = timedelta(milliseconds=250)
_TELLING: Final = 6
"""From so many characters on, an identifier is one within other text too."""


class Mode(StrEnum):
    """The modes of isthmus.v1.Mode, by name."""

    QUERY = "QUERY"
    VERIFY = "VERIFY"
    BATCH = "BATCH"
    STREAM = "STREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller asks, and who it is as its certificate says.

    Attributes:
        caller: its SPIFFE ID.
        certificate: the thumbprint of its certificate.
        system: `departments/{department}/systems/{system}`.
        consumer: `departments/{department}`.
        contract: `contracts/{contract}`.
        fields: the field names, in the order asked for.
        identifier: of the subject, as sent. Never written anywhere.
        predicate: of a VERIFY, as JSON.
        compared: of a STREAM, the fields that its filters look at.
        resumed: whether a STREAM goes on after another.
        emergency: why this is an emergency; empty when it is none.
        trace: the trace that the caller says it belongs to; None too where it holds the subject's identifier, since it is
            recorded and passed on.
        request: the request, serialised deterministically; only a salted commitment to it is recorded.
        wanted: every field that the contract must hold: `fields` and `compared`.
        memory: what was computed from the question alone, for the next time that it is needed; it goes with it.

    Raises:
        InvalidArgument: a text that is recorded as the caller wrote it holds the subject's identifier.
    """

    caller: str
    certificate: str
    system: str
    consumer: str
    mode: Mode
    contract: str
    purpose: str
    case_reference: str
    fields: tuple[str, ...]
    scheme: str
    identifier: str
    predicate: dict[str, Any] | None
    request: bytes
    emergency: str = ""
    trace: TraceParent | None = None
    compared: tuple[str, ...] = ()
    resumed: bool = False
    wanted: frozenset[str] = field(init=False, repr=False, compare=False)
    memory: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", frozenset((*self.fields, *self.compared)))
        for name in ("case_reference", "emergency"):
            if self.named_in(getattr(self, name)):
                raise InvalidArgument(
                    f"context.{name}",
                    "holds the identifier of the subject, and is kept in the log for good; give text that names nobody",
                )

        if self.trace is not None and any(map(self.named_in, (self.trace.trace_id, self.trace.span_id))):
            object.__setattr__(self, "trace", None)

    @property
    def trace_id(self) -> str:
        """The id of the caller's trace; empty when there is none."""
        return self.trace.trace_id if self.trace is not None else ""

    def named_in(self, text: str) -> bool:
        """Whether a text holds the subject's identifier, however either is written.

        Signs and case are disregarded, as by the normalisers of identifiers. A short identifier must be all of the text:
        the year in a case number is nobody's.
        """
        if not text:
            return False
        plain, wanted = plain_text(text), plain_text(self.identifier)
        digits = re.sub(r"[^0-9]", "", wanted)
        return bool(wanted) and (plain == wanted or telling(plain, (wanted, digits)))


def telling(plain: str, identifiers: Iterable[str]) -> bool:
    """Whether a plain text holds one of some plain identifiers that are long enough to be nobody else's."""
    return any(len(each) >= _TELLING and each in plain for each in identifiers)


def plain_text(text: str) -> str:
    """A text without its signs and cases."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).casefold()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is released: the provider's rows or verdict, and the evidence."""

    subject_known: bool
    row_set: RowSet | None
    verdict: Verdict.ValueType
    receipt: Receipt


class Exchange:
    """One exchange on its way. The pipeline decides how it ends; the caller may leave before that.

    Args:
        name: `exchanges/{uuid}`.
        asked: what is asked.
        received: when it came in, UTC.
        deadline: when its caller stops waiting, UTC.
    """

    __slots__ = (
        "_answer",
        "_end",
        "_error",
        "_gone",
        "asked",
        "deadline",
        "name",
        "received",
        "stages",
        "transfers",
    )

    def __init__(self, name: str, asked: Asked, *, received: datetime, deadline: datetime) -> None:
        self.name: Final = name
        self.asked: Final = asked
        self.received: Final = received
        self.deadline: Final = deadline
        self.stages: dict[str, datetime] = {"in": received}
        self.transfers = 0
        # A lock that nobody holds twice: whoever waits takes it, and the end gives it up. An Event is several times
        # dearer, and there is one an exchange.
        self._end = threading.Lock()
        self._end.acquire()
        self._answer: Answer | None = None
        self._error: IsthmusError | None = None
        self._gone: Reason | None = None

    def leave(self, now: datetime) -> None:
        """Notes that the caller has gone; does nothing once the exchange has ended."""
        if self._gone is None and not self.ended:
            late = now >= self.deadline - _DEADLINE_SLACK
            self._gone = Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED
            self._arrive()

    def gone(self, now: datetime) -> Reason | None:
        """Why nobody waits for this exchange any more: CANCELLED or DEADLINE_EXCEEDED; None while somebody does."""
        if self._gone is None and now >= self.deadline:
            return Reason.DEADLINE_EXCEEDED
        return self._gone

    @property
    def ended(self) -> bool:
        """Whether it has an answer or an error."""
        return self._answer is not None or self._error is not None

    def answer(self, answer: Answer) -> None:
        """Ends the exchange with an answer. MUST come after its record is durable."""
        self._answer = answer
        self._arrive()

    def fail(self, error: IsthmusError) -> None:
        """Ends the exchange with an error."""
        error.exchange = self.name
        self._error = error
        self._arrive()

    def wait(self, seconds: float) -> Answer:
        """Returns the answer once there is one.

        Args:
            seconds: how long the caller waits.

        Raises:
            IsthmusError: the exchange was refused or failed, or the caller has gone.
        """
        self._end.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        if self._answer is not None:
            return self._answer
        raise self._error or self._absent()

    def _arrive(self) -> None:
        # The caller may leave at the very moment that the exchange ends: then the lock is free already.
        with suppress(RuntimeError):
            self._end.release()

    def _absent(self) -> IsthmusError:
        if self._gone is Reason.CANCELLED:
            return Cancelled(Reason.CANCELLED, "the caller gave up", exchange=self.name)
        return DeadlineExceeded(
            Reason.DEADLINE_EXCEEDED,
            "the deadline ended before the exchange did; whatever its record says, nothing was delivered",
            exchange=self.name,
        )
