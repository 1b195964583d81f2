"""How much of a ledger is read at once is bounded by the lines and persons of its batches, too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from audit.batch.lines import BatchLines
from audit.ledger import Transaction
from audit.record import AccessRecord
from audit.verifier import ledger as verifier
from audit.verifier.chunk import Chunk, Sound, check_chunk
from audit.verifier.damage import Damaged
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY, append, decision, failure, ledger_in, signatures

pytestmark = pytest.mark.integration

LINES = 300
BATCHES = 6


def line(index: int) -> bytes:
    return f'{{"decision":"ALLOW","index":{index},"nonce":"{"ab" * 16}","token":"1.{index:032x}"}}'.encode()


def put(record: AccessRecord, lines: BatchLines, tx: Transaction) -> int:
    return tx.append(record, batch=lines)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Six batches of 300 lines, each in a transaction of its own, between two failures."""
    lines = BatchLines.of(
        [line(index) for index in range(LINES)], {f"1.{each:032x}" for each in range(LINES)}
    )
    record = decision(
        mode="BATCH",
        subject_token="",
        subject_count=LINES,
        subjects_root=lines.root,
        outcomes={"ALLOW": LINES},
        row_count=0,
    )
    with ledger_in(tmp_path) as opened:
        append(opened, *signatures())
        append(opened, failure())
        for number in range(BATCHES):
            each = replace(record, exchange=f"exchanges/{number}")
            opened.transact(partial(put, each, lines))
        append(opened, failure())
    return tmp_path / "ledger.db"


class Seen:
    """The chunks that were read, and what came of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, lines: int, most: int) -> None:
        self.found: list[tuple[Chunk, Sound | None]] = []
        monkeypatch.setattr(verifier, "_CHUNK_LINES", lines, raising=False)
        monkeypatch.setattr(verifier, "_MOST_AT_ONCE", most, raising=False)
        monkeypatch.setattr(verifier, "check_chunk", self._check)

    def _check(self, chunk: Chunk) -> Sound | None:
        self.found.append((chunk, check_chunk(chunk)))
        return self.found[-1][1]


def test_a_chunk_ends_before_it_holds_too_many_lines(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stored 256 together, 300 lines count as 512.
    seen = Seen(monkeypatch, lines=1100, most=5000)
    assert verify_ledger(str(ledger), KEY.verifier).size == BATCHES + 4
    assert [sum(map(len, (chunk.persons or {}).values())) for chunk, _ in seen.found] == [600, 600, 600]
    assert all(sound is not None for _, sound in seen.found)
    spans = [(chunk.begin, chunk.end) for chunk, _ in seen.found]
    assert spans == [(0, 5), (5, 7), (7, 10)]


def test_a_transaction_that_holds_more_is_read_record_by_record(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch, lines=100, most=400)
    assert verify_ledger(str(ledger), KEY.verifier).size == BATCHES + 4
    heavy = [(chunk.persons, sound) for chunk, sound in seen.found if chunk.persons != {}]
    assert heavy == [(None, None)] * BATCHES


def test_what_is_wrong_in_such_a_transaction_is_named(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Seen(monkeypatch, lines=100, most=400)
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("DELETE FROM record_subjects WHERE idx = 5 AND token LIKE '%7'")
        connection.commit()
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(ledger), KEY.verifier)
    assert caught.value.where == "record 5"
