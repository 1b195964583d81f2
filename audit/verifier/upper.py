"""The hashes of a tile log from its checkpoint downwards: each tile is vouched for by the one above it."""

from collections.abc import Iterator
from functools import lru_cache

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.errors import TileError
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of
from audit.tlog.tiles import TILE_WIDTH, Bundle, Tile, decode_bundle, edge_tiles
from audit.tlog.tree import Edge
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.leaves import tile_of
from audit.verifier.source import TileLog, read_place, read_places

_AT_HAND = 64


class Upper:
    """The authentic hashes of the log.

    Args:
        log: where its tiles come from.
        checkpoint: what the log signed.

    Raises:
        Damaged: a tile at the right edge is missing or altered; those vouch for all others.
    """

    def __init__(self, log: TileLog, checkpoint: Checkpoint) -> None:
        self._log = log
        self._size = checkpoint.size
        self.edge = self._load_edge(checkpoint)
        self._tile = lru_cache(_AT_HAND)(self._read_tile)

    def hashes(self, level: int, begin: int, end: int) -> Iterator[bytes]:
        """The hashes `begin` to `end` of a level, each once it is vouched for. Raises Damaged."""
        for position in range(begin, end):
            index, at = divmod(position, TILE_WIDTH)
            yield self._tile(level, index)[at * HASH_SIZE : (at + 1) * HASH_SIZE]

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, full or at the edge. Raises Damaged."""
        return self._tile(level, index)

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """The same: this is a `TileReader`."""
        return self._tile(level, index)

    def _read_tile(self, level: int, index: int) -> bytes:
        if index == self._size >> 8 * (level + 1):
            return self.edge.tiles[level]
        place = Tile(level, index)
        hashes = _stored(self._log, place)
        if root_of(hashes) != next(self.hashes(level + 1, index, index + 1)):
            raise Damaged(DamageKind.TILE, place.path, "it does not hold what the tile above it vouches for")
        return hashes

    def _load_edge(self, checkpoint: Checkpoint) -> Edge:
        places = edge_tiles(self._size)
        stored = {place.level: _stored(self._log, place) for place in places}
        edge = Edge.load(self._size, _Tiles(stored))
        if edge.root == checkpoint.root:
            return edge
        # One of them is not what was signed: the one whose place what lies below it takes, so that the root is.
        rebuilt = {place.level: self._rebuild(place) for place in places}
        for place in places:
            candidate = {**stored, place.level: rebuilt[place.level] or stored[place.level]}
            if Edge.load(self._size, _Tiles(candidate)).root == checkpoint.root:
                raise _altered(place)
        for place in places:
            if rebuilt[place.level] != stored[place.level]:
                raise _altered(place)
        words = "the log signed it for other records than these"
        raise Damaged(DamageKind.CHECKPOINT, "checkpoint", words)

    def _rebuild(self, place: Tile) -> bytes | None:
        """The hashes of a tile as what lies below it gives them."""
        if place.level == 0:
            data = read_place(self._log, Bundle(place.index, place.width))
            try:
                return b"".join(map(hash_leaf, decode_bundle(data or b"", place.width)))
            except TileError:
                return None
        first = place.index * TILE_WIDTH
        below: list[Tile | Bundle] = [Tile(place.level - 1, first + n) for n in range(place.width)]
        found = [data or b"" for data, _ in read_places(self._log, below)]
        return b"".join(map(root_of, found))


class _Tiles:
    """The tiles of an edge, a `TileReader`."""

    def __init__(self, tiles: dict[int, bytes]) -> None:
        self._tiles = tiles

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the edge tile of the level."""
        return self._tiles[level]


def _stored(log: TileLog, place: Tile) -> bytes:
    ((data, exact),) = read_places(log, [place])
    return tile_of(data, place, exact=exact)


def _altered(place: Tile) -> Damaged:
    words = "it does not hold the hashes of what lies below it, and does not lead to the checkpoint"
    return Damaged(DamageKind.TILE, place.path, words)
