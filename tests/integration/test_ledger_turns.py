"""Several threads, ledgers and readers at one store: turns, deadlines, and one sound log at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import Ledger, LedgerUnavailable, Transaction
from audit.record import AccessRecord
from audit.tlog.merkle import hash_leaf, root_of
from audit.verifier.ledger import verify_ledger
from tests.integration.ledger_stores import STORES, empty_database, leaves, open_ledger
from tests.unit.audit.ledger_world import KEY, NOTES, append, failure, ledger_in

pytestmark = pytest.mark.integration


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return empty_database(request.param, tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def test_a_reader_sees_one_moment_and_cannot_write(ledger: Ledger) -> None:
    append(ledger, failure())
    with ledger.read() as connection:
        assert ledger.head(connection).size == 1
        append(ledger, failure())
        assert ledger.head(connection).size == 1
    assert ledger.newest().size == 2
    with ledger.read() as connection, pytest.raises(sa.exc.DBAPIError, match="readonly"):
        connection.execute(NOTES.insert(), {"text": "x"})


def test_a_reader_that_takes_too_long_is_stopped(ledger: Ledger) -> None:
    started = time.monotonic()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(LedgerUnavailable, match="interrupted"), ledger.read(deadline_s=0.05) as connection:
        connection.exec_driver_sql(endless).all()
    assert time.monotonic() - started < 10
    with ledger.read() as connection:
        assert ledger.head(connection).size == 0


def test_several_ledgers_of_one_database_take_turns_and_notice_each_other(ledger: Ledger, url: str) -> None:
    other = open_ledger(url)
    positions = [append(each, failure())[0] for each in (ledger, other, other, ledger, other, ledger)]
    other.close()
    assert positions == list(range(6))
    assert verify_ledger(url, KEY.verifier).size == 6


def test_time_never_goes_back_in_the_log_whatever_a_process_s_clock_says(url: str) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    ahead = open_ledger(url, clock=lambda: noon)
    behind = open_ledger(url, clock=lambda: noon - timedelta(seconds=1))
    far_behind = open_ledger(url, clock=lambda: noon - timedelta(seconds=61))
    append(ahead, failure())
    assert behind.transact(lambda transaction: transaction.now).value == noon
    with pytest.raises(LedgerUnavailable, match="0:01:01 behind the log; set the clocks right"):
        append(far_behind, failure())
    for each in (ahead, behind, far_behind):
        each.close()


def test_a_locked_ledger_refuses_in_time_and_recovers_by_itself(ledger: Ledger, url: str) -> None:
    other, held, release = open_ledger(url), threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        tx.append(failure())
        held.set()
        release.wait(30)

    holder = threading.Thread(target=other.transact, args=(hold,), kwargs={"deadline_s": 60})
    holder.start()
    held.wait(30)
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.transact(lambda tx: tx.append(failure()), deadline_s=0.3)
    assert time.monotonic() - started < 3
    assert caught.value.reason.name == "LEDGER_UNAVAILABLE"
    release.set()
    holder.join()
    other.close()
    assert append(ledger, failure()) == [1]


def test_threads_of_one_process_wait_for_their_turn_only_until_their_deadline(ledger: Ledger) -> None:
    held, release = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        held.set()
        release.wait(30)

    holder = threading.Thread(target=ledger.transact, args=(hold,))
    holder.start()
    held.wait(30)
    with pytest.raises(LedgerUnavailable, match="other transactions"):
        ledger.transact(lambda tx: tx.append(failure()), deadline_s=0.05)
    release.set()
    holder.join()
    assert append(ledger, failure()) == [0]


def test_work_that_outlasts_its_deadline_is_not_committed(ledger: Ledger) -> None:
    def work(tx: Transaction) -> None:
        tx.append(failure())
        threading.Event().wait(0.2)

    with pytest.raises(LedgerUnavailable, match="longer than it may"):
        ledger.transact(work, deadline_s=0.1)
    assert leaves(ledger) == []
    assert append(ledger, failure()) == [0]


def test_a_short_deadline_does_not_shorten_later_transactions(ledger: Ledger, url: str) -> None:
    ledger.transact(lambda tx: tx.append(failure()), deadline_s=0.2)
    other, held = open_ledger(url), threading.Event()

    def hold(tx: Transaction) -> None:
        held.set()
        threading.Event().wait(0.6)

    holder = threading.Thread(target=other.transact, args=(hold,))
    holder.start()
    held.wait(30)
    assert append(ledger, failure()) == [1]
    holder.join()
    other.close()


def test_many_may_open_a_new_ledger_at_once(url: str) -> None:
    opened: list[Ledger] = []
    failures: list[Exception] = []

    def begin() -> None:
        try:
            opened.append(open_ledger(url))
            append(opened[-1], failure())
        except Exception as error:  # noqa: BLE001 - the thread hands it to the test
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert verify_ledger(url, KEY.verifier).size == 6
    for each in opened:
        each.close()


def fail_after(batch: list[AccessRecord], tx: Transaction) -> None:
    """Work that appends and then fails."""
    for each in batch:
        tx.append(each)
    raise ZeroDivisionError


STEPS = st.lists(
    st.tuples(st.sampled_from(["left", "right", "restart", "fail"]), st.integers(0, 9)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25)
@given(STEPS)
def test_any_interleaving_with_restarts_and_failures_gives_one_sound_log(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    expected: list[str] = []
    with ledger_in(directory) as left, ledger_in(directory) as right:
        for who, count in steps:
            batch = [failure() for _ in range(count)]
            if who == "restart":
                with ledger_in(directory) as fresh:
                    append(fresh, *batch)
            elif who == "fail":
                with pytest.raises(ZeroDivisionError):
                    left.transact(partial(fail_after, batch))
                continue
            else:
                append(left if who == "left" else right, *batch)
            expected += [each.exchange for each in batch]
        stored = leaves(left)
    assert [AccessRecord.parse(leaf).exchange for leaf in stored] == expected
    verified = verify_ledger(str(directory / "ledger.db"), KEY.verifier)
    assert (verified.size, verified.root) == (len(stored), root_of(b"".join(map(hash_leaf, stored))))
