"""What a stream's end is called, and what its caller is told, for everything that can end one."""

from dataclasses import replace
from typing import Final

import grpc

from audit.record import StreamEnding
from gateway.exchange.ending import Ending, failure
from gateway.exchange.evidence import Misbehaved
from gateway.exchange.fetch import call_fault
from gateway.stream.records import Ended
from gateway.stream.underway import Underway
from isthmus.errors import IsthmusError, Unavailable
from isthmus.reasons import Reason
from isthmus.status import from_rpc_error

UNFORESEEN: Final = "an unforeseen fault; quote the exchange id"
_MAX_EXPLANATION: Final = 500
_GONE: Final = frozenset({Reason.CANCELLED, Reason.DEADLINE_EXCEEDED})
_CAUSES: Final = {
    Reason.CANCELLED: "the caller gave up",
    Reason.DEADLINE_EXCEEDED: "the caller's deadline ended first",
    Reason.DEPARTMENT_TIMEOUT: "the department fell silent",
    Reason.OVERLOADED: "the gateway is shutting down",
}


class Stopped(Exception):
    """The state no longer allows the stream to go on."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


class Broken(Exception):
    """The stream was broken off; it says itself why."""


def ended_by(stream: Underway, fault: BaseException) -> Ended:
    """Returns how `fault` ends an open stream. What broke it off counts before what came of that."""
    if stream.cause is not None:
        how = StreamEnding.CANCELLED if stream.cause in _GONE else StreamEnding.FAILED
        return _failed(stream, stream.cause, _CAUSES[stream.cause], how=how)
    if isinstance(fault, Stopped):
        return _stopped(stream, fault.ending)
    if isinstance(fault, GeneratorExit):
        return _failed(stream, Reason.CANCELLED, _CAUSES[Reason.CANCELLED], how=StreamEnding.CANCELLED)
    if isinstance(fault, Misbehaved):
        return _failed(stream, Reason.DEPARTMENT_MISBEHAVED, str(fault))
    if isinstance(fault, grpc.RpcError):
        return _called_off(stream, fault)
    if isinstance(fault, Unavailable):
        return _failed(stream, fault.reason, fault.message)
    return _failed(stream, Reason.INTERNAL, UNFORESEEN)


def _called_off(stream: Underway, fault: grpc.RpcError) -> Ended:
    told = from_rpc_error(fault)
    if told.reason is not Reason.PROVIDER_VETO:
        return _failed(stream, *call_fault(fault))
    ended = _failed(
        stream,
        told.reason,
        f"the provider refuses it: {told.message[:_MAX_EXPLANATION]}",
        how=StreamEnding.STOPPED,
    )
    return replace(ended, rules=("provider-veto",))


def foreseen(fault: BaseException) -> bool:
    """Whether `fault` is one of those that streams end by; any other is a bug, to be logged."""
    return isinstance(fault, Stopped | Broken | GeneratorExit | Misbehaved | grpc.RpcError | Unavailable)


def _failed(
    stream: Underway, reason: Reason, words: str, *, how: StreamEnding = StreamEnding.FAILED
) -> Ended:
    error = failure(reason, words, exchange=stream.exchange.name, released=stream.so_far)
    return Ended(how, error)


def _stopped(stream: Underway, ending: Ending) -> Ended:
    error = ending.error
    if error is None:
        raise RuntimeError("what stops a stream says why")
    gone = error.reason in _GONE
    error.message = (
        f"{error.message.removesuffix('; nothing was released')}; the stream was stopped: {stream.so_far}"
    )
    return Ended(
        StreamEnding.CANCELLED if gone else StreamEnding.STOPPED, _named(error, stream), ending.rules
    )


def _named(error: IsthmusError, stream: Underway) -> IsthmusError:
    error.exchange = stream.exchange.name
    return error
