"""What happens around every method: identify, authorise, validate, handle, and answer for whatever goes wrong.

The order is AIP-211's: whoever may not call a method learns nothing about what a good request would be. Methods
are wrapped once, when their service is registered, so a call costs no more than the steps themselves.
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from isthmus.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    IsthmusError,
    Reason,
    Unauthenticated,
    Unimplemented,
)
from isthmus.identity import Identity, IdentityError, PeerResolver
from isthmus.rpc.caller import Caller, known_caller, remember_caller
from isthmus.rpc.metrics import MethodMetrics
from isthmus.rpc.validation import RequestValidator
from isthmus.status import to_status
from isthmus.traceparent import trace_of
from isthmus.tracing import Span, SpanKind, Spans, new_span_id, new_trace_id

Authoriser = Callable[[Identity, str], None]
"""Returns when an identity may call a method (`/isthmus.v1.ExchangeService/Query`); raises PermissionDenied."""

_Handle = Callable[[Any, grpc.ServicerContext], Any]

_MAX_FRAMES: Final = 20

# gRPC shows "no deadline" as an infinite time; whatever is longer than a year is no deadline either.
_NO_DEADLINE_S: Final = 365 * 86400.0


class Undecodable:
    """Stands for a request whose bytes are no message of its type, until its caller is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The steps before a handler.

    `default_deadline` is how long a unary call may take when its caller set no deadline. `spans` takes a span of every
    call; None where services tell better themselves what they did, or nobody wants to know.
    """

    peers: PeerResolver
    authorise: Authoriser
    validator: RequestValidator
    clock: Callable[[], datetime]
    default_deadline: timedelta
    log: structlog.typing.FilteringBoundLogger
    spans: Spans | None = None

    def admit(self, request: object, context: grpc.ServicerContext, method: str, *, stream: bool) -> None:
        """Returns when the handler may see the request; `caller(context)` works from then on.

        Raises:
            IsthmusError: the caller is nobody, may not call `method`, gave up already, or sent a bad request.
        """
        identity = self._identify(context, stream=stream)
        self.authorise(identity, method)
        if not isinstance(request, Message):
            raise InvalidArgument("request", f"is not the message that {method} takes")
        self.validator.check(request)

    def _identify(self, context: grpc.ServicerContext, *, stream: bool) -> Identity:
        try:
            peer = self.peers.resolve(context.auth_context())
        except IdentityError as error:
            raise Unauthenticated(str(error)) from None
        deadline = self._deadline(context, stream=stream)
        trace = trace_of(context.invocation_metadata())
        remember_caller(context, Caller(peer.identity, peer.thumbprint, deadline, trace, context))
        return peer.identity

    def _deadline(self, context: grpc.ServicerContext, *, stream: bool) -> datetime | None:
        # A call may have waited for a worker until nobody waits for it; its work would be for nothing.
        if not context.is_active():
            raise Cancelled(Reason.CANCELLED, "the caller gave up before the call began; nothing was done")
        remaining = context.time_remaining()
        if remaining is None or remaining > _NO_DEADLINE_S:
            return None if stream else self.clock() + self.default_deadline
        if remaining <= 0:
            raise DeadlineExceeded(
                Reason.DEADLINE_EXCEEDED, "the deadline ended before the call began; nothing was done"
            )
        return self.clock() + timedelta(seconds=remaining)

    def error_of(self, fault: BaseException, method: str) -> IsthmusError:
        """Returns what the caller is told about `fault`; anything unforeseen is logged under an id and opaque."""
        if isinstance(fault, IsthmusError):
            return fault
        error = Internal()
        error.metadata["fault"] = str(uuid.uuid4())
        # Frames without the message: an exception's text may quote a row or an identifier.
        frames = traceback.extract_tb(fault.__traceback__)[-_MAX_FRAMES:]
        self.log.error(
            "unforeseen fault",
            fault=error.metadata["fault"],
            method=method,
            exception=type(fault).__qualname__,
            frames=[f"{each.filename}:{each.lineno} {each.name}" for each in frames],
        )
        return error

    def ended(
        self, method: str, context: grpc.ServicerContext, code: grpc.StatusCode, *, seconds: float
    ) -> None:
        """Tells `spans` that a call has ended with `code`, after so many seconds."""
        if self.spans is None or (who := known_caller(context)) is None:
            return
        trace_id = who.trace_id or new_trace_id()
        if not self.spans.wanted(trace_id, who.trace):
            return
        now = time.time_ns()
        self.spans.emit(
            Span(
                name=method.removeprefix("/"),
                trace_id=trace_id,
                span_id=new_span_id(),
                parent_id=who.trace.span_id if who.trace is not None else "",
                started_ns=now - int(seconds * 1e9),
                ended_ns=now,
                kind=SpanKind.SERVER,
                attributes={"rpc.system": "grpc", "isthmus.caller": who.identity.resource},
                error="" if code is grpc.StatusCode.OK else code.name,
            )
        )


def guarded(
    handler: grpc.RpcMethodHandler[Any, Any], *, method: str, guard: Guard, metrics: MethodMetrics
) -> grpc.RpcMethodHandler[Any, Any]:
    """Returns `handler` behind the guard. Unary requests only; a response may be one or a stream.

    Raises:
        TypeError: the method takes a stream of requests, which no service of Isthmus does.
    """
    options = {
        "request_deserializer": _tolerant(handler.request_deserializer),
        "response_serializer": handler.response_serializer,
    }
    if handler.unary_unary is not None:
        call = _Unary(_written(handler.unary_unary, method), method, guard, metrics)
        return grpc.unary_unary_rpc_method_handler(call, **options)
    if handler.unary_stream is not None:
        streaming = _Streaming(_written(handler.unary_stream, method), method, guard, metrics)
        return grpc.unary_stream_rpc_method_handler(streaming, **options)
    raise TypeError(f"{method} takes a stream of requests, which the guard cannot check")


def _written(handle: _Handle, method: str) -> _Handle:
    """Stands in for a method that a servicer inherits from its generated base, which is not served yet."""
    if not getattr(handle, "__module__", "").endswith("_pb2_grpc"):
        return handle

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        raise Unimplemented(method.removeprefix("/"))

    return refuse


def _tolerant(deserialise: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Defers the complaint about undecodable bytes: gRPC would answer it as an internal error, before identifying."""

    def read(data: bytes) -> Any:
        try:
            return data if deserialise is None else deserialise(data)
        except DecodeError:
            return Undecodable()

    return read


@dataclass(frozen=True, slots=True)
class _Unary:
    handle: _Handle
    method: str
    guard: Guard
    metrics: MethodMetrics

    def __call__(self, request: object, context: grpc.ServicerContext) -> Any:
        self.metrics.begin()
        started = time.perf_counter()
        try:
            self.guard.admit(request, context, self.method, stream=False)
            response = self.handle(request, context)
        except Exception as fault:  # noqa: BLE001 - the last line of defence: opaque outside, logged inside
            error = self.guard.error_of(fault, self.method)
        else:
            self._end(grpc.StatusCode.OK, context, started)
            return response
        self._end(error.code, context, started)
        # Outside the except block, so that the refusal carries no chain of causes into gRPC's own log.
        return context.abort_with_status(to_status(error))

    def _end(self, code: grpc.StatusCode, context: grpc.ServicerContext, started: float) -> None:
        seconds = time.perf_counter() - started
        self.metrics.end(code, seconds)
        if self.guard.spans is not None:
            self.guard.ended(self.method, context, code, seconds=seconds)


@dataclass(frozen=True, slots=True)
class _Streaming:
    handle: _Handle
    method: str
    guard: Guard
    metrics: MethodMetrics

    def __call__(self, request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        self.metrics.begin()
        started = time.perf_counter()
        code, error = grpc.StatusCode.CANCELLED, None
        try:
            self.guard.admit(request, context, self.method, stream=True)
            yield from self.handle(request, context)
            code = grpc.StatusCode.OK
        except Exception as fault:  # noqa: BLE001 - the last line of defence: opaque outside, logged inside
            error = self.guard.error_of(fault, self.method)
            code = error.code
        finally:
            # A caller that gives up closes the generator: then neither branch above has run.
            seconds = time.perf_counter() - started
            self.metrics.end(code, seconds)
            if self.guard.spans is not None:
                self.guard.ended(self.method, context, code, seconds=seconds)
        if error is not None:
            context.abort_with_status(to_status(error))
