"""The tiled tree: appends in any split, roots and proofs for every size, and what it reads."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from audit.tlog.errors import ProofError, TileError
from audit.tlog.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    hash_leaf,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_range,
)
from audit.tlog.tiles import edge_tiles, tile_width
from audit.tlog.tree import Edge, Tree, append


class Store:
    """Tiles in memory, as a table of rows that only grow; it counts what is read."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int, int]] = []

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        self.reads.append((level, index, width))
        return self.rows.get((level, index), b"")[: width * 32]

    def grow(self, batch: Sequence[bytes], size: int) -> bytes:
        root, tiles = append(batch, size, self)
        for place, row in tiles.items():
            assert row.startswith(self.rows.get(place, b"")), "a tile only ever grows"
            assert row != self.rows.get(place), "only changed tiles are reported"
            self.rows[place] = row
        return root


LEAVES = [hash_leaf(b"%d" % i) for i in range(70_000)]


@pytest.fixture(scope="module")
def big() -> Store:
    store = Store()
    store.grow(LEAVES, 0)
    return store


def batches(leaves: Sequence[bytes], cuts: Sequence[int]) -> list[Sequence[bytes]]:
    edges = [0, *sorted(cuts), len(leaves)]
    return [leaves[a:b] for a, b in pairwise(edges)]


def test_the_specification_example_of_70000_entries(big: Store) -> None:
    widths = {place: len(row) // 32 for place, row in big.rows.items()}
    expected = {(0, i): 256 for i in range(273)} | {(0, 273): 112, (1, 0): 256, (1, 1): 17, (2, 0): 1}
    assert widths == expected
    assert big.rows[1, 0][:32] == root_of(big.rows[0, 0])
    assert big.rows[2, 0] == root_of(big.rows[1, 0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1500), st.data())
def test_any_split_into_batches_gives_the_same_root_and_tiles(size: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, size), max_size=12))
    whole, split, held, done = Store(), Store(), Edge.empty(), 0
    root = whole.grow(LEAVES[:size], 0)
    for batch in batches(LEAVES[:size], cuts):
        split_root = split.grow(batch, done)
        growth = held.append(batch)
        held, done = growth.edge, done + len(batch)
        assert growth.root == split_root == held.root == root_of(b"".join(LEAVES[:done]))
        assert Edge.load(done, split) == held
    assert (split.rows, held.root) == (whole.rows, root)
    assert all(len(row) // 32 == tile_width(*place, size) for place, row in whole.rows.items())


@pytest.mark.parametrize("start", [65_279, 65_535, 65_536])
def test_leaf_by_leaf_across_the_tile_boundaries(start: int, big: Store) -> None:
    edge = Edge.load(start, big)
    for size in range(start, start + 260):
        edge = edge.append([LEAVES[size]]).edge
        assert edge == Edge.load(size + 1, big)
    assert edge.root == root_of(b"".join(LEAVES[: start + 260]))


def test_the_empty_tree() -> None:
    assert Edge.empty().root == Tree(Store()).root(0) == EMPTY_ROOT
    assert Edge.load(0, Store()) == Edge.empty()
    assert append([], 0, Store()) == (EMPTY_ROOT, {})


def test_an_append_reads_only_the_right_edge(big: Store) -> None:
    big.reads.clear()
    append([hash_leaf(b"next")], 70_000, big)
    assert big.reads == [(tile.level, tile.index, tile.width) for tile in edge_tiles(70_000)]


def test_a_held_edge_appends_to_a_tree_of_almost_2_to_the_63() -> None:
    size = MAX_SIZE - 2
    tiles = tuple(bytes(32) * ((size >> 8 * level) & 255) for level in range(8))
    peaks = tuple(bytes(32) if size >> bit & 1 else b"" for bit in range(63))
    full = Edge(size, tiles, peaks).append(LEAVES[:2])
    assert full.edge.size == MAX_SIZE
    assert full.edge.peaks[63] == full.root
    assert [place[0] for place in full.tiles] == list(range(8))
    with pytest.raises(TileError, match="at most 2\\^63"):
        full.edge.append(LEAVES[:1])


def test_a_leaf_hash_of_another_length_is_refused() -> None:
    for bad in (b"", bytes(31), bytes(33)):
        with pytest.raises(TileError, match="32 bytes"):
            Edge.empty().append([LEAVES[0], bad])
    with pytest.raises(TileError):
        Edge.empty().append([bytes(31), bytes(33)])


def test_a_missing_or_short_tile_stops_an_append(big: Store) -> None:
    for place in ((0, 273), (1, 1), (2, 0)):
        broken = Store()
        broken.rows = big.rows | {place: big.rows[place][:-1]}
        with pytest.raises(TileError, match="hashes are needed"):
            append([LEAVES[0]], 70_000, broken)
        with pytest.raises(TileError):
            Tree(broken).root(70_000)
    with pytest.raises(TileError):
        Edge.load(-1, big)
    with pytest.raises(TileError):
        Tree(big).root(-1)


def test_a_reader_may_return_more_than_was_asked(big: Store) -> None:
    class Generous(Store):
        def read_tile(self, level: int, index: int, width: int) -> bytes:
            return self.rows[level, index]

    generous = Generous()
    generous.rows = big.rows
    for size in (1, 255, 300, 65_536, 69_999):
        assert Edge.load(size, generous) == Edge.load(size, big)
        assert Tree(generous).root(size) == Tree(big).root(size)


def test_the_tree_of_every_earlier_size_is_still_there(big: Store) -> None:
    tree = Tree(big)
    for size in (1, 2, 255, 256, 257, 511, 4096, 65_535, 65_536, 65_537, 69_999, 70_000):
        assert tree.root(size) == root_of(b"".join(LEAVES[:size]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70_000), st.data())
def test_every_proof_verifies(big: Store, size: int, data: st.DataObject) -> None:
    tree, root = Tree(big), Tree(big).root(size)
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index, size)
    verify_inclusion(index, size, leaf_hash=LEAVES[index], proof=proof, root=root)
    old = index + 1
    proof = tree.consistency_proof(old, size)
    verify_consistency(old, size, old_root=tree.root(old), new_root=root, proof=proof)
    end = data.draw(st.integers(index + 1, min(size, index + 600)))
    proof = tree.range_proof(index, end, size)
    verify_range(index, size, leaf_hashes=LEAVES[index:end], proof=proof, root=root)


def test_all_proofs_of_small_trees_verify_and_match_an_independent_implementation(big: Store) -> None:
    tree, peer = Tree(big), InmemoryTree(algorithm="sha256")
    for size in range(1, 34):
        peer.append_entry(b"%d" % (size - 1))
        root = tree.root(size)
        assert root == peer.get_root(size)
        for index in range(size):
            proof = tree.inclusion_proof(index, size)
            assert [LEAVES[index], *proof] == peer.prove_inclusion(index + 1, size).path
            verify_inclusion(index, size, leaf_hash=LEAVES[index], proof=proof, root=root)
            proof = tree.consistency_proof(index + 1, size)
            old_root = tree.root(index + 1)
            verify_consistency(index + 1, size, old_root=old_root, new_root=root, proof=proof)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70_000), st.integers(0, 255), st.data())
def test_any_flipped_bit_in_a_tile_is_found_by_the_proof(
    big: Store, size: int, bit: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, place = Tree(big).root(size), (0, index // 256)
    at = 32 * data.draw(st.integers(0, tile_width(*place, size) - 1))
    row = bytearray(big.rows[place])
    row[at + bit // 8] ^= 1 << bit % 8
    tampered = Store()
    tampered.rows = big.rows | {place: bytes(row)}
    leaf = bytes(row)[index % 256 * 32 :][:32]
    with pytest.raises(ProofError):
        proof = Tree(tampered).inclusion_proof(index, size)
        verify_inclusion(index, size, leaf_hash=leaf, proof=proof, root=root)


def test_proofs_about_impossible_sizes_are_refused(big: Store) -> None:
    tree = Tree(big)
    for old, new in ((0, 1), (2, 1), (-1, 1), (1, MAX_SIZE + 1)):
        with pytest.raises(ProofError):
            tree.consistency_proof(old, new)
    for index, size in ((0, 0), (1, 1), (-1, 1)):
        with pytest.raises(ProofError):
            tree.inclusion_proof(index, size)
    with pytest.raises(TileError):
        tree.inclusion_proof(0, 70_001)


def test_a_proof_reads_each_tile_once(big: Store) -> None:
    big.reads.clear()
    Tree(big).inclusion_proof(12_345, 70_000)
    assert len(big.reads) == len(set(big.reads)) <= 6
