"""What a process shows its operators over plain HTTP: `/metrics` for Prometheus, `/healthz` for a supervisor."""

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

_READ_TIMEOUT_S: Final = 10


class _QuietHandler(WSGIRequestHandler):
    # A client that connects and says nothing must not hold the only thread for ever.
    timeout = _READ_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: scrapes are not news, and the default would write to standard error as plain text."""


class MetricsServer:
    """A running HTTP server. `port` is the one it listens on; `close()` stops it."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.port: int = server.server_port
        self._thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening, and waits for the request under way."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def metrics_server(
    registry: CollectorRegistry, host: str, port: int, *, ready: Callable[[], bool] = lambda: True
) -> MetricsServer:
    """Starts serving `registry`.

    Metrics name departments and datasets, never persons, and are not encrypted: bind them to an address that only
    the operators' network reaches.

    Args:
        registry: what `/metrics` shows.
        host: the address to bind, such as `127.0.0.1`.
        port: 0 for any free one.
        ready: whether `/healthz` answers 200 or 503.

    Raises:
        OSError: the address cannot be bound.
    """
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return list(metrics(environ, start_response))
        if path == "/healthz":
            status, body = ("200 OK", b"ok\n") if ready() else ("503 Service Unavailable", b"not ready\n")
        else:
            status, body = "404 Not Found", b"there are /metrics and /healthz\n"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [body]

    return MetricsServer(make_server(host, port, app, handler_class=_QuietHandler))
