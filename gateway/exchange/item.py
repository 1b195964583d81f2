"""One exchange under way: what was asked, who waits for it, and how it ended."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from isthmus.errors import Cancelled, DeadlineExceeded, IsthmusError
from isthmus.reasons import Reason
from isthmus.v1.common_pb2 import Receipt, RowSet
from isthmus.v1.exchange_service_pb2 import Verdict

# A client whose deadline ends cancels the call, and that may arrive before the gateway's own clock says so.
_DEADLINE_SLACK: Final = timedelta(milliseconds=250)


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
        emergency: why this is an emergency; empty when it is none.
        request: the request, serialised deterministically; only a salted commitment to it is recorded.
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
    trace_id: str = ""


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
        "_error",
        "_gone",
        "_left",
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
        self._left = threading.Event()
        self._answer: Answer | None = None
        self._error: IsthmusError | None = None
        self._gone: Reason | None = None

    def leave(self, now: datetime) -> None:
        """Notes that the caller has gone; does nothing once the exchange has ended."""
        if not self._left.is_set():
            late = now >= self.deadline - _DEADLINE_SLACK
            self._gone = Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED
            self._left.set()

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
        self._left.set()

    def fail(self, error: IsthmusError) -> None:
        """Ends the exchange with an error."""
        error.exchange = self.name
        self._error = error
        self._left.set()

    def wait(self, seconds: float) -> Answer:
        """Returns the answer once there is one.

        Args:
            seconds: how long the caller waits.

        Raises:
            IsthmusError: the exchange was refused or failed, or the caller has gone.
        """
        self._left.wait(seconds)
        if self._answer is not None:
            return self._answer
        raise self._error or self._absent()

    def _absent(self) -> IsthmusError:
        if self._gone is Reason.CANCELLED:
            return Cancelled(Reason.CANCELLED, "the caller gave up", exchange=self.name)
        return DeadlineExceeded(
            Reason.DEADLINE_EXCEEDED,
            "the deadline ended before the exchange did; whatever its record says, nothing was delivered",
            exchange=self.name,
        )
