"""How a stream begins: admitted by one read of the state, granted, and opened by a record that is durable before a byte of
it goes out. One that does not begin has its one record too, of why not.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from audit.ledger import Ledger
from gateway.exchange.grant import Passenger
from gateway.exchange.outcome import Outcome, Served
from gateway.exchange.release import UNFORESEEN, Case, Release
from gateway.exchange.state import Rules, read_world
from gateway.stream.content import Part
from gateway.stream.judge import StreamJudge
from gateway.stream.observer import StreamObserver
from gateway.stream.source import Source
from gateway.stream.underway import Underway
from isthmus.errors import Unavailable
from isthmus.reasons import Reason
from isthmus.v1.exchange_service_pb2 import VERDICT_UNSPECIFIED

T = TypeVar("T")
_AT_ONCE: Final = 0.0
"""Settled exchanges have ended: there is nothing to wait for."""


class Opening:
    """Begins streams.

    Args:
        ledger: whose state is read.
        rules: what turns state into decisions.
        judge: decides.
        release: records what has been decided.
        source: asks departments.
        observer: measures.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        judge: StreamJudge,
        release: Release,
        *,
        source: Source,
        observer: StreamObserver,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._judge = judge
        self._release = release
        self._source = source
        self._observer = observer
        self._clock = clock

    def admit(self, stream: Underway) -> Passenger:
        """Returns the exchange as it may be asked for.

        Raises:
            IsthmusError: it may not, or failed; recorded.
        """
        return self._or_strand(stream, lambda: self._admit(stream))

    def open(self, stream: Underway, passenger: Passenger) -> list[Part]:
        """Asks the department, records the opening, and returns the first parts.

        Raises:
            IsthmusError: it was refused or failed; recorded.
        """
        return self._or_strand(stream, lambda: self._open(stream, passenger))

    def _admit(self, stream: Underway) -> Passenger:
        started, exchange = time.perf_counter(), stream.exchange
        with self._ledger.read() as connection:
            world = read_world(connection, [exchange.asked], self._rules, now=self._clock())
        case, view = Case(exchange), world.views[0]
        if self._judge.admission(case, view, world) is not None:
            # Decided again where it is recorded: a denial too must be true at the position of its record.
            left = self._release.settle([case], self._judge.admission)
            view = left[0][1] if left else view
            if not left:
                exchange.wait(_AT_ONCE)
        if view.contract is None:
            raise RuntimeError("an exchange was admitted without a contract")
        exchange.stages["admitted"] = self._clock()
        self._observer.stage("admit", [exchange], time.perf_counter() - started)
        return Passenger(exchange, view, view.contract)

    def _open(self, stream: Underway, passenger: Passenger) -> list[Part]:
        started, exchange = time.perf_counter(), stream.exchange
        begun = self._source.begin(stream, passenger)
        parts = begun if isinstance(begun, list) else []
        outcome: Outcome = _opened(stream.node) if isinstance(begun, list) else begun
        exchange.stages["fetched"] = self._clock()
        fetched = time.perf_counter()
        self._observer.stage("fetch", [exchange], fetched - started)
        self._release.settle([Case(exchange, passenger, outcome)], self._judge.opening)
        self._observer.stage("release", [exchange], time.perf_counter() - fetched)
        exchange.wait(_AT_ONCE)
        return parts

    def _or_strand(self, stream: Underway, work: Callable[[], T]) -> T:
        """Does a part of the work; a fault that nobody has recorded is."""
        exchange = stream.exchange
        try:
            return work()
        except Exception as fault:
            stream.end_call()
            if exchange.ended:
                raise
            reason, words = Reason.INTERNAL, UNFORESEEN
            if isinstance(fault, Unavailable):
                reason, words = fault.reason, fault.message
            else:
                self._observer.fault(fault)
            self._release.record_failures([exchange], reason, words)
            exchange.wait(_AT_ONCE)
            raise


def _opened(node: str) -> Served:
    """The answer as far as there is one: columns, and no row."""
    return Served(
        subject_known=True,
        row_set=None,
        verdict=VERDICT_UNSPECIFIED,
        content=b"",
        row_count=0,
        receipt="",
        node=node,
    )
