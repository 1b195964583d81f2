"""What a node tells about its work, besides its journal and its metrics: log lines of what went wrong, and spans.

Neither holds a subject, a value, or words that a gateway, a database or a manifest's author wrote.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from isthmus.errors import IsthmusError
from isthmus.reasons import Reason
from isthmus.traceparent import TraceParent
from isthmus.tracing import Span, SpanKind, Spans, new_span_id
from services.grants import Grant
from services.receipts import Answered

_MOST: Final = 128
"""How many exchanges a line or a span names; a grant of a train holds no more."""


@dataclass(slots=True)
class Telling:
    """The telling about one call, from its beginning.

    Args:
        log: where lines go.
        spans: where spans go; None for nowhere.
        name: of the span.
        trace: what the gateway says of the trace.
        gateway: who called.
    """

    log: structlog.typing.FilteringBoundLogger
    spans: Spans | None
    name: str
    trace: TraceParent | None
    gateway: str
    grant: Grant | None = None
    _began: int = field(default_factory=time.time_ns)

    def vetoed(self, answers: Sequence[Answered]) -> None:
        """Tells which exchanges of the grant were refused, in one line: there may be many."""
        refused = [each for each in answers if each.outcome.refused]
        if refused:
            self.log.info(
                "exchanges refused",
                exchanges=[each.item.exchange for each in refused[:_MOST]],
                reasons=sorted({Reason(each.outcome.refused).name for each in refused}),
                datasets=sorted({str(each.item.dataset) for each in refused}),
                **self._about(),
            )

    def ended(self, fault: IsthmusError | None) -> None:
        """Tells how the call ended; `fault` is what its caller was told, None when it was served."""
        if fault is not None:
            self.log.warning(
                "grant not served",
                reason=fault.reason.name,
                exchanges=self._exchanges(),
                gateway=self.gateway,
                **self._about(),
            )
        if self.spans is not None and self.trace is not None and self.trace.sampled:
            self.spans.emit(self._span(self.trace, fault))

    def _about(self) -> dict[str, str]:
        return {
            "grant": self.grant.id if self.grant is not None else "",
            "trace_id": self.trace.trace_id if self.trace is not None else "",
        }

    def _exchanges(self) -> list[str]:
        return [each.exchange for each in self.grant.items[:_MOST]] if self.grant is not None else []

    def _span(self, trace: TraceParent, fault: IsthmusError | None) -> Span:
        items = self.grant.items if self.grant is not None else ()
        return Span(
            name=self.name,
            trace_id=trace.trace_id,
            span_id=new_span_id(),
            parent_id=trace.span_id,
            started_ns=self._began,
            ended_ns=time.time_ns(),
            kind=SpanKind.SERVER,
            attributes={
                "isthmus.grant": self.grant.id if self.grant is not None else "",
                "isthmus.exchange": self._exchanges(),
                "isthmus.consumer": items[0].consumer if items else "",
                "isthmus.dataset": sorted({str(each.dataset) for each in items}),
                "isthmus.aboard": len(items),
            },
            error=fault.reason.name if fault is not None else "",
        )
