"""Whether a log extends what it had signed before: the one thing that it cannot show of itself."""

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.errors import ProofError, TileError
from audit.tlog.merkle import verify_consistency
from audit.tlog.tree import TileReader, Tree
from audit.verifier.damage import Damaged, DamageKind

_FORK = "the log signed it for other records than these: it has signed two histories"


def require_not_behind(earlier: Checkpoint, size: int) -> None:
    """Return only if a log of `size` records does not end before a checkpoint that it signed.

    Raises:
        Damaged: it was rolled back.
    """
    if earlier.size > size:
        words = f"the log signed it, and it now ends at {size} records: it was rolled back"
        raise Damaged(DamageKind.ROLLBACK, f"checkpoint {earlier.size}", words)


def require_extension(earlier: Checkpoint, newest: Checkpoint, reader: TileReader) -> None:
    """Return only if the log of `newest` extends that of `earlier`; the log MUST have signed both.

    Args:
        earlier: from outside, or from an earlier verification.
        newest: of the log.
        reader: its tiles, of which none is trusted.

    Raises:
        Damaged: it was rolled back, or forked, or the tiles that would show which are damaged.
    """
    where = f"checkpoint {earlier.size}"
    require_not_behind(earlier, newest.size)
    if earlier.size == newest.size:
        if earlier.root != newest.root:
            raise Damaged(DamageKind.FORK, where, _FORK)
        return
    if not earlier.size:
        return
    try:
        tree = Tree(reader)
        found = tree.root(earlier.size)
        proof = tree.consistency_proof(earlier.size, newest.size)
        verify_consistency(earlier.size, newest.size, old_root=found, new_root=newest.root, proof=proof)
    except (TileError, ProofError, TypeError) as error:
        words = "the tiles that would show what the log was then are damaged"
        raise Damaged(DamageKind.TILE, where, words) from error
    if found != earlier.root:
        raise Damaged(DamageKind.FORK, where, _FORK)
