"""Spans for OpenTelemetry: exported where the deployment asks for it, and otherwise not even thought of.

Whoever does the work tells afterwards what was done and how long it took, as a `Span`. Ids follow from the ids of
exchanges and grants (`isthmus.traceparent`), so between the parts of a trace nothing is kept and nothing handed over.
A process without an endpoint has no `Spans` at all (None), imports nothing of OpenTelemetry and does nothing.

A span holds names, ids, counts, decisions and reasons. It MUST NOT hold an identifier, a value of a row, or words that a
caller or a database wrote.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Protocol
from urllib.parse import urlsplit

from isthmus.traceparent import TraceParent

ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SPAN_BYTES: Final = 8

Attribute = str | int | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """The section [tracing] of a process's configuration.

    Attributes:
        endpoint: the collector's OTLP/gRPC address, `http://host:4317`, or `https://…` for TLS; empty: no spans.
        ratio: the part of the traces that Isthmus begins itself which is exported, 0 to 1. Of a trace that somebody else
            began, that party has decided.
    """

    endpoint: str = ""
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError("tracing.ratio is the part of the traces that are exported, from 0 to 1")
        if self.endpoint:
            _require_endpoint(self.endpoint)

    def or_from(self, environ: Mapping[str, str]) -> "TracingSettings":
        """The same, with the endpoint of the environment (OTEL_EXPORTER_OTLP_ENDPOINT) where it has none itself.

        Raises:
            ValueError: what the environment says is no endpoint.
        """
        return self if self.endpoint else replace(self, endpoint=environ.get(ENDPOINT_VARIABLE, ""))


class TracingUnavailable(RuntimeError):
    """Spans are to be exported, and this installation cannot. The message says what would let it."""


class SpanKind(Enum):
    """What a span is about: work inside a process, a call that was answered, or one that was made."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that was done.

    Attributes:
        name: one of few, such as `isthmus.exchange`.
        trace_id, span_id: in hexadecimal.
        parent_id: the span that it is part of; empty when it begins its trace.
        started_ns, ended_ns: Unix time.
        links: trace id and span id of what it was done for as well.
        error: the reason of a failure, by name; empty when there was none.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    started_ns: int
    ended_ns: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Mapping[str, Attribute]
    links: Sequence[tuple[str, str]] = ()
    error: str = ""


class Spans(Protocol):
    """Where spans go. `emit` never waits and raises nothing: what cannot be sent in time is dropped."""

    def wanted(self, trace_id: str, trace: TraceParent | None) -> bool:
        """Whether the spans of a trace are exported: as `trace`, its caller's word, says, or by the ratio."""

    def emit(self, span: Span) -> None:
        """Hands a span over."""

    def close(self) -> None:
        """Sends what is left, for a few seconds at most."""


def open_spans(settings: TracingSettings, *, service: str, instance: str) -> Spans | None:
    """Returns where the spans of this process go; None when they go nowhere.

    Args:
        settings: the section [tracing].
        service: the kind of process, such as `isthmus-gateway`.
        instance: its identity.

    Raises:
        TracingUnavailable: an endpoint is configured and the extra `otel` is not installed.
    """
    if not settings.endpoint:
        return None
    try:
        from isthmus.tracing_otlp import OtlpSpans
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise TracingUnavailable(
            f"spans are to go to {settings.endpoint} ([tracing] endpoint, or {ENDPOINT_VARIABLE}), and the extra `otel` "
            "is not installed here; install isthmus[otel], or remove the endpoint"
        ) from None
    return OtlpSpans(settings, service=service, instance=instance)


def new_span_id() -> str:
    """A random span id."""
    return secrets.token_hex(_SPAN_BYTES)


def new_trace_id() -> str:
    """A random trace id, for what has no id of its own."""
    return secrets.token_hex(2 * _SPAN_BYTES)


def _require_endpoint(endpoint: str) -> None:
    words = "the endpoint of tracing must be http://host:port, or https://host:port for TLS"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(words)
    if parts.path.strip("/") or parts.query or parts.fragment or len(endpoint) > 300:
        raise ValueError(f"{words}, and nothing after it")
