"""One stream under way: what has been handed on, who waits for it, and why it was broken off."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.exchange.grant import Grant, Passenger
from gateway.exchange.item import Exchange
from gateway.stream.content import Content, Part
from gateway.stream.wish import Wish
from isthmus.reasons import Reason
from isthmus.traceparent import TraceParent
from isthmus.v1.department_service_pb2 import StreamRowsResponse

_DEADLINE_SLACK: Final = timedelta(milliseconds=250)
"""A client whose deadline ends cancels the call, and that may arrive before the gateway's own clock says so."""


class Underway:
    """A stream. Its own thread hands it on; any other thread may break it off.

    Args:
        exchange: the exchange.
        wish: how it is asked for.
        content: reads what the department sends.
    """

    def __init__(self, exchange: Exchange, wish: Wish, content: Content) -> None:
        self.exchange: Final = exchange
        self.wish: Final = wish
        self.content: Final = content
        self.node = ""
        self.grant: Grant | None = None
        self.receipt = ""
        self.last: Part | None = None
        self.trace: TraceParent | None = None
        self.called_ns = 0
        self.rows = 0
        self.bytes = 0
        self.digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._call: Any = None
        self._cause: Reason | None = None

    @property
    def cause(self) -> Reason | None:
        """Why it was broken off; None when it was not."""
        return self._cause

    @property
    def call(self) -> Iterator[StreamRowsResponse]:
        """The messages of the department."""
        found: Iterator[StreamRowsResponse] = self._call
        return found

    @property
    def passenger(self) -> Passenger:
        """The exchange and what it was granted under; only once there is a grant."""
        if self.grant is None:
            raise RuntimeError("this stream has no grant yet")
        return self.grant.passengers[0]

    def attach(self, call: Any) -> None:
        """Notes the call to the department, which ends with the stream."""
        with self._lock:
            self._call = call
            if self._cause is not None:
                self._call.cancel()

    def break_off(self, cause: Reason) -> None:
        """Ends the call to the department, so that whoever waits for it wakes up. The first cause counts."""
        with self._lock:
            self._cause = self._cause or cause
            if self._call is not None:
                self._call.cancel()

    def end_call(self) -> None:
        """Ends the call to the department, if it has not ended."""
        with self._lock:
            if self._call is not None:
                self._call.cancel()

    def leave(self, now: datetime) -> None:
        """Notes that the caller has gone."""
        self.exchange.leave(now)
        late = now >= self.exchange.deadline - _DEADLINE_SLACK
        self.break_off(Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED)

    def add(self, rows: int, content: bytes) -> None:
        """Counts what is about to be handed on."""
        self.rows += rows
        self.bytes += len(content)
        self.digest.update(content)

    @property
    def so_far(self) -> str:
        """What has left, in words."""
        if not self.rows:
            return "no row had left"
        return f"{self.rows} rows had left; the last resume token goes on after them"
