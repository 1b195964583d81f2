"""One bounded POST to somebody outside, such as a witness or a timestamp authority, who may answer anything or nothing."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

_CHUNK: Final = 8192


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
    """POST over HTTP or HTTPS: no redirect, no retry, no cookie, no proxy from the environment.

    Args:
        timeout_s: seconds that an exchange may take in all.
        ca: the certification authorities of `https` addresses (PEM); the machine's own unless given.

    Raises:
        OSError: they cannot be read.
    """

    timeout_s: float = 10.0
    ca: Path | None = None
    _pool: urllib3.PoolManager = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        pool = urllib3.PoolManager(num_pools=8, ssl_context=context)
        object.__setattr__(self, "_pool", pool)

    def __call__(self, url: str, body: bytes, *, kind: str, most: int) -> Answer:
        """Send `body`.

        Args:
            url: where to, `http` or `https`.
            body: what to send.
            kind: its media type.
            most: bytes that the answer may have.

        Raises:
            Unreachable: no answer in time, or too long a one.
        """
        deadline = time.monotonic() + self.timeout_s
        try:
            response = self._pool.request(
                "POST",
                url,
                body=body,
                headers={"Content-Type": kind, "Accept-Encoding": "identity"},
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(total=self.timeout_s),
                preload_content=False,
            )
            try:
                return Answer(response.status, _kind(response.headers), _body(response, most, deadline))
            finally:
                # What is left unread is of no use, and neither is its connection.
                response.close()
        except (HTTPError, LocationParseError, OSError) as error:
            raise Unreachable(f"no answer from it: {type(error).__name__}") from error

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()


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


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").split(";", 1)[0].strip().lower()


def _body(response: urllib3.BaseHTTPResponse, most: int, deadline: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(min(_CHUNK, most + 1 - len(body))):
        body += chunk
        if len(body) > most:
            raise Unreachable(f"its answer is longer than {most} bytes")
        if time.monotonic() > deadline:
            raise Unreachable("its answer took too long")
    return bytes(body)
