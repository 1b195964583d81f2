"""One bounded POST to somebody outside, such as a witness or a timestamp authority, who may answer anything or nothing."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol

import urllib3
from urllib3.exceptions import LocationParseError


class Unreachable(Exception):
    """Nobody answered, not in time, or more than was asked for. The message holds no byte of what was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the media type without parameters in lower case, and the body."""

    status: int
    kind: str
    body: bytes


class Post(Protocol):
    """Sends a body to an address."""

    def __call__(self, url: str, body: bytes, *, kind: str, most: int) -> Answer:
        """Raises Unreachable."""


@dataclass(frozen=True, slots=True)
class HttpPost:
    """POST over HTTP or HTTPS: no redirect, no retry, no cookie, no proxy from the environment, a connection each.

    Args:
        timeout_s: seconds that an exchange may take in all, once the name of the host is resolved.
        ca: the certification authorities of `https` addresses (PEM); the machine's own unless given.

    Raises:
        OSError: they cannot be read.
    """

    timeout_s: float = 10.0
    ca: Path | None = None
    _context: ssl.SSLContext = field(init=False, repr=False, compare=False)
    _under_way: "_UnderWay" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_under_way", _UnderWay())

    def __call__(self, url: str, body: bytes, *, kind: str, most: int) -> Answer:
        """Send `body`.

        Args:
            url: where to, `http` or `https`.
            body: what to send.
            kind: its media type.
            most: bytes that the answer may have.

        Raises:
            Unreachable: no answer in time, too long a one, or this was closed.
        """
        try:
            parts = urllib3.util.parse_url(url)
            host, secure = (parts.host or "").strip("[]"), parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            with self._connected(host, port) as raw:
                connection = HTTPConnection(host, port, timeout=self.timeout_s)
                connection.sock = self._context.wrap_socket(raw, server_hostname=host) if secure else raw
                headers = {"Content-Type": kind, "Accept-Encoding": "identity", "Connection": "close"}
                try:
                    connection.request("POST", parts.request_uri, body=body, headers=headers)
                    with connection.getresponse() as response:
                        return Answer(response.status, _kind(response), _body(response, most))
                finally:
                    connection.close()
        except (HTTPException, OSError, ValueError) as error:
            raise Unreachable(f"no answer from it: {type(error).__name__}") from error

    def close(self) -> None:
        """Cut off what is under way, and send nothing more."""
        self._under_way.cut_all()

    @contextmanager
    def _connected(self, host: str, port: int) -> Iterator[socket.socket]:
        deadline = time.monotonic() + self.timeout_s
        with _connect(host, port, deadline) as raw:
            raw.settimeout(self.timeout_s)
            # A timeout of the socket bounds one read each, and a peer that sends a byte now and then has no end: so the
            # connection is shut from outside. By a number of its own, which TLS does not take away.
            with raw.dup() as handle, self._under_way.holding(handle) as cut:
                timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut.now)
                timer.daemon = True
                timer.start()
                try:
                    yield raw
                finally:
                    timer.cancel()
                    cut.release()
                # What was read may look whole because it was cut off.
                if cut.done:
                    raise Unreachable("its answer took too long")


class _Cut:
    """Ends one connection, at most once, whoever is reading from it."""

    def __init__(self, handle: socket.socket) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = handle
        self.done = False

    def now(self) -> None:
        """End it."""
        with self._lock:
            if self._handle is not None:
                self.done = True
                with suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Leave it alone from now on: once it is closed, its number may be that of another file."""
        with self._lock:
            self._handle = None


class _UnderWay:
    """The connections that are open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cuts: set[_Cut] = set()
        self._closed = False

    @contextmanager
    def holding(self, handle: socket.socket) -> Iterator[_Cut]:
        """Until this ends, `cut_all` ends the connection, too. Raises Unreachable if that has been."""
        cut = _Cut(handle)
        with self._lock:
            if self._closed:
                raise Unreachable("nothing more is sent")
            self._cuts.add(cut)
        try:
            yield cut
        finally:
            with self._lock:
                self._cuts.discard(cut)

    def cut_all(self) -> None:
        """End all of them, and allow no other."""
        with self._lock:
            self._closed = True
            for cut in self._cuts:
                cut.now()


def check_url(url: str) -> None:
    """Return only for an address that can be posted to, without user name, query or fragment.

    Raises:
        ValueError: another.
    """
    try:
        parts = urllib3.util.parse_url(url)
    except LocationParseError:
        raise ValueError("the url cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError("a url begins with http:// or https:// and a host")
    if parts.auth or parts.query or parts.fragment:
        raise ValueError("a url has no user name, query or fragment here")


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    # `socket.create_connection` would take its time for each of the addresses.
    refused = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            refused = error
    raise refused


def _kind(response: HTTPResponse) -> str:
    return response.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()


def _body(response: HTTPResponse, most: int) -> bytes:
    body = response.read(most + 1)
    if len(body) > most:
        raise Unreachable(f"its answer is longer than {most} bytes")
    if response.length:
        raise Unreachable("its answer ended before its end")
    return body
