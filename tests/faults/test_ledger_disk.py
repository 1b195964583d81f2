"""Disks that are full, read-only or broken: refused as UNAVAILABLE, nothing half written, recovered by itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from audit.ledger import Ledger, LedgerUnavailable
from audit.verifier.ledger import verify_ledger
from tests.faults.test_ledger_processes import acknowledged, lines, stored, worker
from tests.unit.audit.ledger_world import KEY, append, control, failure, ledger_in

pytestmark = pytest.mark.fault


def check_sound(directory: Path) -> int:
    """The number of records in a ledger in which nothing is wrong."""
    return verify_ledger(str(directory / "ledger.db"), KEY.verifier).size


def limit_pages(ledger: Ledger, pages: int) -> None:
    """Let the database have so many pages, as a full volume would."""
    ledger.transact(lambda tx: tx.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())


def test_a_full_database_refuses_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, failure())
        used = int(sqlite3.connect(tmp_path / "ledger.db").execute("PRAGMA page_count").fetchone()[0])
        limit_pages(ledger, used + 10)
        large = [control("a", "x" * 60_000) for _ in range(3)]
        with pytest.raises(LedgerUnavailable, match="full"):
            append(ledger, *large)
        # The connection with the limit was discarded with all that it held, so there is room again.
        assert append(ledger, *large) == [1, 2, 3]
    assert check_sound(tmp_path) == 4


def test_a_file_that_may_not_grow_refuses_and_recovers_in_the_same_process(tmp_path: Path) -> None:
    process = worker(tmp_path, 0, "limited")
    said = list(lines(process))
    assert process.wait() == 0
    refused = [position for position, line in enumerate(said) if "refused" in line]
    assert refused == [len(said) - 2], said[-3:]
    assert stored(tmp_path) == acknowledged(said)
    assert check_sound(tmp_path) == len(acknowledged(said))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_ledger_that_may_only_be_read_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    with ledger_in(tmp_path) as ledger:
        append(ledger, failure())
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    process = worker(tmp_path, 1, "unprivileged")
    said = list(lines(process))
    process.wait()
    assert said
    assert not acknowledged(said)
    assert {line.get("refused", "LedgerUnavailable") for line in said} == {"LedgerUnavailable"}
    assert check_sound(tmp_path) == 1


def test_a_ledger_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="unable to open"), ledger_in(tmp_path / "missing", pin=None):
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerUnavailable, match="not a database"), ledger_in(tmp_path):
        pass


def can_inject() -> bool:
    """Whether system calls can be made to fail here."""
    if shutil.which("strace") is None:
        return False
    return os.system("strace -qq -o /dev/null true >/dev/null 2>&1") == 0


FAULTS = [
    *(("fdatasync", "EIO", which) for which in (1, 2, 3, 5, 8)),
    *(("pwrite64", "EIO", which) for which in (1, 9, 40, 77, 110, 143)),
    *(("pwrite64", "ENOSPC", which) for which in (3, 60, 95, 128)),
    *(("fsync", "EIO", which) for which in (1, 2, 3)),
]


@pytest.mark.skipif(not can_inject(), reason="needs strace and the right to trace")
@pytest.mark.parametrize(("call", "error", "which"), FAULTS)
def test_one_failed_system_call_loses_and_invents_nothing(
    tmp_path: Path, call: str, error: str, which: int
) -> None:
    inject = f"inject={call}:error={error}:when={which}"
    tracer = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", inject]
    process = worker(tmp_path, 6, before=tracer)
    said = list(lines(process))
    assert process.wait() == 0
    acks, found = acknowledged(said), stored(tmp_path)
    assert len(acks) == sum(1 + number % 7 for number in range(6)), said
    assert {index: found.get(index) for index in acks} == acks
    assert check_sound(tmp_path) == len(found)
    assert "(INJECTED)" in (tmp_path / "trace").read_text(), "the fault was never met"
