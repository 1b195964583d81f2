"""What a stream tells whoever measures."""

from typing import Protocol

from audit.record import StreamEnding
from gateway.exchange.item import Exchange
from gateway.exchange.pipeline import Observer
from gateway.exchange.state import View


class StreamObserver(Observer, Protocol):
    """Measures streams as well as other exchanges."""

    def stream_opened(self) -> None: ...
    def stream_closed(self) -> None: ...
    def handed_on(self, exchange: Exchange, view: View, *, rows: int, size: int) -> None: ...
    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None: ...
    def stream_unended(self, exchange: Exchange) -> None: ...
