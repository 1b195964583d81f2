"""RFC 6962 hashing and proof verification: published vectors, an independent peer, and every forgery we know."""

import base64
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from audit.tlog.errors import ProofError
from audit.tlog.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    hash_leaf,
    hash_node,
    range_gaps,
    root_from_inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_range,
)
from tests.unit.audit.rfc6962_vectors import CONSISTENCY, INCLUSION, LEAVES, ROOTS

SOME_HASH = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")


# The recursive definitions of RFC 6962, written down literally and slowly, as the reference.


def mth(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return hash_node(mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], complete: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = _split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def _split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def hashes(n: int) -> list[bytes]:
    return [hash_leaf(b"%d" % i) for i in range(n)]


def flip(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ (1 << bit)).to_bytes(len(data), "big")


def corruptions(proof: list[bytes], root: bytes) -> list[list[bytes]]:
    flips = [[*proof[:i], flip(h, 8 * i % 256), *proof[i + 1 :]] for i, h in enumerate(proof)]
    drops = [proof[:i] + proof[i + 1 :] for i in range(len(proof))]
    swaps = [[*proof[:i], proof[i + 1], proof[i], *proof[i + 2 :]] for i in range(len(proof) - 1)]
    grown = [[*proof, b""], [*proof, root], [b"", *proof], [root, *proof], [*proof, SOME_HASH]]
    cut = [[*proof[:-1], proof[-1][:31]]] if proof else []
    return flips + drops + swaps + grown + cut


def test_published_hash_vectors() -> None:
    # transparency-dev/merkle, rfc6962/rfc6962_test.go (Apache-2.0)
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hash_leaf(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert hash_leaf(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    node = hash_node(b"N123", b"N456").hex()
    assert node == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


def test_leaf_cannot_pose_as_an_inner_node() -> None:
    left, right = hash_leaf(b"Hello"), hash_leaf(b"World")
    assert hash_node(left, right) != hash_leaf(left + right)
    assert hash_node(left, right) != hash_node(right, left)


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    assert root_of(b"".join(map(hash_leaf, LEAVES[:size]))) == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_published_inclusion_proofs_and_their_forgeries(index: int, size: int, proof: list[str]) -> None:
    good, root, leaf = [bytes.fromhex(h) for h in proof], ROOTS[size - 1], hash_leaf(LEAVES[index])
    verify_inclusion(index, size, leaf_hash=leaf, proof=good, root=root)
    forgeries = [(i, s, leaf, good, root) for i, s in _wrong_places(index, size)]
    forgeries += [(index, size, leaf, bad, root) for bad in corruptions(good, root)]
    forgeries += [(index, size, leaf, good, bad) for bad in (EMPTY_ROOT, SOME_HASH, b"", root[:31])]
    forgeries += [(index, size, bad, good, root) for bad in (b"WrongLeaf", b"", SOME_HASH, flip(leaf, 7))]
    for i, s, bad_leaf, bad_proof, bad_root in forgeries:
        with pytest.raises(ProofError):
            verify_inclusion(i, s, leaf_hash=bad_leaf, proof=bad_proof, root=bad_root)


def _wrong_places(index: int, size: int) -> list[tuple[int, int]]:
    indexes = (index - 1, index + 1, index ^ 2, 2**64 - 1)
    return [*((i, size) for i in indexes), (index, size * 2), (index, size // 2), (index, -size)]


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_published_consistency_proofs_and_their_forgeries(old: int, new: int, proof: list[str]) -> None:
    good, root1, root2 = [bytes.fromhex(h) for h in proof], ROOTS[old - 1], ROOTS[new - 1]
    verify_consistency(old, new, old_root=root1, new_root=root2, proof=good)
    for bad in corruptions(good, root1) + corruptions(good, root2):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=root1, new_root=root2, proof=bad)
    for bad1, bad2 in ((b"WrongRoot", root2), (root1, b"WrongRoot"), (flip(root1, 0), root2)):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=bad1, new_root=bad2, proof=good)
    if old != new:
        for size1, size2 in ((old - 1, new), (old + 1, new), (old ^ 2, new), (old, new * 2), (old, new // 2)):
            with pytest.raises(ProofError):
                verify_consistency(size1, size2, old_root=root1, new_root=root2, proof=good)
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=root2, new_root=root1, proof=good)


def test_published_vectors_in_base64() -> None:
    # transparency-dev/merkle, testdata/inclusion/3/happy-path.json and testdata/inclusion/0/leafIdx---1.json
    root = base64.b64decode("rra8/idLcKFPsGel5VeCZNsPqbUa9eC6FZFY8yngbnc=")
    leaf = base64.b64decode("ApjRIpBtz8EIkstTpzmS/FufST6kybrbJ7eRtBJ6f+c=")
    proof = [base64.b64decode("+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=")]
    verify_inclusion(2, 3, leaf_hash=leaf, proof=proof, root=root)
    single = base64.b64decode("bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=")
    with pytest.raises(ProofError):
        verify_inclusion(18446744073709551615, 1, leaf_hash=single, proof=[], root=single)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 0), (2, 1), (-1, 1), (0, MAX_SIZE + 1)])
def test_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="cannot be in a tree"):
        verify_inclusion(index, size, leaf_hash=SOME_HASH, proof=[], root=SOME_HASH)


def test_hashes_of_other_lengths_are_refused_even_where_they_would_add_up() -> None:
    left, right = hashes(2)
    moved, root = [left[:31], left[31:] + right], hash_node(left, right)
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(0, 2, leaf_hash=moved[0], proof=moved[1:], root=root)
    with pytest.raises(ProofError, match="32 bytes"):
        verify_range(0, 2, leaf_hashes=moved, proof=[], root=root)
    with pytest.raises(ProofError, match="32 bytes"):
        verify_range(0, 1, leaf_hashes=[b""], proof=[], root=EMPTY_ROOT)
    # inclusion/single-entry/empty-root-and-leaf.json
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(0, 1, leaf_hash=b"", proof=[], root=b"")
    # consistency/additional/sizes-are-equal-one-and-proof-is-empty.json accepts these roots; we do not.
    with pytest.raises(ProofError, match="32 bytes"):
        verify_consistency(1, 1, old_root=b"don't car", new_root=b"don't car", proof=[])


def test_consistency_of_trees_without_a_story() -> None:
    def check(old: int, new: int, root1: bytes, root2: bytes, proof: list[bytes] | None = None) -> None:
        verify_consistency(old, new, old_root=root1, new_root=root2, proof=proof or [])

    check(0, 0, EMPTY_ROOT, EMPTY_ROOT)
    check(1, 1, SOME_HASH, SOME_HASH)
    for refused in (
        (0, 0, SOME_HASH, SOME_HASH),  # the empty tree has one root only
        (0, 1, EMPTY_ROOT, SOME_HASH),  # additional/size1-is-zero-and-size2-is-not-zero.json
        (1, 0, SOME_HASH, EMPTY_ROOT),  # back in time
        (2, 1, SOME_HASH, SOME_HASH),
        (1, 1, SOME_HASH, EMPTY_ROOT),  # split view
        (1, 2, SOME_HASH, SOME_HASH),
        (1, 1, SOME_HASH, SOME_HASH, [SOME_HASH]),  # needless proof
        (0, 1, EMPTY_ROOT, EMPTY_ROOT, [SOME_HASH]),
        (1, MAX_SIZE + 1, SOME_HASH, SOME_HASH),
    ):
        with pytest.raises(ProofError):
            check(*refused)


@pytest.mark.parametrize("size", [*range(1, 40), 70, 127, 128, 129])
def test_an_independent_implementation_agrees(size: int) -> None:
    peer = InmemoryTree(algorithm="sha256")
    entries = [b"entry %d" % i for i in range(size)]
    for entry in entries:
        peer.append_entry(entry)
    root = root_of(b"".join(map(hash_leaf, entries)))
    assert root == peer.get_root(size)
    for index in {0, size // 3, size // 2, size - 1}:
        leaf, *proof = peer.prove_inclusion(index + 1, size).path
        assert leaf == hash_leaf(entries[index])
        verify_inclusion(index, size, leaf_hash=leaf, proof=proof, root=root)


def test_every_small_proof_of_the_definition_verifies() -> None:
    leaves = hashes(20)
    for size in range(1, 21):
        root = mth(leaves[:size])
        for index in range(size):
            proof = path(index, leaves[:size])
            verify_inclusion(index, size, leaf_hash=leaves[index], proof=proof, root=root)
            old, proof = mth(leaves[: index + 1]), subproof(index + 1, leaves[:size])
            verify_consistency(index + 1, size, old_root=old, new_root=root, proof=proof)


@given(st.integers(1, 40), st.data())
def test_any_altered_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root, leaf = path(index, leaves), mth(leaves), leaves[index]
    bit = data.draw(st.integers(0, 255))
    for bad in corruptions(proof, root):
        with pytest.raises(ProofError):
            verify_inclusion(index, size, leaf_hash=leaf, proof=bad, root=root)
    for bad_leaf, bad_root in ((flip(leaf, bit), root), (leaf, flip(root, bit))):
        with pytest.raises(ProofError):
            verify_inclusion(index, size, leaf_hash=bad_leaf, proof=proof, root=bad_root)
    for wrong in set(range(-1, size + 2)) - {index}:
        with pytest.raises(ProofError):
            verify_inclusion(wrong, size, leaf_hash=leaf, proof=proof, root=root)


@given(st.integers(1, 40), st.data())
def test_any_altered_consistency_proof_fails(new: int, data: st.DataObject) -> None:
    leaves = hashes(new)
    old = data.draw(st.integers(1, new))
    proof, root1, root2 = subproof(old, leaves), mth(leaves[:old]), mth(leaves)
    bit = data.draw(st.integers(0, 255))
    for bad in corruptions(proof, root1):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=root1, new_root=root2, proof=bad)
    for bad1, bad2 in ((flip(root1, bit), root2), (root1, flip(root2, bit))):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=bad1, new_root=bad2, proof=proof)


@given(st.integers(2, 40), st.data())
def test_a_rewritten_leaf_breaks_every_later_consistency(new: int, data: st.DataObject) -> None:
    leaves = hashes(new)
    old = data.draw(st.integers(1, new - 1))
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, old - 1))] = hash_leaf(b"rewritten")
    for forged in (subproof(old, rewritten), subproof(old, leaves)):
        with pytest.raises(ProofError):
            verify_consistency(old, new, old_root=mth(leaves[:old]), new_root=mth(rewritten), proof=forged)


@given(st.integers(1, 70), st.data())
def test_a_wrong_size_fails_unless_the_shape_is_the_same(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    wrong = data.draw(st.integers(index + 1, 140).filter(lambda n: n != size))
    assume(_turns(index, wrong) != _turns(index, size))
    with pytest.raises(ProofError):
        verify_inclusion(index, wrong, leaf_hash=leaves[index], proof=path(index, leaves), root=mth(leaves))


def _turns(index: int, size: int) -> str:
    if size == 1:
        return ""
    k = _split(size)
    return _turns(index, k) + "L" if index < k else _turns(index - k, size - k) + "R"


@given(st.integers(1, 1 << 62), st.integers(0, 1 << 62))
def test_proofs_of_enormous_trees_have_the_right_shape(size: int, index: int) -> None:
    size += index
    turns = _turns(index, size)
    proof = [hash_leaf(b"%d" % level) for level in range(len(turns))]
    expected = SOME_HASH
    for turn, sibling in zip(turns, proof, strict=True):
        expected = hash_node(expected, sibling) if turn == "L" else hash_node(sibling, expected)
    assert root_from_inclusion_proof(index, size, leaf_hash=SOME_HASH, proof=proof) == expected


def test_the_last_leaf_of_the_largest_tree() -> None:
    proof = [SOME_HASH] * 63
    root = root_from_inclusion_proof(MAX_SIZE - 1, MAX_SIZE, leaf_hash=SOME_HASH, proof=proof)
    verify_inclusion(MAX_SIZE - 1, MAX_SIZE, leaf_hash=SOME_HASH, proof=proof, root=root)
    # A tree of 2^62 leaves doubled: the proof is the right half alone.
    verify_consistency(
        1 << 62, MAX_SIZE, old_root=SOME_HASH, new_root=hash_node(SOME_HASH, root), proof=[root]
    )


@given(st.integers(1, 60), st.data())
def test_a_contiguous_range_is_proven_whole(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    begin = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(begin + 1, size))
    proof, root = [mth(leaves[low:high]) for low, high in range_gaps(begin, end, size)], mth(leaves)
    rows = leaves[begin:end]
    verify_range(begin, size, leaf_hashes=rows, proof=proof, root=root)
    for bad in corruptions(proof, root):
        with pytest.raises(ProofError):
            verify_range(begin, size, leaf_hashes=rows, proof=bad, root=root)
    hidden = data.draw(st.integers(0, len(rows) - 1))
    for bad in (rows[:hidden] + rows[hidden + 1 :], [*rows, SOME_HASH], [*rows[1:], SOME_HASH], []):
        with pytest.raises(ProofError):
            verify_range(begin, size, leaf_hashes=bad, proof=proof, root=root)


@pytest.mark.parametrize(("begin", "end", "size"), [(-1, 1, 2), (1, 1, 2), (1, 3, 2), (0, 1, MAX_SIZE + 1)])
def test_an_impossible_range_is_refused(begin: int, end: int, size: int) -> None:
    with pytest.raises(ProofError, match="not a range"):
        range_gaps(begin, end, size)
