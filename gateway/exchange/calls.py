"""What calls to departments say about the trace that they belong to.

A call for one exchange is a part of that exchange's trace. A call for several belongs to none of theirs more than to
another's: it has a trace of its own, which bears the id of its grant, as the department's journal does. Its span links to
every exchange aboard, and each of these, in its own trace, has a span that links to the call. A call's span always bears
the end of its grant's id, so that the department's spans find their parent, whoever exports.

Where nobody aboard sent a trace and this gateway exports no spans, a call says nothing.
"""

import time
from collections.abc import Sequence

from gateway.exchange.grant import Grant
from gateway.exchange.item import Exchange
from isthmus.reasons import Reason
from isthmus.traceparent import TraceParent, own_span_id, own_trace_id
from isthmus.tracing import Attribute, Span, SpanKind, Spans, new_span_id


def exchange_trace_id(exchange: Exchange) -> str:
    """The id of an exchange's trace: its caller's, or else its own."""
    return exchange.asked.trace_id or own_trace_id(exchange.name)


class Calls:
    """The traces of calls; safe to use from many threads.

    Args:
        spans: where spans go; None for nowhere.
    """

    def __init__(self, spans: Spans | None = None) -> None:
        self._spans = spans

    def trace_of(self, grant: Grant) -> TraceParent | None:
        """What the call with a grant says of its trace; None when nothing."""
        exchanges = [each.exchange for each in grant.passengers]
        if self._spans is None and all(each.asked.trace is None for each in exchanges):
            return None
        alone = len(exchanges) == 1
        trace_id = exchange_trace_id(exchanges[0]) if alone else own_trace_id(grant.id)
        return TraceParent(trace_id, own_span_id(grant.id), any(map(self._kept, exchanges)))

    def ended(
        self, grant: Grant, trace: TraceParent | None, *, began_ns: int, fault: Reason | None = None
    ) -> None:
        """A call has ended.

        Args:
            grant: what it was made with.
            trace: what `trace_of` said.
            began_ns: when it was made, Unix time.
            fault: why it failed; None when the department answered.
        """
        if self._spans is None or trace is None or not trace.sampled:
            return
        exchanges = [each.exchange for each in grant.passengers]
        alone = len(exchanges) == 1
        call = Span(
            name="isthmus.call",
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent_id=own_span_id(exchanges[0].name) if alone else "",
            started_ns=began_ns,
            ended_ns=time.time_ns(),
            kind=SpanKind.CLIENT,
            attributes=_attributes(grant, exchanges),
            links=() if alone else [_link(each) for each in exchanges],
            error=fault.name if fault is not None else "",
        )
        self._spans.emit(call)
        if not alone:
            self._emit_parts(self._spans, call, exchanges)

    def _kept(self, exchange: Exchange) -> bool:
        trace = exchange.asked.trace
        if self._spans is None:
            return trace is not None and trace.sampled
        return self._spans.wanted(exchange_trace_id(exchange), trace)

    def _emit_parts(self, spans: Spans, call: Span, exchanges: Sequence[Exchange]) -> None:
        for each in filter(self._kept, exchanges):
            spans.emit(
                Span(
                    name="isthmus.called_together",
                    trace_id=exchange_trace_id(each),
                    span_id=new_span_id(),
                    parent_id=own_span_id(each.name),
                    started_ns=call.started_ns,
                    ended_ns=call.ended_ns,
                    attributes={"isthmus.exchange": each.name, "isthmus.aboard": len(exchanges)},
                    links=[(call.trace_id, call.span_id)],
                    error=call.error,
                )
            )


def _link(exchange: Exchange) -> tuple[str, str]:
    return exchange_trace_id(exchange), own_span_id(exchange.name)


def _attributes(grant: Grant, exchanges: Sequence[Exchange]) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "isthmus.grant": grant.id,
        "isthmus.provider": grant.department,
        "isthmus.consumer": exchanges[0].asked.consumer,
        "isthmus.aboard": len(exchanges),
    }
    if len(exchanges) == 1:
        found["isthmus.exchange"] = exchanges[0].name
    return found
