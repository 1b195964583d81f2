"""Verifying every timestamp of a ledger, offline."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from cryptography.x509 import Certificate

from audit.timestamps.stored import stored_tokens
from audit.timestamps.token import Timestamp, TimestampError, verify_token


def verify_tokens(
    connection: sa.Connection, roots: Sequence[Certificate], *, beyond: int = -1
) -> Iterator[Timestamp]:
    """Yield the timestamps of a ledger, oldest checkpoint first, each verified against the checkpoint it is of.

    Whether the log signed that checkpoint is for `audit.verifier` to say.

    Args:
        connection: a snapshot; see `audit.ledger.offline`.
        roots: the certificates that are trusted to vouch for authorities.
        beyond: only those of checkpoints larger than this.

    Raises:
        TimestampError: one is not valid; the message says which.
    """
    for each in stored_tokens(connection, beyond=beyond):
        try:
            if each.note is None:
                raise TimestampError("the ledger holds no checkpoint of this size")
            at, serial = verify_token(each.response, each.note, roots)
        except TimestampError as error:
            raise TimestampError(f"the timestamp of size {each.size} by {each.authority}: {error}") from error
        yield Timestamp(each.size, each.authority, at, serial)
