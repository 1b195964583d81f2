"""What somebody kept of a log, held against what the log says now: no consumer needs to trust whoever runs it.

A log that was forked, rolled back, or withholds its newest part contradicts every checkpoint that it gave away before.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from audit.tlog.cosignature import CosignerKey
from audit.tlog.errors import ProofError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import verify_consistency
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.proof import MAX_PROOF_BYTES, TlogProof

MAX_KEPT_BYTES: Final = 16 << 20
"""An answer that was kept whole may hold rows."""
_PROOF: Final = b"c2sp.org/tlog-proof@"


class KeptError(ValueError):
    """What was kept is no checkpoint, `.tlog-proof` or answer with a receipt."""


class NotWitnessed(ValueError):
    """Too few of the witnesses that are trusted have seen the log."""


class Contradiction(ValueError):
    """The log contradicts what it signed before. Keep both checkpoints: together they prove it to anybody.

    Attributes:
        notes: the checkpoints that contradict each other.
    """

    def __init__(self, problem: str, *notes: bytes) -> None:
        super().__init__(problem)
        self.notes = notes


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What witnesses vouch for.

    Attributes:
        size: number of records.
        cosigned: when each of them cosigned it, by name, UTC.
    """

    size: int
    cosigned: Mapping[str, datetime]


def kept_checkpoint(data: bytes) -> bytes:
    """The checkpoint in a file that somebody kept: a checkpoint, a `.tlog-proof`, or an answer as `--json` prints it.

    Raises:
        KeptError: it is none of these.
    """
    if data.startswith(_PROOF):
        if len(data) > MAX_PROOF_BYTES:
            raise KeptError(f"a proof is at most {MAX_PROOF_BYTES} bytes")
        return TlogProof.parse(data).checkpoint
    if data.lstrip()[:1] == b"{":
        return _in_json(data)
    if len(data) > MAX_NOTE_BYTES:
        raise KeptError(f"a checkpoint is at most {MAX_NOTE_BYTES} bytes")
    return data


def require_same_history(
    kept: bytes,
    now: bytes,
    key: VerifierKey,
    *,
    proof: Callable[[int, int], Sequence[bytes]],
) -> tuple[Checkpoint, Checkpoint]:
    """Return both checkpoints, only if the one of now extends the kept one.

    Args:
        kept: the note that was kept.
        now: the note that the log shows now.
        key: the log's key, from a source of one's own.
        proof: asks for the consistency proof from a size to a larger one.

    Raises:
        NoteError, CheckpointError: one of them is not the log's.
        Contradiction: the log was forked, rolled back, or withholds its newest part.
    """
    old, new = (open_checkpoint(each, key).checkpoint for each in (kept, now))
    try:
        _require_growth(old, new, proof)
    except Contradiction as error:
        raise Contradiction(str(error), kept, now) from error
    return old, new


def _require_growth(old: Checkpoint, new: Checkpoint, proof: Callable[[int, int], Sequence[bytes]]) -> None:
    if new.size < old.size:
        raise Contradiction(
            f"the log shows {new.size} records, and signed {old.size} before: it was rolled back, or its newest part is "
            "withheld"
        )
    # From the empty log on there is nothing to prove.
    if old.size:
        _require_prefix(old, new, proof)


def require_witnessed(
    kept: bytes,
    now: bytes,
    cosigned: bytes,
    key: VerifierKey,
    *,
    witnesses: Collection[CosignerKey],
    required: int,
    proof: Callable[[int, int], Sequence[bytes]],
) -> Witnessed:
    """Return what witnesses saw, only if it reaches what was kept and is of one history with it and with what is shown.

    Args:
        kept: the note that was kept.
        now: the note that the log shows now.
        cosigned: the newest that it shows with cosignatures; empty if it shows none.
        key: the log's key.
        witnesses: whom one trusts.
        required: so many of them must have cosigned.
        proof: asks for the consistency proof from a size to a larger one.

    Raises:
        NoteError, CheckpointError: one of the notes is not the log's, or a cosignature is invalid.
        NotWitnessed: too few cosigned, or not as far as what was kept.
        Contradiction: the log shows others another history than the caller.
    """
    signed = require_witnesses(cosigned, key, witnesses, required=required)
    old, new = (open_checkpoint(each, key).checkpoint for each in (kept, now))
    seen = signed.checkpoint
    if seen.size < old.size:
        # Beyond what they saw there could be one history for each who asks.
        raise NotWitnessed(
            f"the witnesses you trust have cosigned {seen.size} records, and what you kept reaches {old.size}: they do not "
            "vouch for it yet. Ask again once they have cosigned more"
        )
    for size, note in ((old.size, kept), (new.size, now)):
        older, newer = sorted(((size, note), (seen.size, cosigned)), key=lambda each: each[0])
        require_same_history(older[1], newer[1], key, proof=proof)
    times = {each.name: each.time_in(signed.note) for each in witnesses}
    return Witnessed(seen.size, {name: at for name, at in times.items() if at is not None})


def require_witnesses(
    note: bytes, key: VerifierKey, witnesses: Collection[CosignerKey], *, required: int
) -> SignedCheckpoint:
    """Return a checkpoint only if so many of the witnesses cosigned it.

    Raises:
        NoteError, CheckpointError: it is not the log's, or a cosignature is invalid.
        NotWitnessed: too few did.
        ValueError: two of the witnesses are the same, or one is the log.
    """
    require_independent(witnesses, key)
    if not note:
        raise NotWitnessed("no witness has cosigned a checkpoint of this log")
    signed = open_checkpoint(note, key, witnesses=witnesses)
    found = sum(signed.note.signed_by(each) for each in witnesses)
    if found < required:
        raise NotWitnessed(f"{found} of the witnesses you trust cosigned it, and {required} are needed")
    return signed


def require_independent(witnesses: Collection[CosignerKey], log_key: VerifierKey) -> None:
    """Return only if each of the witnesses has a key of its own, whatever its name, and none has the log's.

    Raises:
        ValueError: otherwise: whoever holds one key is one witness, and a log is none for itself.
    """
    if any(each.public_key == log_key.public_key for each in witnesses):
        raise ValueError("one of the witnesses has the log's own key: a log cannot vouch for itself")
    if len({each.public_key for each in witnesses}) != len(witnesses):
        raise ValueError("two of the witnesses have the same key: give each once, it counts once")


def _require_prefix(old: Checkpoint, new: Checkpoint, proof: Callable[[int, int], Sequence[bytes]]) -> None:
    hashes = proof(old.size, new.size) if old.size < new.size else ()
    try:
        verify_consistency(old.size, new.size, old_root=old.root, new_root=new.root, proof=hashes)
    except ProofError as error:
        raise Contradiction(
            f"the log cannot show that its {new.size} records begin with the {old.size} it signed before: one of the two "
            f"histories was rewritten ({error})"
        ) from error


def _in_json(data: bytes) -> bytes:
    if len(data) > MAX_KEPT_BYTES:
        raise KeptError(f"an answer is at most {MAX_KEPT_BYTES} bytes")
    try:
        found: Any = json.loads(data)
        checkpoint = found.get("receipt", found)["checkpoint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeptError("there is no receipt with a checkpoint in it") from error
    if not isinstance(checkpoint, str) or len(checkpoint) > MAX_NOTE_BYTES:
        raise KeptError("the checkpoint in the receipt is none")
    return checkpoint.encode("utf-8", "replace")
