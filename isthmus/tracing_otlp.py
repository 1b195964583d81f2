"""Spans over OTLP/gRPC, by the OpenTelemetry SDK; imported only where `isthmus.tracing` was told to export."""

import threading
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased

from isthmus import __version__
from isthmus.traceparent import TraceParent
from isthmus.tracing import Span, SpanKind, TracingSettings

_TIMEOUT_S: Final = 3.0
_KINDS: Final = {
    SpanKind.INTERNAL: api.SpanKind.INTERNAL,
    SpanKind.SERVER: api.SpanKind.SERVER,
    SpanKind.CLIENT: api.SpanKind.CLIENT,
}
_LOW_BITS: Final = (1 << 64) - 1


class OtlpSpans:
    """Sends spans to a collector, in batches and from a thread of its own. The queue is the SDK's, and bounded.

    The collector's certificate, and the process's own towards it, come from the variables that OpenTelemetry names for
    them (`OTEL_EXPORTER_OTLP_CERTIFICATE` and the like).

    Args:
        settings: with an endpoint.
        service, instance: as for `isthmus.tracing.open_spans`.
    """

    def __init__(self, settings: TracingSettings, *, service: str, instance: str) -> None:
        self._bound = TraceIdRatioBased.get_bound_for_rate(settings.ratio)
        self._ids = _GivenIds()
        attributes = {
            "service.name": service,
            "service.version": __version__,
            "service.instance.id": instance,
        }
        self._provider = TracerProvider(
            # What is wanted was decided before a span is made.
            sampler=ALWAYS_ON,
            resource=Resource.create(attributes),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        insecure = urlsplit(settings.endpoint).scheme == "http"
        exporter = OTLPSpanExporter(settings.endpoint, insecure=insecure, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("isthmus", __version__)

    def wanted(self, trace_id: str, trace: TraceParent | None) -> bool:
        """As `isthmus.tracing.Spans`."""
        if trace is not None:
            return trace.sampled
        return int(trace_id, 16) & _LOW_BITS < self._bound

    def emit(self, span: Span) -> None:
        """As `isthmus.tracing.Spans`."""
        parent = None
        if span.parent_id:
            remote = span.kind is SpanKind.SERVER
            parent = _context(span.trace_id, span.parent_id, remote=remote)
        self._ids.give(span.trace_id, span.span_id)
        made = self._tracer.start_span(
            span.name,
            context=api.set_span_in_context(api.NonRecordingSpan(parent or api.INVALID_SPAN_CONTEXT)),
            kind=_KINDS[span.kind],
            attributes=dict(span.attributes),
            links=_links(span.links),
            start_time=span.started_ns,
        )
        if span.error:
            made.set_status(api.StatusCode.ERROR, span.error)
        made.end(span.ended_ns)

    def close(self) -> None:
        """As `isthmus.tracing.Spans`."""
        self._provider.shutdown()


class _GivenIds(IdGenerator):
    """Gives the next span of this thread the ids that it is to have."""

    def __init__(self) -> None:
        self._next = threading.local()

    def give(self, trace_id: str, span_id: str) -> None:
        self._next.trace_id, self._next.span_id = int(trace_id, 16), int(span_id, 16)

    def generate_trace_id(self) -> int:
        found: int = self._next.trace_id
        return found

    def generate_span_id(self) -> int:
        found: int = self._next.span_id
        return found


def _context(trace_id: str, span_id: str, *, remote: bool) -> api.SpanContext:
    flags = api.TraceFlags(api.TraceFlags.SAMPLED)
    return api.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=remote, trace_flags=flags)


def _links(links: Sequence[tuple[str, str]]) -> list[api.Link]:
    return [api.Link(_context(trace_id, span_id, remote=True)) for trace_id, span_id in links]
