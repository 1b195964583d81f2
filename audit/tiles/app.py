"""The HTTP answers of a tiled log (C2SP tlog-tiles) as a WSGI application: GET and HEAD, nothing else."""

import gzip
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.errors import LedgerRefused, LedgerUnavailable
from audit.tiles.places import Place, parse_resource
from audit.tiles.source import NotPublished, TileSource
from audit.tlog.errors import TileError
from audit.tlog.tiles import Bundle
from isthmus.log import logger

Snapshots = Callable[[], AbstractContextManager[sa.Connection]]

_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_NEVER: Final = "no-store"
_HASHES: Final = "public, max-age=31536000, immutable"
# Entries are the records themselves: a shared cache would hand them to whoever comes next.
_ENTRIES: Final = "private, max-age=31536000, immutable"
_GZIP: Final = re.compile(
    r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)", re.IGNORECASE
)
_GZIP_LEVEL: Final = 6
_NO_ENTRIES: Final = (
    "entries are the records themselves and are not published here; an auditor reads them from an address with "
    "entries = true, or with isthmus audit export-tiles"
)
READ_DEADLINE_S: Final = 5.0
"""How long a statement for one answer may take, for whoever opens the snapshots."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status line, headers and body."""

    status: str
    body: bytes
    kind: str = _TEXT
    cache: str = _NEVER
    more: tuple[tuple[str, str], ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """All headers, the length of the body included."""
        return [
            ("Content-Type", self.kind),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", self.cache),
            ("X-Content-Type-Options", "nosniff"),
            *self.more,
        ]


class TileApp:
    """Answers for the log of one ledger.

    Checkpoint and hashes are for everybody. Entries hold every record of every department, so they are answered
    only when `entries` says so, on an address that only auditors reach.

    Args:
        snapshots: opens a snapshot of the ledger, for reading.
        entries: whether entry bundles are published.
    """

    def __init__(self, snapshots: Snapshots, *, entries: bool) -> None:
        self._snapshots = snapshots
        self._entries = entries

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = self.answer(
            environ["REQUEST_METHOD"], environ["REQUEST_URI"], environ.get("HTTP_ACCEPT_ENCODING", "")
        )
        start_response(answer.status, answer.headers())
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def answer(self, method: str, target: str, accept_encoding: str = "") -> Answer:
        """The answer to one request.

        Args:
            method: such as GET.
            target: the request target as it was sent, not decoded: each resource has one spelling.
            accept_encoding: the header of that name.
        """
        if method not in ("GET", "HEAD"):
            return _refusal(
                "405 Method Not Allowed", "this log is only read: use GET or HEAD", ("Allow", "GET, HEAD")
            )
        try:
            place = parse_resource(target[1:] if target.startswith("/") else "")
            if isinstance(place, Bundle) and not self._entries:
                return _refusal("403 Forbidden", _NO_ENTRIES)
            return self._found(place, accept_encoding)
        except TileError as error:
            return _refusal("404 Not Found", f"no such resource: {error}; there are /checkpoint and /tile/…")
        except NotPublished as error:
            return _refusal("404 Not Found", str(error))
        except LedgerRefused as error:
            # Why is for the operator: it can name files of this machine.
            logger("audit.tiles").error("not served", problem=str(error))
            return _refusal(
                "500 Internal Server Error", "the log cannot be read; its operator must look at it"
            )
        except LedgerUnavailable:
            return _refusal(
                "503 Service Unavailable", "the log cannot be read now; try again", ("Retry-After", "1")
            )

    def _found(self, place: Place | None, accept_encoding: str) -> Answer:
        with self._snapshots() as connection:
            source = TileSource(connection)
            if place is None:
                return Answer("200 OK", source.checkpoint)
            data = source.read(place)
        if isinstance(place, Bundle):
            return _compressed(data, accept_encoding)
        return Answer("200 OK", data, _BYTES, _HASHES)


def _compressed(data: bytes, accept_encoding: str) -> Answer:
    vary = ("Vary", "Accept-Encoding")
    if not _GZIP.search(accept_encoding):
        return Answer("200 OK", data, _BYTES, _ENTRIES, (vary,))
    packed = gzip.compress(data, _GZIP_LEVEL, mtime=0)
    return Answer("200 OK", packed, _BYTES, _ENTRIES, (vary, ("Content-Encoding", "gzip")))


def _refusal(status: str, words: str, *more: tuple[str, str]) -> Answer:
    return Answer(status, f"{words}\n".encode(), more=more)
