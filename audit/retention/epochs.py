"""Key epochs of the subject tokens: a new key, and the destruction of an old one.

Without its key no token of an epoch can be made again, so no record of it can be linked to a person; and the nonces of its
commitments are gone. Leaves, tree and proofs are as they were.
"""

import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from audit.keys import DESTROYED
from audit.ledger import Ledger, Transaction
from audit.ledger.schema import record_subjects, records
from audit.record import AccessRecord, Kind, format_time
from audit.retention.actor import Actor
from audit.retention.rule import RetentionRefused, RetentionRule
from audit.search.lookup import commit_texts
from isthmus.ids import new_exchange

ACTION: Final = "DestroySubjectKey"
_KEY_BYTES: Final = 32
_DELETING: Final = 2


@dataclass(frozen=True, slots=True)
class Destroyed:
    """The record that says so, and how many records carry a token of the epoch."""

    position: int
    records: int


def new_subject_key() -> str:
    """A key for a new epoch, as its file holds it."""
    return secrets.token_hex(_KEY_BYTES)


def destroy_epoch(
    ledger: Ledger, epoch: int, key: Path, *, reason: str, actor: Actor, rule: RetentionRule
) -> Destroyed:
    """Destroy the key of an epoch: first it is recorded, then the file is overwritten.

    Run again after a crash it ends what it began, and adds no second record.

    Args:
        ledger: the log, with its key.
        epoch: its number; never the current one, which the caller makes sure of.
        key: the file. The copies of gateways and in backups are for their keepers to destroy.
        reason: why, in words; the log holds a commitment to it.
        actor: who.
        rule: the legal minimum; every record with a token of the epoch must have had it.

    Raises:
        RetentionRefused: a record of the epoch is too young, or the certificate was denied.
        LedgerUnavailable: it could not be recorded; the key is as it was.
        OSError: the file could not be overwritten.
    """
    destroyed = ledger.transact(lambda tx: _record(tx, epoch, reason, actor, rule)).value
    _overwrite(key)
    return destroyed


def _record(tx: Transaction, epoch: int, reason: str, actor: Actor, rule: RetentionRule) -> Destroyed:
    actor.require_not_denied(tx.connection)
    resource = f"subject-keys/{epoch}"
    known = sa.select(sa.func.min(records.c.idx)).where(
        records.c.kind != sa.literal_column("'DECISION'"),
        records.c.resource == resource,
        records.c.action == ACTION,
    )
    count, newest = _carrying(tx.connection, epoch)
    if (position := tx.connection.scalar(known)) is not None:
        return Destroyed(position, count)
    if newest is not None and newest >= (limit := rule.destructible_before(tx.now)):
        raise RetentionRefused(
            f"a record of epoch {epoch} is of {format_time(newest)}, and use records must be kept for at least "
            f"{rule.minimum_years} years ({rule.citation}): all of them must be from before {format_time(limit)}"
        )
    commitments, detail = commit_texts({"reason": reason})
    record = AccessRecord(
        exchange=str(new_exchange(tx.now)),
        kind=Kind.CONTROL,
        at={"in": tx.now},
        caller=actor.uri,
        certificate=actor.certificate,
        action=ACTION,
        resource=resource,
        grpc_code="OK",
        change={**commitments, "records": count, "rule": rule.words},
    )
    return Destroyed(tx.append(record, detail=detail), count)


def _carrying(connection: sa.Connection, epoch: int) -> tuple[int, datetime | None]:
    """How many records carry a token of the epoch, and when the newest was logged."""
    count, newest = 0, -1
    for token, idx in (
        (records.c.subject_token, records.c.idx),
        (record_subjects.c.token, record_subjects.c.idx),
    ):
        # Tokens are `{epoch}.{hex}`, and `/` follows `.` in ASCII: a range of the index.
        within = sa.and_(token >= f"{epoch}.", token < f"{epoch}/")
        row = connection.execute(
            sa.select(sa.func.count(sa.distinct(idx)), sa.func.max(idx)).where(within)
        ).one()
        count, newest = count + row[0], max(newest, -1 if row[1] is None else row[1])
    if newest < 0:
        return count, None
    at_ms = connection.scalar(sa.select(records.c.at_ms).where(records.c.idx == newest))
    return count, datetime.fromtimestamp((at_ms or 0) / 1000, UTC)


def _overwrite(path: Path) -> None:
    """In place, so that the blocks that held the key are those that are written; no link is followed."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(DESTROYED)) == DESTROYED.encode():
            return
        for _ in range(_DELETING):
            file.seek(0)
            file.write(secrets.token_bytes(size))
            file.flush()
            os.fsync(file.fileno())
        file.seek(0)
        file.truncate()
        file.write(f"{DESTROYED}the log says when and why\n".encode())
        file.flush()
        os.fsync(file.fileno())
