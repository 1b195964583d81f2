"""A bounded HTTP server for one WSGI application, without TLS: for what proves itself, such as a log's tiles."""

import logging
import socket
import threading
import time
from typing import Any, Final, cast

from waitress import wasyncore
from waitress.channel import HTTPChannel
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
_REQUEST_S: Final = 15.0
"""So long may one request take to come in; a byte now and then is not enough to keep a connection."""
_ONE_ADDRESS: Final = 50
"""So many of the connections may be from one address, which may be that of a proxy."""


class _Channel(HTTPChannel):
    """A connection that is closed when one request takes too long to come in, or its address has too many."""

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:
        super().__init__(server, sock, addr, adj, map=map)
        self._incoming: object = None
        self._since = 0.0
        if sum(each.addr[0] == addr[0] for each in server.active_channels.values()) > _ONE_ADDRESS:
            self.will_close = True

    def received(self, data: bytes) -> bool:
        """Take what came in."""
        result: bool = super().received(data)
        if self.request is not self._incoming:
            self._incoming, self._since = self.request, time.monotonic()
        return result

    def check(self, now: float) -> None:
        """Have it closed if it is time."""
        if self._incoming is not None and now - self._since > _REQUEST_S:
            self.will_close = True


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
        self._server.channel_class = _Channel
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
        due = 0.0
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)
            now = time.monotonic()
            if now >= due:
                due = now + 1.0
                for channel in list(self._server.active_channels.values()):
                    channel.check(now)


def _listen(address: str, name: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise OSError(error.errno, f"the {name} cannot listen on {address}: {error.strerror}") from error
