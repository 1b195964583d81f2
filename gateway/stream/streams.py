"""Streams, each in its handler's own thread: opened by a record, asked about before every chunk, closed by a record.

Nothing is gathered: the next chunk is read from the department when the one before has been taken by the caller's
connection, so a slow consumer slows its provider and fills no memory.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from gateway.exchange.item import Asked, Exchange
from gateway.stream.closing import Closing
from gateway.stream.content import Part, content_of
from gateway.stream.ending import ended_by, foreseen
from gateway.stream.handing import Handing
from gateway.stream.observer import StreamObserver
from gateway.stream.opening import Opening
from gateway.stream.slots import Slots
from gateway.stream.source import Source
from gateway.stream.underway import Underway
from gateway.stream.wish import Wish
from isthmus.errors import IsthmusError, Unavailable
from isthmus.ids import new_exchange
from isthmus.reasons import Reason
from isthmus.rpc import Caller
from isthmus.v1.exchange_service_pb2 import StreamResponse

_NO_ARROW: Final = (
    "this gateway streams no Arrow, because its extra `arrow` is not installed; ask for STREAM_ENCODING_ROWS, or have its "
    "operator install it"
)
_LONGEST: Final = timedelta(hours=1)
"""How long a stream may take whose caller sets no deadline."""


class Streams:
    """Serves Stream.

    Args:
        source: the departments' side.
        opening: admits, asks and opens.
        handing: decides about every chunk.
        closing: records the end.
        slots: how many at once.
        observer: measures.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        source: Source,
        opening: Opening,
        handing: Handing,
        closing: Closing,
        *,
        slots: Slots,
        observer: StreamObserver,
        clock: Callable[[], datetime],
    ) -> None:
        self._source = source
        self._opening = opening
        self._handing = handing
        self._closing = closing
        self._slots = slots
        self._observer = observer
        self._clock = clock
        self._lock = threading.Lock()
        self._underway: set[Underway] = set()
        self._draining = False

    def start(self) -> None:
        """Begins to watch for departments that fall silent."""
        self._source.watchdog.start()

    def drain(self) -> None:
        """Takes no more streams and ends those under way at their next chunk; each gets its closing record."""
        with self._lock:
            self._draining = True
            found = list(self._underway)
        for each in found:
            each.break_off(Reason.OVERLOADED)

    def close(self, timeout: float) -> bool:
        """Waits for the closing records of those that end; returns whether all had within `timeout` seconds."""
        idle = self._slots.wait_until_idle(timeout)
        self._source.watchdog.stop()
        return idle

    def serve(self, asked: Asked, wish: Wish, who: Caller) -> Iterator[StreamResponse]:
        """Yields the responses of one stream; nothing before its opening record is durable.

        Raises:
            IsthmusError: it was refused or failed; or stopped, after some responses.
        """
        try:
            content = content_of(wish.encoding)
        except ModuleNotFoundError:
            raise IsthmusError(Reason.UNIMPLEMENTED, _NO_ARROW) from None
        with self._slots.place(), self._slots.share("consumer", asked.consumer):
            now = self._clock()
            deadline = who.deadline or now + _LONGEST
            exchange = Exchange(str(new_exchange(now)), asked, received=now, deadline=deadline)
            stream = Underway(exchange, wish, content)
            self._enter(stream)
            # Called when the call ends for any reason; it does nothing to a stream that has ended.
            if not who.context.add_callback(lambda: stream.leave(self._clock())):
                stream.leave(now)
            try:
                yield from self._run(stream)
            finally:
                stream.end_call()
                self._source.left(stream)
                with self._lock:
                    self._underway.discard(stream)

    def _enter(self, stream: Underway) -> None:
        with self._lock:
            if self._draining:
                raise Unavailable(
                    Reason.OVERLOADED, "the gateway is shutting down", retry_after=timedelta(seconds=1)
                )
            self._underway.add(stream)

    def _run(self, stream: Underway) -> Iterator[StreamResponse]:
        passenger = self._opening.admit(stream)
        with self._slots.share("provider", passenger.contract.provider):
            parts = self._opening.open(stream, passenger)
            self._observer.stream_opened()
            try:
                yield from self._pass(stream, parts)
            finally:
                self._observer.stream_closed()

    def _pass(self, stream: Underway, parts: list[Part]) -> Iterator[StreamResponse]:
        """The rest of an open stream: whatever happens, it gets a closing record."""
        try:
            yield from self._handing.hand_on(stream, parts)
            response = self._closing.complete(stream)
        except BaseException as fault:
            if isinstance(fault, Exception) and not foreseen(fault):
                self._observer.fault(fault)
            ended = ended_by(stream, fault)
            self._closing.record(stream, ended)
            if isinstance(fault, GeneratorExit) or ended.error is None:
                raise
            raise ended.error from None
        yield response
