"""The destruction certificate of a purge: a C2SP signed note by the log's key, in words that people read.

It is made from the record that ends the purge and from nothing else, so it can be made again at any time, and it names the
record's leaf hash: with a proof of that record anybody sees that the log says the same. Its first line is no log's name, so
it can never be taken for a checkpoint.
"""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from audit.ledger.schema import records
from audit.record import LOGGED, AccessRecord, format_time
from audit.retention.purge import ACTION, Purged
from audit.retention.rule import RetentionRefused
from audit.tlog.errors import NoteError
from audit.tlog.keys import SignerKey, VerifierKey
from audit.tlog.merkle import hash_leaf
from audit.tlog.note import open_note, sign_note

TITLE: Final = "isthmus destruction certificate v1"
MAX_BYTES: Final = 1 << 16
_NAMES: Final = (
    "log",
    "record",
    "leaf",
    "destroyed",
    "by",
    "certificate",
    "before",
    "positions",
    "details",
    "line parts",
    "digest",
    "rule",
    "reason commitment",
)


def make_certificate(connection: sa.Connection, position: int, key: SignerKey) -> bytes:
    """The certificate of a purge.

    Args:
        connection: a snapshot of the ledger.
        position: of the record that ends it.
        key: the log's.

    Raises:
        RetentionRefused: there is no such record.
    """
    leaf = connection.scalar(sa.select(records.c.leaf).where(records.c.idx == position))
    record = AccessRecord.parse(bytes(leaf)) if leaf is not None else None
    if record is None or record.action != ACTION:
        raise RetentionRefused(f"records/{position} does not end a purge, so there is no certificate of it")
    sums = Purged.of(record)
    values = (
        key.verifier.name,
        f"records/{position}",
        hash_leaf(bytes(leaf or b"")).hex(),
        format_time(record.at[LOGGED]),
        record.caller,
        record.certificate,
        sums.before,
        f"{sums.first} to {sums.last}",
        sums.details,
        sums.lines,
        sums.digest,
        record.change["rule"],
        record.change.get("reason_commitment", ""),
    )
    lines = [f"{name}: {value}" for name, value in zip(_NAMES, values, strict=True)]
    return sign_note("\n".join([TITLE, *lines, ""]), key)


def open_certificate(data: bytes, key: VerifierKey) -> Mapping[str, str]:
    """What a certificate says, by name, only if the log's key signed it.

    Raises:
        NoteError: it did not, or this is no certificate.
    """
    if len(data) > MAX_BYTES:
        raise NoteError("this is no destruction certificate: it is too large")
    title, *lines = open_note(data, [key]).text.splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    if title != TITLE or tuple(found) != _NAMES or found["log"] != key.name:
        raise NoteError("this is no destruction certificate of this log")
    return found
