"""Verifying every timestamp of a ledger, offline."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from cryptography.x509 import Certificate

from audit.timestamps.stored import stored_tokens
from audit.timestamps.token import Timestamp, TimestampError, verify_token
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import CheckpointError, NoteError
from audit.tlog.keys import VerifierKey
from audit.tlog.note import split_note


def verify_tokens(
    connection: sa.Connection,
    roots: Sequence[Certificate],
    *,
    beyond: int = -1,
    key: VerifierKey | None = None,
) -> Iterator[Timestamp]:
    """Yield the timestamps of a ledger, oldest checkpoint first, each verified against the checkpoint it is of.

    Whether the log signed that checkpoint is said only with its key.

    Args:
        connection: a snapshot; see `audit.ledger.offline`.
        roots: the certificates that are trusted to vouch for authorities.
        beyond: only those of checkpoints larger than this.
        key: the log's.

    Raises:
        TimestampError: one is not valid; the message says which.
    """
    for each in stored_tokens(connection, beyond=beyond):
        try:
            # In a file that somebody changed, it may be a text.
            if not isinstance(each.note, bytes):
                raise TimestampError("the ledger holds no checkpoint of this size")
            _require_size(each.note, each.size, key)
            at, serial = verify_token(each.response, each.note, roots)
        except (TimestampError, NoteError, CheckpointError) as error:
            raise TimestampError(f"the timestamp of size {each.size} by {each.authority}: {error}") from error
        yield Timestamp(each.size, each.authority, at, serial)


def _require_size(note: bytes, size: int, key: VerifierKey | None) -> None:
    # The token is of the note alone: under another size it would make what came later look old.
    if key is None:
        found = Checkpoint.parse(split_note(note)[0])
    else:
        found = open_checkpoint(note, key).checkpoint
    if found.size != size:
        raise TimestampError(f"what was stamped is a checkpoint of size {found.size}")
