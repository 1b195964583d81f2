"""Those who watch exchanges: metrics, the log and, where spans are exported, the traces."""

from collections.abc import Sequence
from typing import Protocol

from audit.record import AccessRecord, StreamEnding
from gateway.batch.release import Counts
from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange
from gateway.exchange.state import View
from gateway.stream.observer import StreamObserver


class Measures(StreamObserver, Counts, Protocol):
    """Is told of everything."""


class Teller(Protocol):
    """Is told how exchanges ended and how long they took; of a stream, `ended` says with ALLOW that it has begun."""

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None: ...
    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None: ...
    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None: ...
    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None: ...


class Observers:
    """Passes on what it is told.

    Args:
        measures: is told of everything.
        tellers: of what they can be told of.
    """

    def __init__(self, measures: Measures, *tellers: Teller) -> None:
        self._measures = measures
        self._tellers = tellers

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None:
        """An exchange has ended and its record is durable."""
        self._measures.ended(exchange, view, ending)
        for each in self._tellers:
            each.ended(exchange, view, ending)

    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None:
        """A batch has ended and its record is durable."""
        self._measures.batch_ended(exchange, view, record)
        for each in self._tellers:
            each.batch_ended(exchange, view, record)

    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None:
        """A stream has its closing record."""
        self._measures.stream_ended(exchange, view, how)
        for each in self._tellers:
            each.stream_ended(exchange, view, how)

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None:
        """So many exchanges have passed a stage together."""
        self._measures.stage(name, exchanges, seconds)
        for each in self._tellers:
            each.stage(name, exchanges, seconds)

    def unrecorded(self, exchange: Exchange) -> None:
        """An exchange has failed and the ledger took no record of it."""
        self._measures.unrecorded(exchange)

    def fault(self, fault: Exception) -> None:
        """Something that nobody foresaw."""
        self._measures.fault(fault)

    def stream_opened(self) -> None:
        """A stream has its opening record."""
        self._measures.stream_opened()

    def stream_closed(self) -> None:
        """A stream is over."""
        self._measures.stream_closed()

    def handed_on(self, exchange: Exchange, view: View, *, rows: int, size: int) -> None:
        """A chunk of a stream goes out."""
        self._measures.handed_on(exchange, view, rows=rows, size=size)

    def stream_unended(self, exchange: Exchange) -> None:
        """A stream is over, and the ledger took no record of how it ended."""
        self._measures.stream_unended(exchange)
