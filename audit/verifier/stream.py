"""What the records of streams must not say: an end without a beginning, a second end, an end of something else."""

import sqlite3
from typing import Final

from audit.record import AccessRecord, Kind, StreamEnding
from audit.verifier.damage import Damaged, DamageKind
from isthmus.canonical import canonical_json

_SAME: Final = ("caller", "certificate", "consumer", "provider", "dataset", "contract", "terms_digest")


class StreamRules:
    """Remembers which streams were opened and ended; a stream without an end is no damage: a crash cut it off.

    Args:
        scratch: a private database, for as long as the log is read.
    """

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self._scratch = scratch
        scratch.execute(
            "CREATE TABLE IF NOT EXISTS streams (exchange TEXT PRIMARY KEY, idx INTEGER, said BLOB, fields BLOB, ended INTEGER) "
            "WITHOUT ROWID"
        )

    def check(self, index: int, record: AccessRecord) -> None:
        """Return only if a record of a stream agrees with those before it; records come in order.

        Raises:
            Damaged: it opens a stream on consent; or ends one that was not opened, has ended, or was another.
        """
        if record.kind is Kind.DECISION and record.decision == "ALLOW" and record.mode == "STREAM":
            if record.legal_basis == "CONSENT":
                words = "it opens a stream on the basis of consent, and a stream names nobody who could have given it"
                raise Damaged(DamageKind.RULE, f"record {index}", words)
            row = (record.exchange, index, _said(record), _fields(record))
            self._scratch.execute("INSERT OR IGNORE INTO streams VALUES (?, ?, ?, ?, NULL)", row)
        elif record.kind is Kind.STREAM_END:
            self._end(index, record)

    def _end(self, index: int, record: AccessRecord) -> None:
        query = "SELECT idx, said, fields, ended FROM streams WHERE exchange = ?"
        found = self._scratch.execute(query, (record.exchange,)).fetchone()
        where = f"record {index}"
        if found is None:
            raise Damaged(DamageKind.RULE, where, "it ends a stream that no earlier record opened")
        opened, said, fields, ended = found
        if ended is not None:
            words = f"{record.exchange} ended before, in record {ended}"
            raise Damaged(DamageKind.DUPLICATE, where, words)
        if _said(record) != said or (record.fields and _fields(record) != fields):
            words = f"it says other things about the stream than record {opened}, which opened it"
            raise Damaged(DamageKind.RULE, where, words)
        complete = record.action == StreamEnding.COMPLETE
        if complete != (not record.reasons) or complete != bool(record.provider_receipt_digest):
            words = "a stream is complete with the provider's receipt, and ends otherwise for a reason"
            raise Damaged(DamageKind.RULE, where, words)
        self._scratch.execute("UPDATE streams SET ended = ? WHERE exchange = ?", (index, record.exchange))


def _said(record: AccessRecord) -> bytes:
    return canonical_json([getattr(record, name) for name in _SAME])


def _fields(record: AccessRecord) -> bytes:
    return canonical_json([dict(each) for each in record.fields])
