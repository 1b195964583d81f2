"""Checkpoints: the signed size and root that a log commits itself to (C2SP tlog-checkpoint)."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from audit.tlog.errors import CheckpointError
from audit.tlog.keys import SignerKey, VerifierKey
from audit.tlog.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from audit.tlog.note import Note, NoteKey, open_note, sign_note
from audit.tlog.text import decode_base64, encode_base64, parse_decimal

_CONTROL = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        origin: the log's name, not empty, one line.
        size: number of leaves, 0 to 2^63.
        root: 32 bytes; the root of the empty tree exactly when the size is 0.
        extensions: further lines; the specification discourages them because nobody can audit them.

    Raises:
        CheckpointError: a value of another form.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or _CONTROL.search(line):
                raise CheckpointError("a checkpoint's lines are not empty and hold no control characters")
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointError("the size in a checkpoint is between 0 and 2^63")
        if len(self.root) != HASH_SIZE:
            raise CheckpointError("the root in a checkpoint is 32 bytes")
        if (self.size == 0) != (self.root == EMPTY_ROOT):
            raise CheckpointError("the root in a checkpoint does not fit its size: only one of them is empty")

    @classmethod
    def parse(cls, body: str) -> "Checkpoint":
        """Read the text of a checkpoint note.

        Raises:
            CheckpointError: malformed.
        """
        if body.count("\n") < 3 or not body.endswith("\n"):
            raise CheckpointError("a checkpoint has an origin, a size and a root, a line each")
        origin, size, root, *extensions = body[:-1].split("\n")
        try:
            return cls(origin, parse_decimal(size), decode_base64(root), tuple(extensions))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError("the size or the root of the checkpoint cannot be read") from error

    def body(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that its log vouches for.

    Attributes:
        checkpoint: what it says.
        note: who signed it: the log, and any witness whose key was given.
    """

    checkpoint: Checkpoint
    note: Note


def sign_checkpoint(checkpoint: Checkpoint, signer: SignerKey) -> bytes:
    """The checkpoint as a note signed by its log.

    The caller MUST never sign two checkpoints of which neither extends the other.

    Raises:
        CheckpointError: the key's name is not the checkpoint's origin.
        NoteError: the origin or an extension line cannot stand in a note.
    """
    if signer.verifier.name != checkpoint.origin:
        raise CheckpointError("a log signs only checkpoints of its own origin, with the key of that name")
    return sign_note(checkpoint.body(), signer)


def open_checkpoint(
    data: bytes, log_key: VerifierKey, *, witnesses: Collection[NoteKey] = ()
) -> SignedCheckpoint:
    """Return the checkpoint in `data` if the log that owns `log_key` vouches for it.

    Args:
        data: the note.
        log_key: the log's key, whose name is the log's origin.
        witnesses: further keys whose signatures count when present; they cannot replace the log's.

    Raises:
        NoteError: the note is malformed, or a signature by a known key is invalid.
        CheckpointError: the log did not sign it, it is another log's, or its body is malformed.
    """
    note = open_note(data, [log_key, *witnesses])
    if not note.signed_by(log_key):
        raise CheckpointError("the log did not sign this checkpoint")
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log_key.name:
        raise CheckpointError("this is the checkpoint of another log: its origin is not the name of the key")
    return SignedCheckpoint(checkpoint, note)
