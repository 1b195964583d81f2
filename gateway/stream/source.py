"""The department's side of a stream: one signed grant, one call, and its messages as parts that may be handed on."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import grpc

from gateway.departments import Departments
from gateway.exchange.calls import Calls
from gateway.exchange.evidence import Misbehaved
from gateway.exchange.fetch import call_fault
from gateway.exchange.grant import MAX_TOKEN_CHARACTERS, Passenger
from gateway.exchange.outcome import Failed, Vetoed
from gateway.stream.content import Part, read_first, read_next
from gateway.stream.grant import stream_grant
from gateway.stream.peer import Peer
from gateway.stream.receipt import check_receipt
from gateway.stream.underway import Underway
from gateway.stream.watchdog import Watchdog
from isthmus.pki import Credentials
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, StatementVerifier, sign_document
from isthmus.status import from_rpc_error
from isthmus.v1.department_service_pb2 import StreamRowsRequest, StreamRowsResponse

_MAX_EXPLANATION: Final = 500
_NO_NODE: Final = Failed(Reason.DEPARTMENT_UNAVAILABLE, "the department has no node that this gateway knows")
_UNREACHABLE: Final = Failed(Reason.DEPARTMENT_UNAVAILABLE, "the department could not be reached")
_TOO_LARGE: Final = Failed(
    Reason.INVALID_ARGUMENT, "the filters are too large to be granted; ask for less at once"
)
_REFUSED_TOKEN: Final = Failed(
    Reason.INVALID_ARGUMENT,
    "the department refuses what was asked; a resume token serves only the same fields, filters and encoding under the "
    "same version of the contract",
)


class Source:
    """Streams from departments.

    Args:
        departments: their channels.
        credentials: the gateway's own, which sign the grants.
        verifier: checks the receipts.
        peer: reads which certificate a node presents.
        clock: returns the present time, UTC-aware.
        patience: seconds that a department may take for its next message.
        calls: the traces of calls.
    """

    def __init__(
        self,
        departments: Departments,
        credentials: Credentials,
        verifier: StatementVerifier,
        *,
        peer: Peer,
        clock: Callable[[], datetime],
        patience: float,
        calls: Calls | None = None,
    ) -> None:
        self._departments = departments
        self._credentials = credentials
        self._verifier = verifier
        self._peer = peer
        self._clock = clock
        self._patience = patience
        self._calls = calls or Calls()
        self.watchdog = Watchdog()

    def begin(self, stream: Underway, passenger: Passenger) -> list[Part] | Failed | Vetoed:
        """Asks the department, and returns the parts of its first message, or why there is none."""
        department = passenger.contract.provider
        stub, node = self._departments.stub(department), self._departments.node(department)
        if stub is None or node is None:
            return _NO_NODE
        try:
            stream.node = self._peer(node)
        except (OSError, ValueError):
            return _UNREACHABLE
        now = self._clock()
        stream.grant = stream_grant(passenger, stream.wish, now=now)
        token = sign_document(stream.grant.document, StatementKind.GRANT, self._credentials)
        if len(token) > MAX_TOKEN_CHARACTERS:
            return _TOO_LARGE
        left = max(0.001, (stream.exchange.deadline - now).total_seconds())
        stream.trace, stream.called_ns = self._calls.trace_of(stream.grant), time.time_ns()
        metadata = stream.trace.metadata if stream.trace is not None else None
        stream.attach(stub.StreamRows(StreamRowsRequest(grant=token), timeout=left, metadata=metadata))
        try:
            message = self._next(stream)
            if message is None:
                raise Misbehaved("the department ended the stream before it began")
            parts = read_first(message, passenger, stream.content)
            if message.receipt:
                stream.receipt, stream.last = message.receipt, parts.pop()
            return parts
        except Misbehaved as fault:
            stream.end_call()
            return Failed(Reason.DEPARTMENT_MISBEHAVED, str(fault))
        except grpc.RpcError as error:
            return _refusal(stream, error)

    def rest(self, stream: Underway) -> Iterator[Part]:
        """Yields the parts of the messages in the middle; afterwards the stream holds the last part and the receipt.

        Raises:
            Misbehaved: a message breaks the protocol, or the stream ends without a receipt or goes on after it.
            grpc.RpcError: the call failed.
        """
        while stream.last is None:
            message = self._next(stream)
            if message is None:
                raise Misbehaved("the department ended the stream without a receipt")
            part = read_next(message, stream.content)
            if message.receipt:
                stream.receipt, stream.last = message.receipt, part
            else:
                yield part
        if self._next(stream) is not None:
            raise Misbehaved("the department went on after its receipt")

    def check_receipt(self, stream: Underway, digest: str) -> str:
        """Returns the thumbprint of the certificate that signed for exactly what was streamed: the rows that were handed
        on, in chunks of the SHA-256 `digest`, hex.

        Raises:
            Misbehaved: the receipt is not for this stream.
        """
        if stream.grant is None:
            raise RuntimeError("this stream has no grant yet")
        return check_receipt(
            stream.receipt,
            stream.grant,
            digest=digest,
            rows=stream.rows,
            verifier=self._verifier,
        )

    def left(self, stream: Underway) -> None:
        """Tells the traces that the call to the department, if there was one, is over."""
        if stream.grant is not None and stream.called_ns:
            self._calls.ended(stream.grant, stream.trace, began_ns=stream.called_ns, fault=stream.cause)

    def _next(self, stream: Underway) -> StreamRowsResponse | None:
        with self.watchdog.within(self._patience, lambda: stream.break_off(Reason.DEPARTMENT_TIMEOUT)):
            messages: Any = stream.call
            return next(messages, None)


def _refusal(stream: Underway, error: grpc.RpcError) -> Failed | Vetoed:
    if stream.cause is Reason.DEPARTMENT_TIMEOUT:
        return Failed(Reason.DEPARTMENT_TIMEOUT, "the department did not answer in time")
    told = from_rpc_error(error)
    if told.reason is Reason.PROVIDER_VETO:
        # Bounded: a department's words go to the caller, and a department is not trusted with their length.
        return Vetoed(told.message[:_MAX_EXPLANATION], "")
    if told.code is grpc.StatusCode.INVALID_ARGUMENT and stream.wish.resume_token:
        return _REFUSED_TOKEN
    if told.reason is Reason.UNIMPLEMENTED:
        return Failed(Reason.UNIMPLEMENTED, "the department's node serves no such stream")
    return Failed(*call_fault(error))
