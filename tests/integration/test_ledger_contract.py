"""What every store must do for the ledger: records, control state and checkpoints in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from audit.ledger import (
    DuplicateDecision,
    Ledger,
    LedgerDamaged,
    LedgerKeyMismatch,
    LedgerRefused,
    Transaction,
)
from audit.ledger.schema import details, record_reasons, records
from audit.ledger.tree import NEWEST
from audit.record import AccessRecord, LeafTooLarge
from audit.search.lookup import commit_texts
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.merkle import hash_leaf, root_of
from audit.tlog.proof import TlogProof, verify_proof
from audit.verifier.ledger import verify_ledger
from tests.integration.ledger_stores import STORES, empty_database, leaves, open_ledger
from tests.unit.audit.ledger_world import KEY, NOTES, OTHER_KEY, Clock, append, control, decision, denial

pytestmark = pytest.mark.integration


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return empty_database(request.param, tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def test_a_new_ledger_has_a_signed_checkpoint_of_nothing(ledger: Ledger) -> None:
    signed = open_checkpoint(ledger.newest().note, KEY.verifier)
    assert signed.checkpoint.size == 0


def test_a_transaction_returns_positions_hashes_and_a_checkpoint_that_covers_them(ledger: Ledger) -> None:
    append(ledger, decision())
    commit = ledger.transact(lambda tx: [tx.append(decision()), tx.append(denial())])
    assert (commit.value, commit.size) == ([1, 2], 3)
    signed = open_checkpoint(commit.checkpoint.encode(), KEY.verifier).checkpoint
    stored = leaves(ledger)
    assert (signed.size, signed.root) == (3, root_of(b"".join(map(hash_leaf, stored))))
    assert commit.leaf_hashes == {1: hash_leaf(stored[1]), 2: hash_leaf(stored[2])}


def test_a_record_is_stamped_with_the_time_and_the_state_of_its_transaction(ledger: Ledger) -> None:
    append(ledger, decision())
    commit = ledger.transact(lambda tx: (tx.now, tx.append(decision()), tx.append(decision())))
    for leaf in leaves(ledger)[1:]:
        record = AccessRecord.parse(leaf)
        assert (record.at["logged"], record.base) == (commit.value[0], 1)


def test_every_record_can_be_proven_to_anybody_with_the_public_key(ledger: Ledger) -> None:
    for size in (1, 5, 300):
        append(ledger, *(decision() for _ in range(size)))
    with ledger.read() as connection:
        head, tree = ledger.head(connection), ledger.tree(connection)
        for index, leaf in enumerate(leaves(ledger)):
            proof = TlogProof(index, tuple(tree.inclusion_proof(index, head.size)), head.note)
            verify_proof(proof.encode(), leaf, KEY.verifier)


def test_a_transaction_that_appends_nothing_signs_nothing(ledger: Ledger) -> None:
    append(ledger, decision())
    before = ledger.newest()
    commit = ledger.transact(lambda tx: tx.connection.execute(NOTES.insert(), {"text": "x"}).rowcount)
    assert (commit.size, commit.leaf_hashes, commit.checkpoint) == (1, {}, before.note.decode())
    assert ledger.newest() == before


def test_the_newest_checkpoint_is_found_without_reading_the_others(ledger: Ledger) -> None:
    for _ in range(3):
        append(ledger, decision())
    with ledger.read() as connection:
        assert [row.size for row in connection.execute(NEWEST)] == [3]


def test_an_exception_takes_back_records_and_control_state_together(ledger: Ledger) -> None:
    append(ledger, decision())
    before = ledger.newest()

    def work(tx: Transaction) -> None:
        tx.connection.execute(NOTES.insert(), {"text": "half"})
        tx.append(denial(), detail={"x": "y"})
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        ledger.transact(work)
    with ledger.read() as connection:
        for table in (NOTES, details, record_reasons):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    assert (ledger.newest(), len(leaves(ledger))) == (before, 1)
    assert append(ledger, decision()) == [1]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_work_that_ends_the_transaction_itself_appends_nothing(ledger: Ledger, end: str) -> None:
    def work(tx: Transaction) -> None:
        tx.append(decision())
        getattr(tx.connection, end)()

    with pytest.raises(RuntimeError, match="only the ledger may"):
        ledger.transact(work)
    assert leaves(ledger) == []
    assert append(ledger, decision()) == [0]


def test_records_and_control_state_become_visible_together(ledger: Ledger, url: str) -> None:
    def work(tx: Transaction) -> None:
        tx.connection.execute(NOTES.insert(), {"text": "whole"})
        tx.append(decision())
        other = open_reader(url)
        assert other == (0, 0)

    ledger.transact(work)
    assert open_reader(url) == (1, 1)


def open_reader(url: str) -> tuple[int, int]:
    """How many records and notes somebody else sees."""
    with sa.create_engine(url).connect() as connection:
        counts = [
            connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in (records, NOTES)
        ]
        connection.engine.dispose()
    return int(counts[0] or 0), int(counts[1] or 0)


def test_an_exchange_is_decided_once(ledger: Ledger) -> None:
    first = decision()
    append(ledger, first)
    with pytest.raises(DuplicateDecision) as caught:
        append(ledger, decision(), denial(exchange=first.exchange))
    assert first.exchange in caught.value.message
    assert len(leaves(ledger)) == 1


def test_an_exchange_is_decided_once_within_a_train_too(ledger: Ledger) -> None:
    first = decision()

    def work(tx: Transaction) -> int:
        tx.append(first)
        with pytest.raises(DuplicateDecision):
            tx.append(denial(exchange=first.exchange))
        return tx.append(decision())

    assert ledger.transact(work).value == 1
    assert len(leaves(ledger)) == 2


def test_other_kinds_of_records_may_share_an_exchange(ledger: Ledger) -> None:
    first = decision()
    append(
        ledger, first, control("a", "b", exchange=first.exchange), control("a", "b", exchange=first.exchange)
    )
    assert len(leaves(ledger)) == 3


def test_a_record_that_is_too_large_is_refused_and_nothing_is_written(ledger: Ledger) -> None:
    with pytest.raises(LeafTooLarge):
        append(ledger, decision(), control("a", "x" * 65_536))
    assert leaves(ledger) == []


def test_the_largest_record_fits(ledger: Ledger, url: str) -> None:
    append(ledger, *(control("a", "证" * 21_000) for _ in range(3)))
    assert verify_ledger(url, KEY.verifier).size == 3


def test_reasons_are_found_in_the_transaction_that_wrote_them(ledger: Ledger) -> None:
    append(ledger, decision(), denial("NO_CONTRACT", "SYSTEM_NOT_LISTED", "NO_CONTRACT"))
    with ledger.read() as connection:
        rows = connection.execute(sa.select(record_reasons).order_by(record_reasons.c.reason)).all()
    assert [tuple(row) for row in rows] == [(1, "NO_CONTRACT"), (1, "SYSTEM_NOT_LISTED")]


def test_detail_can_be_erased_without_breaking_the_log(ledger: Ledger, url: str) -> None:
    commitments, detail = commit_texts({"reason": "可删除"})
    ledger.transact(lambda tx: tx.append(control("ListRecords", "", change=commitments), detail=detail))
    ledger.transact(lambda tx: tx.connection.execute(details.delete()).rowcount)
    assert verify_ledger(url, KEY.verifier).size == 1


@pytest.mark.parametrize(
    ("setting", "value"), [("synchronous", 2), ("foreign_keys", 1), ("journal_mode", "wal")]
)
def test_a_commit_is_on_the_disk_when_it_returns(ledger: Ledger, setting: str, value: object) -> None:
    read = ledger.transact(lambda tx: tx.connection.exec_driver_sql(f"PRAGMA {setting}").scalar())
    assert read.value == value


def test_a_ledger_is_not_continued_with_another_key(ledger: Ledger, url: str) -> None:
    with pytest.raises(LedgerKeyMismatch, match="another|configured"):
        open_ledger(url, log_key=OTHER_KEY)


def test_a_ledger_needs_a_file() -> None:
    with pytest.raises(LedgerRefused, match="memory"):
        open_ledger("sqlite://")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM records WHERE idx = 2",
        "DELETE FROM tiles WHERE level = 0",
        "UPDATE tiles SET data = zeroblob(96) WHERE level = 0",
        "UPDATE checkpoints SET root = zeroblob(32) WHERE size = 3",
        "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 0) WHERE size = 3",
        "UPDATE checkpoints SET size = 9 WHERE size = 3",
        "DELETE FROM checkpoints",
    ],
)
def test_a_ledger_that_contradicts_itself_is_not_opened_nor_appended_to(
    ledger: Ledger, url: str, damage: str
) -> None:
    append(ledger, decision(), decision(), decision())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(damage)
    engine.dispose()
    with pytest.raises(LedgerDamaged):
        open_ledger(url)


def test_metrics_follow_the_ledger(url: str) -> None:
    registry = CollectorRegistry()
    clock = Clock()
    ledger = open_ledger(url, registry=registry, clock=clock)
    append(ledger, decision(), decision())
    append(ledger, decision())
    assert registry.get_sample_value("isthmus_ledger_records") == 3
    assert registry.get_sample_value("isthmus_ledger_batch_size_sum") == 3
    assert registry.get_sample_value("isthmus_ledger_commit_seconds_count") == 2
    assert registry.get_sample_value("isthmus_checkpoint_age_seconds") == 1
    ledger.close()
