"""Asking a department about a batch: a grant for each part, some of them under way while the answers to others are
checked, so that gateway and department work at the same time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import grpc

from gateway.batch.part import Answered, Found, Part, part_exchange, part_grant, part_size
from gateway.batch.people import Person
from gateway.batch.receipt import check_part
from gateway.departments import Departments
from gateway.exchange.calls import Calls
from gateway.exchange.fetch import call_fault
from gateway.exchange.grant import Grant, Passenger
from gateway.exchange.outcome import Failed, Vetoed
from isthmus.pki import Credentials
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, StatementVerifier, sign_document
from isthmus.traceparent import TraceParent
from isthmus.v1.common_pb2 import Column
from isthmus.v1.department_service_pb2 import FetchRequest

_UNDER_WAY: Final = 3
_MOST_SPLITS: Final = 32
_NO_NODE: Final = "the department has no node that this gateway knows"
_LEFT: Final = "the caller has gone"
_MOST_BYTES: Final = 3 << 20
_TOO_LARGE: Final = "the rows of one subject are more than a message holds"
_OTHER_COLUMNS: Final = "the columns are not the same for all subjects"


@dataclass(slots=True)
class Gathered:
    """What a department said about the subjects of a batch, by their numbers: of each either `found` or `lost`."""

    columns: tuple[Column, ...] = ()
    found: dict[int, Found] = field(default_factory=dict)
    lost: dict[int, Failed | Vetoed] = field(default_factory=dict)
    receipts: list[str] = field(default_factory=list)
    nodes: dict[str, list[int]] = field(default_factory=dict)
    """The persons answered about by each node, by the thumbprint of its certificate."""


@dataclass(frozen=True, slots=True)
class _Call:
    part: Part
    grant: Grant
    future: Any
    trace: TraceParent | None
    began_ns: int


class BatchFetch:
    """Asks departments.

    Args:
        departments: their channels.
        credentials: the gateway's own, which sign the grants.
        verifier: checks the receipts.
        clock: returns the present time, UTC-aware.
        timeout: at most so many seconds for one call.
        calls: the traces of calls.
    """

    def __init__(
        self,
        departments: Departments,
        credentials: Credentials,
        verifier: StatementVerifier,
        *,
        clock: Callable[[], datetime],
        timeout: float,
        calls: Calls | None = None,
    ) -> None:
        self._departments = departments
        self._credentials = credentials
        self._verifier = verifier
        self._clock = clock
        self._timeout = timeout
        self._calls = calls or Calls()

    def asking(self, passenger: Passenger) -> "Asking":
        """Returns what will ask the department of an admitted batch."""
        return Asking(self, passenger)

    def call(self, passenger: Passenger, part: Part) -> _Call | None:
        """Begins to ask about a part; None when the department has no node."""
        stub = self._departments.stub(passenger.contract.provider)
        if stub is None:
            return None
        now = self._clock()
        grant = part_grant(passenger, part, now=now)
        request = FetchRequest(grant=sign_document(grant.document, StatementKind.GRANT, self._credentials))
        left = (passenger.exchange.deadline - now).total_seconds()
        timeout, trace = min(self._timeout, max(0.001, left)), self._calls.trace_of(grant)
        began = time.time_ns()
        metadata = trace.metadata if trace is not None else None
        future = stub.Fetch.future(request, timeout=timeout, metadata=metadata)
        return _Call(part, grant, future, trace, began)

    def receive(self, call: _Call) -> Answered | Vetoed | Failed:
        """Returns what came of a part; raises nothing for anything a department does."""
        try:
            response = call.future.result()
            self._calls.ended(call.grant, call.trace, began_ns=call.began_ns)
        except grpc.RpcError as error:
            fault = Failed(*call_fault(error))
            self._calls.ended(call.grant, call.trace, began_ns=call.began_ns, fault=fault.reason)
            return fault
        except (grpc.FutureCancelledError, grpc.FutureTimeoutError):
            return Failed(Reason.CANCELLED, _LEFT)
        return check_part(response, call.part, call.grant, self._verifier)

    def gone(self, passenger: Passenger) -> bool:
        """Whether nobody waits for the batch any more."""
        return passenger.exchange.gone(self._clock()) is not None


class Asking:
    """One batch on its way to its department and back; `cancel` may be called from another thread."""

    def __init__(self, fetch: BatchFetch, passenger: Passenger) -> None:
        self._fetch = fetch
        self._passenger = passenger
        self._coming: Iterator[Sequence[int]] = iter(())
        self._waiting: deque[Sequence[int]] = deque()
        self._calls: deque[_Call] = deque()
        self._lock = threading.Lock()
        self._cancelled = False
        self._parts = 0
        self._splits = 0
        self._vetoes = 0
        self._gathered = Gathered()

    def gather(self, persons: Sequence[Person], admitted: Iterable[Sequence[int]]) -> Gathered:
        """Returns what the department said about persons.

        Args:
            persons: of the batch.
            admitted: the numbers of those it is asked about, as they are admitted. It is read to its end, a part at a
                time, while the department works on what came before.
        """
        self._coming = divided(persons, admitted, size=part_size(len(persons)))
        while self._begin(persons):
            call = self._calls[0]
            self._take(call, self._fetch.receive(call))
            with self._lock:
                self._calls.popleft()
        return self._gathered

    def cancel(self) -> None:
        """Gives up: calls under way are cancelled, and no further ones are made."""
        with self._lock:
            self._cancelled = True
            for each in self._calls:
                each.future.cancel()

    def _begin(self, persons: Sequence[Person]) -> bool:
        """Sends as many parts as may be under way; returns whether any is."""
        while len(self._calls) < _UNDER_WAY and (numbers := self._next()) is not None:
            if self._cancelled or self._fetch.gone(self._passenger):
                self._lose(numbers, Failed(Reason.CANCELLED, _LEFT))
                continue
            exchange = part_exchange(self._passenger.exchange.name, self._parts)
            self._parts += 1
            call = self._fetch.call(
                self._passenger, Part(exchange, numbers, [persons[number] for number in numbers])
            )
            if call is None:
                self._lose(numbers, Failed(Reason.DEPARTMENT_UNAVAILABLE, _NO_NODE))
                continue
            with self._lock:
                self._calls.append(call)
                if self._cancelled:
                    call.future.cancel()
        return bool(self._calls)

    def _next(self) -> Sequence[int] | None:
        return self._waiting.popleft() if self._waiting else next(self._coming, None)

    def _take(self, call: _Call, came: Answered | Vetoed | Failed) -> None:
        gathered, numbers = self._gathered, call.part.numbers
        if isinstance(came, Answered):
            gathered.columns = gathered.columns or came.columns
            if came.columns != gathered.columns:
                came = Failed(Reason.DEPARTMENT_MISBEHAVED, _OTHER_COLUMNS)
        if isinstance(came, Answered):
            gathered.found.update(zip(numbers, came.found, strict=True))
            for number in [each for each in numbers if gathered.found[each].size > _MOST_BYTES]:
                del gathered.found[number]
                gathered.lost[number] = Failed(Reason.OVERLOADED, _TOO_LARGE)
            gathered.receipts.append(came.receipt)
            gathered.nodes.setdefault(came.node, []).extend(numbers)
        elif self._worth_splitting(came, numbers):
            self._splits += 1
            middle = len(numbers) // 2
            self._waiting.extendleft((numbers[middle:], numbers[:middle]))
        else:
            self._lose(numbers, came)

    def _worth_splitting(self, came: Vetoed | Failed, numbers: Sequence[int]) -> bool:
        """Whether one subject may be all that is wrong, or how many there are: a node refuses an item whole."""
        if isinstance(came, Vetoed):
            # Where the veto is not about a subject, both halves are vetoed too: then no more is asked.
            self._vetoes += 1
            likely = self._vetoes <= len(self._gathered.receipts) + 2
        else:
            likely = came.reason in _SPLIT
        return likely and len(numbers) > 1 and self._splits < _MOST_SPLITS

    def _lose(self, numbers: Sequence[int], why: Failed | Vetoed) -> None:
        self._gathered.lost.update(dict.fromkeys(numbers, why))


_SPLIT: Final = frozenset({Reason.OVERLOADED, Reason.GRANT_INVALID, Reason.INVALID_ARGUMENT, Reason.INTERNAL})
"""What a node may say of a whole item because of one subject, or of how many there are."""


def divided(
    persons: Sequence[Person], admitted: Iterable[Sequence[int]], *, size: int
) -> Iterator[Sequence[int]]:
    """The numbers in parts of at most `size`, each of one scheme; a few are kept back until more of them are admitted."""
    waiting: dict[str, list[int]] = {}
    for numbers in admitted:
        for number in numbers:
            waiting.setdefault(persons[number].scheme, []).append(number)
        for scheme, same in waiting.items():
            while 2 * len(same) >= size:
                yield same[:size]
                waiting[scheme] = same = same[size:]
    yield from filter(None, waiting.values())
