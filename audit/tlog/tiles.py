"""Tile coordinates, their paths, and entry bundles (C2SP tlog-tiles).

A tile holds up to 256 consecutive hashes of one level; each hash of level L + 1 is the root of a full tile of
level L. A tile only ever grows, so the partial tile of any earlier tree size is a prefix of the present one.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from audit.tlog.errors import TileError
from audit.tlog.merkle import HASH_SIZE, MAX_SIZE

TILE_WIDTH = 256
TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_LEVEL = 63
MAX_INDEX = MAX_SIZE // TILE_WIDTH
MAX_ENTRY_BYTES = 65_535

_PATH = re.compile(r"tile/(entries|\d{1,2})/((?:x\d{3}/){0,5}\d{3})(?:\.p/(\d{1,3}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """The place of a tile of hashes: level 0 to 63, index within the level, width 1 to 256 (256 is full).

    Raises:
        TileError: a number is out of range.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise TileError(f"tile level {self.level} is not between 0 and {MAX_LEVEL}")
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """The path below the log's prefix, such as `tile/0/x001/x234/067.p/8`."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The place of a bundle of entries: index, width 1 to 256 (256 is full).

    Raises:
        TileError: a number is out of range.
    """

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """The path below the log's prefix, such as `tile/entries/x001/x234/067`."""
        return f"tile/entries/{_place(self.index, self.width)}"


def parse_path(path: str) -> Tile | Bundle:
    """Read the path of a tile or entry bundle, without a leading slash.

    Raises:
        TileError: not a canonical path.
    """
    match = _PATH.match(path)
    if not match:
        raise TileError("not a tile path: expected tile/<level or entries>/<index>[.p/<width>]")
    kind, groups, partial = match.groups()
    index = int(groups.replace("/", "").replace("x", ""))
    width = TILE_WIDTH if partial is None else int(partial)
    place = Bundle(index, width) if kind == "entries" else Tile(int(kind), index, width)
    # One resource has one address: a second spelling would be cached, signed or blocked separately.
    if place.path != path:
        raise TileError("not a canonical tile path: no needless zeroes, and no .p suffix on a full tile")
    return place


def tile_width(level: int, index: int, size: int) -> int:
    """How many hashes the tile holds in a tree of `size` leaves: 0 when it does not exist, 256 when full.

    The width of an entry bundle is that of the level 0 tile with the same index.
    """
    return max(0, min(TILE_WIDTH, (size >> 8 * level) - index * TILE_WIDTH))


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """The partial tiles of a tree of `size` leaves, at most one a level, lowest level first.

    They are all an append needs to read.

    Raises:
        TileError: the size is negative or over 2^63.
    """
    if not 0 <= size <= MAX_SIZE:
        raise TileError(f"a tree of {size} leaves is refused: 0 to 2^63 are possible")
    counts = [size >> bits for bits in range(0, size.bit_length(), 8)]
    return tuple(Tile(level, count >> 8, count & 255) for level, count in enumerate(counts) if count & 255)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Write an entry bundle: each entry after its length as a big-endian uint16.

    Args:
        entries: 1 to 256, each at most 65,535 bytes.

    Raises:
        TileError: too many entries, none, or one that is too long.
    """
    _check_width(len(entries))
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise TileError(f"an entry of a log is at most {MAX_ENTRY_BYTES} bytes")
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def decode_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """Read the first `width` entries of a bundle that holds at least that many.

    Args:
        data: the bundle; a wider one than asked for is accepted, for a partial bundle is its prefix.
        width: 1 to 256.

    Raises:
        TileError: too few entries, too many, or one that is cut off.
    """
    _check_width(width)
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        if len(entries) == TILE_WIDTH:
            raise TileError(f"an entry bundle holds at most {TILE_WIDTH} entries")
        if at + 2 > len(data):
            raise TileError("the entry bundle ends within a length")
        (length,) = struct.unpack_from(">H", data, at)
        at += 2 + length
        if at > len(data):
            raise TileError("the entry bundle ends within an entry")
        entries.append(data[at - length : at])
    if len(entries) < width:
        raise TileError(f"the entry bundle holds {len(entries)} entries where {width} are needed")
    return tuple(entries[:width])


def _check_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_INDEX:
        raise TileError(f"tile index {index} is not between 0 and 2^55")
    _check_width(width)


def _check_width(width: int) -> None:
    if not 1 <= width <= TILE_WIDTH:
        raise TileError(f"tile width {width} is not between 1 and {TILE_WIDTH}")


def _place(index: int, width: int) -> str:
    *upper, last = f"{index:,}".split(",")
    groups = [f"x{int(group):03}/" for group in upper]
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"{''.join(groups)}{int(last):03}{suffix}"
