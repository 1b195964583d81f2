"""A bounded HTTP server for one WSGI application, without TLS: for what proves itself, such as a log's tiles."""

import logging
import socket
import threading
from typing import Any, Final, cast

from waitress import wasyncore
from waitress.server import create_server

from audit.tiles.address import split_address

_LIMITS: Final[dict[str, Any]] = {
    "threads": 4,
    "connection_limit": 100,
    "backlog": 64,
    "channel_timeout": 10,
    "cleanup_interval": 5,
    "max_request_header_size": 8192,
}
"""Counts, seconds and bytes."""
_LAST_ANSWERS_S: Final = 10.0


class HttpServer:
    """A running server. `port` is the one it listens on; `close()` stops it.

    Args:
        address: such as `127.0.0.1:8446` (port 0 takes a free one) or `[::]:8446`.
        app: a WSGI application, called by four threads.
        name: of the server, for errors and the thread.
        max_body_bytes: requests with a longer body are refused.

    Raises:
        ValueError: the address has another form.
        OSError: it cannot be bound.
    """

    def __init__(self, address: str, app: Any, *, name: str, max_body_bytes: int = 1024) -> None:
        # Anybody can make the queue longer for a moment; a line for each would be a way to fill the disk.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._sockets: dict[int, Any] = {}
        server = create_server(
            app,
            map=self._sockets,
            sockets=[_listen(address, name)],
            ident=None,
            log_socket_errors=False,
            max_request_body_size=max_body_bytes + 1,
            **_LIMITS,
        )
        # Typed as if there could be several listeners; there is one socket, and so one.
        self._server = cast(Any, server)
        self.port: int = int(self._server.effective_port)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. What is being worked out ends within ten seconds; whoever asked may have to ask again."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        dispatcher = self._server.task_dispatcher
        dispatcher.shutdown(timeout=_LAST_ANSWERS_S)
        # A worker ends by writing to a pipe of the server's. Closed before, its number could by then be that of
        # another file of this process, such as the ledger's: one that still hangs keeps it.
        if not dispatcher.threads:
            wasyncore.close_all(self._sockets, ignore_all=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)


def _listen(address: str, name: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise OSError(error.errno, f"the {name} cannot listen on {address}: {error.strerror}") from error
