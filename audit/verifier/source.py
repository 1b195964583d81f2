"""Where the resources of a tile log come from: a folder of files, or a server. Nothing that they say is trusted."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.tiles import MAX_ENTRY_BYTES, TILE_BYTES, TILE_WIDTH, Bundle, Tile

_MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 3
_AT_ONCE: Final = 8
"""How many requests one process has under way: the answers of a far server take their time."""

Place = Tile | Bundle


class SourceUnavailable(OSError):
    """A server cannot be reached, or does not answer as a tile server would."""


class TileLog(Protocol):
    """The resources of a log. It can be sent to another process."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a resource, at most a byte more than `limit`; None when there is none."""

    def read_all(self, paths: list[str], limit: int) -> Iterator[bytes | None]:
        """The same of several, in order."""

    def has_entries(self, first: Bundle, last: Bundle) -> bool:
        """Whether this log comes with its entries, of which these are the first and the last bundle."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder such as `isthmus audit export-tiles` writes."""

    root: Path

    def read(self, path: str, limit: int) -> bytes | None:
        """As `TileLog.read`."""
        file = self.root / path
        if not file.is_file():
            return None
        with file.open("rb") as opened:
            return opened.read(limit + 1)

    def read_all(self, paths: list[str], limit: int) -> Iterator[bytes | None]:
        """As `TileLog.read_all`."""
        return (self.read(path, limit) for path in paths)

    def has_entries(self, first: Bundle, last: Bundle) -> bool:
        """As `TileLog.has_entries`: an empty folder is one from which they were taken."""
        return (self.root / "tile" / "entries").is_dir()

    def names(self) -> Iterator[str]:
        """The path of every file below `tile/`, sorted; hidden files are nobody's."""
        for file in sorted((self.root / "tile").rglob("*")):
            if not file.is_dir() and not file.name.startswith("."):
                yield file.relative_to(self.root).as_posix()


@dataclass(frozen=True, slots=True)
class Server:
    """A tile server. `prefix` is its http or https address; certificates are checked, and redirects are not followed.

    Raises:
        ValueError: an address of another form, or one with a password in it.
    """

    prefix: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.prefix)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(
                "the address of a tile server is http:// or https://, a host, and a path if need be"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError("a log is public to whoever may verify it: give its address without a password")

    def read(self, path: str, limit: int) -> bytes | None:
        """As `TileLog.read`. Raises SourceUnavailable."""
        url = f"{self.prefix.rstrip('/')}/{path}"
        for again in range(_TRIES):
            try:
                return _get(url, limit)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise SourceUnavailable(
                        f"{url} was answered with HTTP {error.code} {error.reason}"
                    ) from error
                failure: Exception = error
            except (OSError, http.client.HTTPException) as error:
                failure = error
            if again + 1 < _TRIES:
                time.sleep(0.25 * 4**again)
        raise SourceUnavailable(f"{url} cannot be read: {failure}") from failure

    def read_all(self, paths: list[str], limit: int) -> Iterator[bytes | None]:
        """As `TileLog.read_all`."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(lambda path: self.read(path, limit), paths)

    def has_entries(self, first: Bundle, last: Bundle) -> bool:
        """As `TileLog.has_entries`."""
        return any(read_place(self, bundle) is not None for bundle in (first, last))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Leave the redirect as the answer that it is."""


def _get(url: str, limit: int) -> bytes | None:
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise SourceUnavailable(f"{url} came compressed, which was not asked for")
            data: bytes = response.read(limit + 1)
            return data
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            return None
        raise


def open_source(location: str) -> Folder | Server:
    """The source of a location: an address, or a folder.

    Raises:
        ValueError: an address of another form.
    """
    return Server(location) if "://" in location else Folder(Path(location))


def read_checkpoint(log: TileLog) -> bytes | None:
    """The log's newest checkpoint."""
    return log.read("checkpoint", MAX_NOTE_BYTES)


def read_places(log: TileLog, places: list[Place]) -> Iterator[tuple[bytes | None, bool]]:
    """What is stored at tiles or bundles, and whether it is of the width asked for, or of a full one instead.

    A partial resource may be gone once the full one is there (C2SP tlog-tiles, Partial Tiles).
    """
    limit = _MAX_BUNDLE_BYTES if any(isinstance(place, Bundle) for place in places) else TILE_BYTES
    found = log.read_all([place.path for place in places], limit)
    for place, data in zip(places, found, strict=True):
        if data is None and place.width < TILE_WIDTH:
            whole = Bundle(place.index) if isinstance(place, Bundle) else Tile(place.level, place.index)
            yield log.read(whole.path, limit), False
        else:
            yield data, True


def read_place(log: TileLog, place: Place) -> bytes | None:
    """What is stored at one place, or in its full width. As `read_places`."""
    return next(read_places(log, [place]))[0]
