"""How calls end and how long they take, under the names of the gRPC ecosystem (grpc-ecosystem/go-grpc-middleware)."""

from typing import Final

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHOD_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")

# The spelling of grpc-go, which the ecosystem's dashboards and alert rules expect.
_GO_NAMES: Final = {
    grpc.StatusCode.OK: "OK",
    grpc.StatusCode.CANCELLED: "Canceled",
}


def code_label(code: grpc.StatusCode) -> str:
    """Returns the value of `grpc_code`, such as `PermissionDenied`."""
    return _GO_NAMES.get(code) or "".join(word.capitalize() for word in code.name.split("_"))


class MethodMetrics:
    """The metrics of one method, their labels resolved once."""

    def __init__(self, metrics: "RpcMetrics", labels: tuple[str, str, str]) -> None:
        self._started = metrics.started.labels(*labels)
        self._seconds = metrics.seconds.labels(*labels)
        # Every code from the start: an alert on a rate needs the zero before the first failure.
        self._handled = {code: metrics.handled.labels(*labels, code_label(code)) for code in grpc.StatusCode}

    def begin(self) -> None:
        """Counts a call that has arrived."""
        self._started.inc()

    def end(self, code: grpc.StatusCode, seconds: float) -> None:
        """Counts a call that has been answered with `code` after `seconds`."""
        self._handled[code].inc()
        self._seconds.observe(seconds)


class RpcMetrics:
    """The metrics of one server, in the registry it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter(
            "grpc_server_started_total", "Calls that have arrived.", _METHOD_LABELS, registry=registry
        )
        self.handled = Counter(
            "grpc_server_handled_total",
            "Calls that have been answered, by status code.",
            (*_METHOD_LABELS, "grpc_code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's start in a worker to its answer.",
            _METHOD_LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )

    def of_method(self, service: str, method: str, *, response_stream: bool) -> MethodMetrics:
        """Returns the metrics of one method of a service, such as `isthmus.v1.ExchangeService`, `Query`."""
        return MethodMetrics(self, ("server_stream" if response_stream else "unary", service, method))
