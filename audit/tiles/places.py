"""Which resources a log of a given size consists of, and how their paths are read (C2SP tlog-tiles, APIs). No I/O."""

from collections.abc import Iterator
from typing import Final

from audit.tlog.errors import TileError
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile, edge_tiles, parse_path, tile_width

CHECKPOINT: Final = "checkpoint"

Place = Tile | Bundle


def parse_resource(path: str) -> Place | None:
    """Read the path of a resource below the log's prefix, without a leading slash; None is the checkpoint.

    Raises:
        TileError: not the one spelling of any resource.
    """
    return None if path == CHECKPOINT else parse_path(path)


def available_width(place: Place, size: int) -> int:
    """How wide the place is in a log of `size` entries: 0 when it does not exist, 256 when it is full."""
    level = place.level if isinstance(place, Tile) else 0
    return tile_width(level, place.index, size)


def hash_tiles(size: int) -> Iterator[Tile]:
    """The tiles of hashes of a log of `size` entries, lowest level first: the full ones and those at the edge.

    Raises:
        TileError: the size is negative or over 2^63.
    """
    edge = {tile.level: tile for tile in edge_tiles(size)}
    for level in range((size.bit_length() + 7) // 8):
        yield from (Tile(level, index) for index in range(size >> 8 * (level + 1)))
        if level in edge:
            yield edge[level]


def bundles(size: int) -> Iterator[Bundle]:
    """The entry bundles of a log of `size` entries; each is as wide as the tile of level 0 that it hashes to.

    Raises:
        TileError: the size is negative or over 2^63.
    """
    if size < 0:
        raise TileError("a log has no negative number of entries")
    full, rest = divmod(size, TILE_WIDTH)
    yield from (Bundle(index) for index in range(full))
    if rest:
        yield Bundle(full, rest)


def count(size: int, *, entries: bool) -> int:
    """How many tiles of hashes, and with `entries` bundles too, a log of `size` entries consists of."""
    rows = [size >> 8 * level for level in range((size.bit_length() + 7) // 8)]
    return sum(-(-row // TILE_WIDTH) for row in (*rows, *rows[: 1 if entries else 0]))
