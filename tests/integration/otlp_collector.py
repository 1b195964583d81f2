"""A collector that OTLP exporters send to over the wire, and that keeps what it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Got:
    """A span that arrived: `service` is who sent it, ids are in hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    failed: bool
    seconds: float


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self._spans: list[Got] = []
        # Its lock is reentrant: `until` looks at the spans while it holds it.
        self._changed = threading.Condition()
        self.port = 0

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._changed:
            self.raw.append(request.SerializeToString())
            for resource in request.resource_spans:
                (service,) = [
                    each.value.string_value
                    for each in resource.resource.attributes
                    if each.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    self._spans.extend(_got(service, each) for each in scope.spans)
            self._changed.notify_all()
        return pb.ExportTraceServiceResponse()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self, **members: Any) -> list[Got]:
        """What has arrived so far with these members."""
        with self._changed:
            return [
                each
                for each in self._spans
                if all(getattr(each, name) == value for name, value in members.items())
            ]

    def wait(self, count: int = 1, **members: Any) -> list[Got]:
        """The spans with these members, once so many have arrived."""
        self.until(lambda: len(self.spans(**members)) >= count)
        return self.spans(**members)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not true():
                left = deadline - time.monotonic()
                assert left > 0, [(each.service, each.name) for each in self._spans]
                self._changed.wait(left)


def _got(service: str, span: Any) -> Got:
    return Got(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes={each.key: _value(each.value) for each in span.attributes},
        links=tuple((each.trace_id.hex(), each.span_id.hex()) for each in span.links),
        failed=span.status.code == 2,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()
