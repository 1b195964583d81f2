"""Opening the commitments of a record: whether some bytes are those that it is about.

That takes the bytes, the record's salt (erasable detail), and the subject key of the salt's epoch. Erasing the salt closes
one record's commitments for good; destroying the key those of the whole epoch.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from audit.record import AccessRecord
from isthmus.subjects import SubjectTokens

_SALT: Final = "commitment_salt"


class CommitmentClosed(ValueError):
    """The commitment can no longer be opened, or never could; the message says why."""


def opens(
    record: AccessRecord, part: str, content: bytes, *, detail: Mapping[str, Any], tokens: SubjectTokens
) -> bool:
    """Whether a record was made for these bytes.

    Args:
        record: the record.
        part: `request` or `response`.
        content: the bytes: of a request, the message; of an answer, the row set, of a stream the SHA-256 of its chunks.
        detail: the record's erasable detail.
        tokens: the keys of the epochs that there are.

    Raises:
        CommitmentClosed: its salt was erased, the key of its epoch destroyed, or it commits to no such part.
    """
    committed = {"request": record.request_commitment, "response": record.response_commitment}.get(part, "")
    if not committed:
        raise CommitmentClosed(f"the record commits to no {part}")
    epoch, _, salt = str(detail.get(_SALT, "")).partition(".")
    if not salt:
        raise CommitmentClosed("the salt of the record was erased")
    if int(epoch) not in tokens.keys:
        raise CommitmentClosed(f"the subject key of epoch {epoch} was destroyed, or is not configured here")
    nonce = tokens.nonce(part.encode() + bytes.fromhex(salt), epoch=int(epoch))
    return hmac.compare_digest(hashlib.sha256(nonce + content).hexdigest(), committed)
