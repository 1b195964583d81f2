"""Asking a department: one signed grant and one call for each consumer department aboard.

A receipt names every exchange of its grant, and each consumer is handed the receipt of its own: so one grant never
holds the exchanges of two consumers.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import grpc

from gateway.departments import Departments
from gateway.exchange.calls import Calls
from gateway.exchange.grant import MAX_TOKEN_CHARACTERS, Grant, Passenger, make_grant
from gateway.exchange.outcome import Failed, Outcome
from gateway.exchange.receipt import check_response
from isthmus.pki import Credentials
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, StatementVerifier, sign_document
from isthmus.status import from_rpc_error
from isthmus.traceparent import TraceParent
from isthmus.v1.department_service_pb2 import FetchRequest, FetchResponse

_BELIEVED: Final = frozenset(
    {Reason.GRANT_INVALID, Reason.DEPARTMENT_UNAVAILABLE, Reason.DEPARTMENT_TIMEOUT, Reason.OVERLOADED}
)
_BY_CODE: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (Reason.DEPARTMENT_TIMEOUT, "the department did not answer in time"),
    grpc.StatusCode.UNAVAILABLE: (Reason.DEPARTMENT_UNAVAILABLE, "the department could not be reached"),
}
_REFUSED: Final = "the department's node could not serve the grant"
_WORDS: Final = {code: words for code, (_, words) in _BY_CODE.items()} | {
    grpc.StatusCode.PERMISSION_DENIED: "the department's node does not accept the grant",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "the department's node is busy",
}

Fetched = list[tuple[Passenger, Outcome]]
_Call = Callable[[], Fetched]


class Fetch:
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

    def fetch(self, passengers: Iterable[Passenger]) -> Fetched:
        """Returns what came of each exchange, in any order. Raises nothing for anything a department does."""
        groups: dict[tuple[str, str], list[Passenger]] = {}
        for each in passengers:
            groups.setdefault((each.contract.provider, each.contract.consumer), []).append(each)
        # All but the first are under way while this thread itself makes the first call: that costs no hand-over.
        calls = [
            self._call(department, group, ahead=number > 0)
            for number, ((department, _), group) in enumerate(groups.items())
        ]
        return [pair for call in calls for pair in call()]

    def _call(self, department: str, group: Sequence[Passenger], *, ahead: bool = False) -> _Call:
        stub = self._departments.stub(department)
        if stub is None:
            words = "the department has no node that this gateway knows"
            return lambda: _all(group, Failed(Reason.DEPARTMENT_UNAVAILABLE, words))
        grant = make_grant(department, group, now=self._clock())
        token = sign_document(grant.document, StatementKind.GRANT, self._credentials)
        if len(token) > MAX_TOKEN_CHARACTERS and len(group) > 1:
            return lambda: self._halves(department, group)
        request, timeout = FetchRequest(grant=token), self._patience(group)
        trace = self._calls.trace_of(grant)
        metadata = trace.metadata if trace is not None else None
        if ahead:
            future = stub.Fetch.future(request, timeout=timeout, metadata=metadata)
            return lambda: self._receive(future.result, grant, trace)
        return lambda: self._receive(
            lambda: stub.Fetch(request, timeout=timeout, metadata=metadata), grant, trace
        )

    def _halves(self, department: str, group: Sequence[Passenger]) -> Fetched:
        middle = len(group) // 2
        return self._call(department, group[:middle])() + self._call(department, group[middle:])()

    def _patience(self, group: Sequence[Passenger]) -> float:
        """Seconds for one call: until the last caller aboard has gone, and never longer than is configured.

        Not the first caller's: one who is impatient would end the exchanges of all others.
        """
        last = max(each.exchange.deadline for each in group)
        return min(self._timeout, max(0.001, (last - self._clock()).total_seconds()))

    def _receive(self, wait: Callable[[], FetchResponse], grant: Grant, trace: TraceParent | None) -> Fetched:
        began = time.time_ns()
        try:
            response = wait()
            self._calls.ended(grant, trace, began_ns=began)
        except grpc.RpcError as error:
            reason, words = call_fault(error)
            self._calls.ended(grant, trace, began_ns=began, fault=reason)
            if reason is Reason.GRANT_INVALID and len(grant.passengers) > 1:
                # A node refuses a grant whole, before it answers any of it: find the item that spoils it.
                return self._halves(grant.department, grant.passengers)
            return _all(grant.passengers, Failed(reason, words))
        except (grpc.FutureCancelledError, grpc.FutureTimeoutError):
            return _all(grant.passengers, Failed(*_BY_CODE[grpc.StatusCode.UNAVAILABLE]))
        return list(zip(grant.passengers, check_response(response, grant, self._verifier), strict=True))


def _all(passengers: Sequence[Passenger], outcome: Outcome) -> Fetched:
    return [(each, outcome) for each in passengers]


def call_fault(error: grpc.RpcError) -> tuple[Reason, str]:
    """What a failed call means. Of a node's own reasons only those are believed that are about itself."""
    code = error.code()
    reason = from_rpc_error(error).reason
    if reason in _BELIEVED and code in _WORDS:
        return reason, _WORDS[code]
    return _BY_CODE.get(code, (Reason.DEPARTMENT_UNAVAILABLE, _REFUSED))
