"""A ledger of any length, as a year of exchanges would have left it: true tree, tiles, checkpoints and indexes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from audit.ledger import Ledger
from audit.ledger.transaction import Transaction
from audit.record import AccessRecord
from audit.tlog.keys import SignerKey
from isthmus.subjects import SubjectTokens
from tests.bench.audit_town import CONSENTS, Town

KEY: Final = SignerKey.from_seed("bench.example/log", bytes(32))
TOKENS: Final = SubjectTokens({1: b"\1" * 32}, 1)
BEGAN: Final = datetime(2025, 11, 1, tzinfo=UTC)
YEAR: Final = timedelta(days=365)
TRAIN: Final = 256
Report = Callable[[str], None]


class Calendar:
    """A clock that goes through a year while so many records are written."""

    def __init__(self, records: int) -> None:
        self._step = YEAR / max(1, records / TRAIN)
        self.now = BEGAN

    def __call__(self) -> datetime:
        self.now += self._step
        return self.now


def open_ledger(path: Path, clock: Callable[[], datetime]) -> Ledger:
    """The ledger at a path."""
    return Ledger.open(f"sqlite:///{path}", log_key=KEY, pin=None, clock=clock, commit_timeout=600)


def build(path: Path, records: int, *, people: int, report: Report) -> None:
    """Writes a ledger of so many records, in trains of 256; nothing when it is there already."""
    clock = Calendar(records)
    ledger = open_ledger(path, clock)
    try:
        if ledger.newest().size >= records:
            return
        if ledger.newest().size:
            raise ValueError(f"{path} holds a part of a ledger: delete it and begin again")
        town = Town(people, TOKENS)
        ledger.transact(lambda tx: [tx.append(_at(tx, each)) for each in town.beginnings()])
        consents = min(CONSENTS, records // 50)
        while (size := ledger.newest().size) < records:
            count = min(TRAIN, records - size)
            ledger.transact(partial(_train, town=town, count=count, consents=consents))
            if size % (TRAIN * 20) < TRAIN:
                report(f"writing records: {size:,} of {records:,}")
    finally:
        ledger.close()


def _train(transaction: Transaction, *, town: Town, count: int, consents: int) -> None:
    for position in range(transaction.base, transaction.base + count):
        if position < consents:
            transaction.append(_at(transaction, town.grant(position)))
            continue
        record, lines = town.next(position)
        detail = {"commitment_salt": f"1.{record.request_commitment}"} if record.request_commitment else None
        transaction.append(_at(transaction, record), detail=detail, batch=lines)


def _at(transaction: Transaction, record: AccessRecord) -> AccessRecord:
    return replace(record, at={"in": transaction.now, "released": transaction.now})
