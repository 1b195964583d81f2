"""The spans of exchanges: one for each exchange, and within it one for each of its stages.

They are made when something has happened, of what the pipeline tells its observers. The span of an exchange bears the end
of its id, so that stages and calls find their parent.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from audit.record import AccessRecord, StreamEnding
from gateway.exchange.calls import exchange_trace_id
from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange, Mode
from gateway.exchange.state import View
from isthmus.traceparent import own_span_id
from isthmus.tracing import Attribute, Span, SpanKind, Spans, new_span_id

_NS: Final = 1_000_000_000


class ExchangeSpans:
    """Makes the spans.

    Args:
        spans: where they go.
        clock: Unix time in nanoseconds.
    """

    def __init__(self, spans: Spans, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._spans = spans
        self._clock = clock

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None:
        """An exchange has ended and its record is durable."""
        begun = exchange.asked.mode is Mode.STREAM and ending.decision == "ALLOW"
        if not begun:
            reasons = [each.name for each in ending.reasons]
            self._whole(exchange, view, ending.decision, reasons)

    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None:
        """A batch has ended and its record is durable."""
        self._whole(exchange, view, record.decision, record.reasons, subjects=record.subject_count)

    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None:
        """A stream has its closing record."""
        self._whole(exchange, view, "ALLOW", (), ending=how.value)

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None:
        """So many exchanges have passed a stage together."""
        ended = self._clock()
        for each in filter(self._wanted, exchanges):
            self._spans.emit(
                Span(
                    name=f"isthmus.{name}",
                    trace_id=exchange_trace_id(each),
                    span_id=new_span_id(),
                    parent_id=own_span_id(each.name),
                    started_ns=ended - int(seconds * _NS),
                    ended_ns=ended,
                    attributes={"isthmus.exchange": each.name, "isthmus.aboard": len(exchanges)},
                )
            )

    def committed(self, exchanges: Sequence[Exchange], seconds: float) -> None:
        """The ledger has made their records durable; that took so long from when they were written."""
        self.stage("commit", exchanges, seconds)

    def _wanted(self, exchange: Exchange) -> bool:
        return self._spans.wanted(exchange_trace_id(exchange), exchange.asked.trace)

    def _whole(
        self,
        exchange: Exchange,
        view: View | None,
        decision: str,
        reasons: Sequence[str],
        **more: Attribute,
    ) -> None:
        if not self._wanted(exchange):
            return
        asked = exchange.asked
        self._spans.emit(
            Span(
                name="isthmus.exchange",
                trace_id=exchange_trace_id(exchange),
                span_id=own_span_id(exchange.name),
                parent_id=asked.trace.span_id if asked.trace is not None else "",
                started_ns=_nanoseconds(exchange.received),
                ended_ns=self._clock(),
                kind=SpanKind.SERVER,
                attributes=_attributes(exchange, view, decision, reasons)
                | {f"isthmus.{name}": value for name, value in more.items()},
                error=reasons[0] if decision == "ERROR" and reasons else "",
            )
        )


def _attributes(
    exchange: Exchange, view: View | None, decision: str, reasons: Sequence[str]
) -> dict[str, Attribute]:
    contract = view.contract if view is not None else None
    found: dict[str, Attribute] = {
        "isthmus.exchange": exchange.name,
        "isthmus.consumer": exchange.asked.consumer,
        "isthmus.mode": exchange.asked.mode.value,
        "isthmus.decision": decision,
    }
    if contract is not None:
        found |= {"isthmus.provider": contract.provider, "isthmus.dataset": contract.dataset}
    return found | ({"isthmus.reasons": list(reasons)} if reasons else {})


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * _NS)
