"""A Merkle tree kept as C2SP tiles in any storage: append at the right edge, roots and proofs for any size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self

from audit.tlog.errors import ProofError, TileError
from audit.tlog.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    MAX_SIZE,
    hash_node,
    hash_pairs,
    range_gaps,
    root_of,
    split_point,
)
from audit.tlog.tiles import TILE_BYTES, edge_tiles, tile_width

TileRows = Mapping[tuple[int, int], bytes]
"""Tile contents by (level, index)."""


class TileReader(Protocol):
    """Where tiles come from."""

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return the tile's first `width` hashes, or more of it.

        Raises:
            TileError: there is no such tile, or it is narrower.
        """


@dataclass(frozen=True, slots=True)
class Edge:
    """All that an append needs to know of a tree. Hold it between appends, or load it from the edge tiles.

    An edge is a plain function of the tree's first `size` leaves: one that is held may be used only while the
    stored size still equals `size`.

    Attributes:
        size: number of leaves.
        tiles: by level, the partial tile at the right edge (0 to 255 hashes).
        peaks: at position b the root of the complete subtree of 2^b leaves at the right edge where bit b of
            the size is set, else empty.
    """

    size: int
    tiles: tuple[bytes, ...]
    peaks: tuple[bytes, ...]

    @classmethod
    def empty(cls) -> Self:
        """The edge of the tree without leaves."""
        return cls(0, (), ())

    @classmethod
    def load(cls, size: int, reader: TileReader) -> Self:
        """Read the edge of the tree of `size` leaves: at most one tile a level.

        The tiles are taken as they are. MUST be compared with the root of a verified checkpoint of this size
        (`edge.root`) before anything is appended that will be signed.

        Raises:
            TileError: a tile is missing or too short.
        """
        levels = (size.bit_length() + 7) // 8
        tiles, peaks = [b""] * levels, [b""] * (8 * levels)
        for tile in edge_tiles(size):
            row = tiles[tile.level] = _read(reader, tile.level, tile.index, width=tile.width)
            for bit in range(7, -1, -1):
                if tile.width >> bit & 1:
                    peaks[8 * tile.level + bit] = root_of(row[: HASH_SIZE << bit])
                    row = row[HASH_SIZE << bit :]
        return cls(size, tuple(tiles), tuple(peaks[: size.bit_length()]))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        peaks = [peak for peak in self.peaks if peak]
        return reduce(lambda lower, upper: hash_node(upper, lower), peaks) if peaks else EMPTY_ROOT

    def append(self, leaf_hashes: Sequence[bytes]) -> "Growth":
        """Add leaves at the right: about one hash a leaf and one a level, whatever the size.

        Args:
            leaf_hashes: 32 bytes each.

        Raises:
            TileError: a leaf hash of another length, or a tree that would pass 2^63 leaves.
        """
        if not set(map(len, leaf_hashes)) <= {HASH_SIZE}:
            raise TileError("a leaf hash must be exactly 32 bytes")
        if self.size + len(leaf_hashes) > MAX_SIZE:
            raise TileError("a log holds at most 2^63 entries")
        row, bit = b"".join(leaf_hashes), 0
        tiles, peaks = list(self.tiles), list(self.peaks)
        changed: dict[tuple[int, int], bytes] = {}
        while row:
            if bit % 8 == 0:
                _extend_tiles(tiles, changed, row, first=(bit // 8, self.size >> bit))
            if bit == len(peaks):
                peaks.append(b"")
            row = peaks[bit] + row
            peaks[bit] = row[-HASH_SIZE:] if len(row) & HASH_SIZE else b""
            row = hash_pairs(row)
            bit += 1
        edge = Edge(self.size + len(leaf_hashes), tuple(tiles), tuple(peaks))
        return Growth(edge, edge.root, changed)


@dataclass(frozen=True, slots=True)
class Growth:
    """What an append changed.

    Attributes:
        edge: the new edge.
        root: its root, 32 bytes.
        tiles: every tile that is new or longer, with its whole content (at most 8,192 bytes).
    """

    edge: Edge
    root: bytes
    tiles: TileRows


def append(leaf_hashes: Sequence[bytes], size: int, reader: TileReader) -> tuple[bytes, TileRows]:
    """Append to a stored tree of `size` leaves whose edge is not held; returns the new root and changed tiles.

    Raises:
        TileError: an edge tile is missing or too short, or as `Edge.append`.
    """
    growth = Edge.load(size, reader).append(leaf_hashes)
    return growth.root, growth.tiles


@dataclass(frozen=True, slots=True)
class Tree:
    """Roots and proofs for any size up to the stored one, computed from the tiles that `reader` returns.

    Each method raises TileError when a tile is missing or too short. The tiles are not verified here: whoever
    receives a proof verifies it against a signed checkpoint (`audit.tlog.merkle`).
    """

    reader: TileReader

    def root(self, size: int) -> bytes:
        """The root of the first `size` leaves."""
        if not 0 <= size <= MAX_SIZE:
            raise TileError(f"a tree of {size} leaves is refused: 0 to 2^63 are possible")
        return _Nodes(self.reader, size).subtree(0, size)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of `size` leaves, leaf sibling first (RFC 6962 2.1.1).

        Raises:
            ProofError: the leaf is not in the tree.
        """
        if not 0 <= index < size <= MAX_SIZE:
            raise ProofError(f"leaf {index} is not in a tree of {size} leaves (at most 2^63)")
        nodes = _Nodes(self.reader, size)
        return [nodes.subtree(*sibling) for sibling, _ in reversed(list(_descent(index, size)))]

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """The proof that the tree of `new_size` extends that of `old_size` (RFC 6962 section 2.1.2).

        Raises:
            ProofError: the old size is 0 or over the new one.
        """
        if not 0 < old_size <= new_size <= MAX_SIZE:
            raise ProofError(f"there is no consistency proof from size {old_size} to size {new_size}")
        nodes = _Nodes(self.reader, new_size)
        # Down to the largest complete subtree that ends at the old size. One that starts at 0 is the old tree
        # itself, whose root the verifier already has.
        proof, start = list[bytes](), (0, new_size)
        for sibling, here in _descent(old_size - 1, new_size):
            if start[1] == old_size:
                break
            proof.append(nodes.subtree(*sibling))
            start = here
        return [*([nodes.subtree(*start)] if start[0] else []), *reversed(proof)]

    def range_proof(self, begin: int, end: int, size: int) -> list[bytes]:
        """The hashes that complete the leaves `[begin, end)` to the root, for `merkle.verify_range`.

        Raises:
            ProofError: the range is empty or lies outside the tree.
        """
        nodes = _Nodes(self.reader, size)
        return [nodes.subtree(*gap) for gap in range_gaps(begin, end, size)]


class _Nodes:
    """The inner nodes of one tree, each tile read once."""

    def __init__(self, reader: TileReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._rows: dict[tuple[int, int], bytes] = {}

    def subtree(self, low: int, high: int) -> bytes:
        """The hash over the leaves `[low, high)`, one of the tree's own subtrees."""
        peaks: list[bytes] = []
        for bit in range((high - low).bit_length() - 1, -1, -1):
            if high - low >> bit & 1:
                peaks.append(self._complete(bit, low >> bit))
                low += 1 << bit
        return reduce(lambda lower, upper: hash_node(upper, lower), reversed(peaks)) if peaks else EMPTY_ROOT

    def _complete(self, bit: int, index: int) -> bytes:
        level, height = divmod(bit, 8)
        tile, offset = divmod(index << height, 256)
        row = self._row(level, tile)
        return root_of(row[offset * HASH_SIZE : (offset + (1 << height)) * HASH_SIZE])

    def _row(self, level: int, index: int) -> bytes:
        if (level, index) not in self._rows:
            width = tile_width(level, index, self._size)
            self._rows[level, index] = _read(self._reader, level, index, width=width)
        return self._rows[level, index]


def _descent(index: int, size: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The subtrees from below the root down to a leaf: at each step the one passed by and the one entered."""
    low, high = 0, size
    while high - low > 1:
        middle = low + split_point(high - low)
        left, right = (low, middle), (middle, high)
        passed, (low, high) = (right, left) if index < middle else (left, right)
        yield passed, (low, high)


def _extend_tiles(
    tiles: list[bytes], changed: dict[tuple[int, int], bytes], row: bytes, *, first: tuple[int, int]
) -> None:
    level, position = first
    if level == len(tiles):
        tiles.append(b"")
    data, index = tiles[level] + row, position >> 8
    for at in range(0, len(data), TILE_BYTES):
        changed[level, index + at // TILE_BYTES] = data[at : at + TILE_BYTES]
    tiles[level] = data[len(data) // TILE_BYTES * TILE_BYTES :]


def _read(reader: TileReader, level: int, index: int, *, width: int) -> bytes:
    row = reader.read_tile(level, index, width)
    if len(row) < width * HASH_SIZE:
        raise TileError(
            f"tile {index} of level {level} holds {len(row)} bytes where {width} hashes are needed"
        )
    return row[: width * HASH_SIZE]
