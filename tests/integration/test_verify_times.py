"""Time goes on: a log that says otherwise is named, whatever it signed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.ledger import Ledger, Transaction
from audit.record import milliseconds
from audit.verifier import ledger as ledger_verifier
from audit.verifier import tiles as tiles_verifier
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from audit.verifier.result import Verified
from audit.verifier.tiles import verify_tiles
from tests.integration.verify_world import exported, failures, grow
from tests.unit.audit.ledger_world import KEY, START, failure, ledger_in

pytestmark = pytest.mark.integration

Verify = Callable[..., Verified]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_verifier, "_CHUNK_RECORDS", 32)
    monkeypatch.setattr(tiles_verifier, "_TILES_AT_ONCE", 1)


@pytest.fixture(params=["ledger", "tiles"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    """Verifies the ledger in a directory, or what is exported of it."""

    def ledger(directory: Path, **options: Any) -> Verified:
        return verify_ledger(str(directory / "ledger.db"), KEY.verifier, **options)

    def tiles(directory: Path, **options: Any) -> Verified:
        return verify_tiles(str(exported(directory)), KEY.verifier, **options)

    return ledger if request.param == "ledger" else tiles


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the log sign these times, seconds behind the start, one a transaction."""

    def lie(*seconds: float) -> None:
        times = iter([START + timedelta(seconds=each) for each in seconds])
        monkeypatch.setattr(Ledger, "_now", lambda *_: next(times))

    return lie


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("size", [1, 32, 40, 256, 300])
def test_a_transaction_before_the_one_before_it_is_named(
    tmp_path: Path,
    verify: Verify,
    says: Callable[..., None],
    size: int,
    jobs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (ledger_verifier, tiles_verifier):
        monkeypatch.setattr(module, "_ALONE", 0)
    says(1, 0.999, 1)
    grow(tmp_path, failures(size), failures(2), failures(1))
    with pytest.raises(Damaged, match="before the record that precedes it") as caught:
        verify(tmp_path, jobs=jobs)
    assert (caught.value.kind, caught.value.where) == (DamageKind.CONTENT, f"record {size}")


def test_what_an_earlier_run_saw_last_is_the_time_behind_which_the_next_begins(
    tmp_path: Path, verify: Verify, says: Callable[..., None]
) -> None:
    says(10, 10, 9)
    grow(tmp_path, failures(40))
    verify(tmp_path, state=tmp_path / "state")
    grow(tmp_path, failures(3))
    verify(tmp_path, state=tmp_path / "state")
    grow(tmp_path, failures(3))
    with pytest.raises(Damaged, match="before the record that precedes it") as caught:
        verify(tmp_path, state=tmp_path / "state")
    assert caught.value.where == "record 43"


@pytest.mark.parametrize("before", [1, 31, 32, 255, 256])
@pytest.mark.parametrize("seconds", [-1, 1])
def test_two_times_in_one_transaction_are_named(
    tmp_path: Path, verify: Verify, before: int, seconds: int
) -> None:
    def work(tx: Transaction) -> None:
        for _ in range(before):
            tx.append(failure())
        later: datetime = tx.now + timedelta(seconds=seconds)
        tx.now = later
        tx._at_ms = milliseconds(later)
        tx.append(failure())

    with ledger_in(tmp_path) as ledger:
        ledger.transact(work)
    with pytest.raises(Damaged, match="another time than that of the transaction") as caught:
        verify(tmp_path)
    assert (caught.value.kind, caught.value.where) == (DamageKind.CONTENT, f"record {before}")


def test_transactions_of_the_same_millisecond_are_sound(
    tmp_path: Path, verify: Verify, says: Callable[..., None]
) -> None:
    says(1, 1, 1)
    grow(tmp_path, failures(3), failures(300), failures(2))
    assert verify(tmp_path).size == 305
