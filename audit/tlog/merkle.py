"""RFC 6962 section 2.1 hashing, and verification of what a log claims about its tree.

Verification raises `ProofError` and never returns a verdict, so a forgotten `if` cannot accept a forgery.

A proof binds a leaf or an old root to a *root*. The tree size only sets the proof's shape, and neighbouring
sizes can share one: believe a size only when it comes, with the root, from a signed checkpoint.
"""

from collections.abc import Sequence
from hashlib import sha256

from audit.tlog.errors import ProofError

HASH_SIZE = 32
MAX_SIZE = 1 << 63
EMPTY_ROOT = sha256(b"").digest()


def hash_leaf(entry: bytes) -> bytes:
    """The leaf hash of an entry: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def hash_pairs(row: bytes) -> bytes:
    """The row of nodes above a row of concatenated hashes; an odd last hash is left out."""
    pairs = range(0, len(row) - HASH_SIZE, 2 * HASH_SIZE)
    return b"".join([sha256(b"\x01" + row[at : at + 64]).digest() for at in pairs])


def root_of(row: bytes) -> bytes:
    """The Merkle tree hash over concatenated leaf hashes (RFC 6962 section 2.1)."""
    if not row:
        return EMPTY_ROOT
    while len(row) > HASH_SIZE:
        odd = row[-HASH_SIZE:] if len(row) & HASH_SIZE else b""
        row = hash_pairs(row) + odd
    return row


def split_point(width: int) -> int:
    """The largest power of two below `width` (at least 2): where RFC 6962 splits a list of leaves."""
    return 1 << ((width - 1).bit_length() - 1)


def root_from_inclusion_proof(index: int, size: int, *, leaf_hash: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).

    Args:
        index: zero-based position of the leaf.
        size: number of leaves of the tree, at most `MAX_SIZE`.
        leaf_hash: 32 bytes.
        proof: 32-byte sibling hashes, from the leaf upwards.

    Raises:
        ProofError: the index lies outside the tree or the proof has the wrong shape.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"leaf {index} cannot be in a tree of {size} leaves (at most 2^63)")
    inner, border = _path_shape(index, size)
    _check_hashes(proof, expected=inner + border)
    _check_hashes([leaf_hash], expected=1)
    seed = leaf_hash
    for level, sibling in enumerate(proof[:inner]):
        seed = hash_node(sibling, seed) if index >> level & 1 else hash_node(seed, sibling)
    return _climb_left(seed, proof[inner:])


def verify_inclusion(index: int, size: int, *, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Return only if the leaf is at `index` of the tree with this size and root.

    Args: as `root_from_inclusion_proof`; root: 32 bytes, taken from a verified checkpoint.

    Raises:
        ProofError: the proof does not show it.
    """
    if root_from_inclusion_proof(index, size, leaf_hash=leaf_hash, proof=proof) != root:
        raise ProofError(f"the inclusion proof of leaf {index} does not lead to the root of size {size}")


def verify_consistency(
    old_size: int, new_size: int, *, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return only if the old tree is a prefix of the new one (RFC 9162 section 2.1.4.2).

    Equal sizes need equal roots and an empty proof. From the empty tree nothing can be proven, so an old size
    of 0 with a larger new size is refused: every tree extends it, and the caller decides what that is worth.

    Args:
        old_size, new_size: numbers of leaves, at most `MAX_SIZE`.
        old_root, new_root: 32 bytes each, taken from verified checkpoints.
        proof: 32-byte hashes in RFC order.

    Raises:
        ProofError: the proof does not show it.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ProofError(
            f"a tree of {old_size} leaves cannot be a prefix of one of {new_size} (at most 2^63)"
        )
    _check_hashes([old_root, new_root], expected=2)
    if old_size == new_size:
        _check_hashes(proof, expected=0)
        if old_root != new_root or (old_size == 0 and old_root != EMPTY_ROOT):
            raise ProofError(f"two different roots are claimed for size {old_size}")
        return
    if old_size == 0:
        raise ProofError("a consistency proof from the empty tree proves nothing")
    if _roots_from_consistency_proof(old_size, new_size, old_root, proof=proof) != (old_root, new_root):
        raise ProofError(f"the proof does not show that size {new_size} extends size {old_size}")


def range_gaps(begin: int, end: int, size: int) -> list[tuple[int, int]]:
    """The subtrees `[low, high)` that complete the leaves `[begin, end)` to a tree of `size`, left to right.

    Raises:
        ProofError: the range is empty or lies outside the tree.
    """
    if not 0 <= begin < end <= size <= MAX_SIZE:
        raise ProofError(f"leaves {begin} to {end} are not a range of a tree of {size} leaves (at most 2^63)")
    gaps: list[tuple[int, int]] = []
    pending = [(0, size)]
    while pending:
        low, high = pending.pop()
        if high <= begin or end <= low:
            gaps.append((low, high))
        elif low < begin or end < high:
            middle = low + split_point(high - low)
            pending += [(middle, high), (low, middle)]
    return gaps


def root_from_range(begin: int, size: int, *, leaf_hashes: Sequence[bytes], proof: Sequence[bytes]) -> bytes:
    """The root of a tree in which `leaf_hashes` are the leaves from `begin` on, without a gap.

    Unlike one inclusion proof a leaf, this shows that nothing was left out between the first and the last.

    Args:
        begin: zero-based position of the first leaf.
        size: number of leaves of the tree, at most `MAX_SIZE`.
        leaf_hashes: at least one, 32 bytes each.
        proof: the hashes of `range_gaps`, 32 bytes each.

    Raises:
        ProofError: the range lies outside the tree or the proof has the wrong shape.
    """
    end = begin + len(leaf_hashes)
    _check_hashes(proof, expected=len(range_gaps(begin, end, size)))
    _check_hashes(leaf_hashes, expected=len(leaf_hashes))
    row, given = b"".join(leaf_hashes), iter(proof)

    def subtree(low: int, high: int) -> bytes:
        if high <= begin or end <= low:
            return next(given)
        if begin <= low and high <= end:
            return root_of(row[(low - begin) * HASH_SIZE : (high - begin) * HASH_SIZE])
        middle = low + split_point(high - low)
        left = subtree(low, middle)
        return hash_node(left, subtree(middle, high))

    return subtree(0, size)


def verify_range(
    begin: int, size: int, *, leaf_hashes: Sequence[bytes], proof: Sequence[bytes], root: bytes
) -> None:
    """Return only if `leaf_hashes` are exactly the leaves from `begin` on of the tree with this root.

    Args: as `root_from_range`; root: 32 bytes, taken from a verified checkpoint.

    Raises:
        ProofError: the proof does not show it.
    """
    if root_from_range(begin, size, leaf_hashes=leaf_hashes, proof=proof) != root:
        raise ProofError(f"the leaves from {begin} on do not lead to the root of size {size}")


def _roots_from_consistency_proof(
    old_size: int, new_size: int, old_root: bytes, *, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    # Both roots are climbed to from the largest complete subtree that ends at the old size. When that is the
    # whole old tree, its root is known and the proof leaves it out.
    low_zeroes = (old_size & -old_size).bit_length() - 1
    inner, border = _path_shape(old_size - 1, new_size)
    inner -= low_zeroes
    known = old_size == 1 << low_zeroes
    _check_hashes(proof, expected=inner + border + (not known))
    seed, path = (old_root, proof) if known else (proof[0], proof[1:])
    old = new = seed
    for level, sibling in enumerate(path[:inner]):
        if (old_size - 1) >> (low_zeroes + level) & 1:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
        else:
            new = hash_node(new, sibling)
    return _climb_left(old, path[inner:]), _climb_left(new, path[inner:])


def _path_shape(index: int, size: int) -> tuple[int, int]:
    # Below the point where the paths to this leaf and to the last leaf meet, every level has a sibling; above
    # it the path follows the right border, where only the set bits have a (left) sibling.
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb_left(seed: bytes, siblings: Sequence[bytes]) -> bytes:
    for sibling in siblings:
        seed = hash_node(sibling, seed)
    return seed


def _check_hashes(hashes: Sequence[bytes], *, expected: int) -> None:
    if len(hashes) != expected:
        raise ProofError(f"{len(hashes)} hashes were given where {expected} are needed")
    if any(len(value) != HASH_SIZE for value in hashes):
        raise ProofError("a hash must be exactly 32 bytes")
