"""Disks that are full, read-only or broken: refused as UNAVAILABLE, nothing half written, recovered by itself."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from audit.ledger import Ledger, LedgerUnavailable
from audit.verifier.ledger import verify_ledger
from tests.faults.ledger_evidence import pinned
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


@pytest.fixture
def own_mounts() -> list[str]:
    """What lets a command mount a volume that nobody else sees."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        probe = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        with suppress(FileNotFoundError):
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return command
    pytest.skip("needs the right to mount a volume in a namespace of its own")


@pytest.mark.parametrize("what", ["volume", "pin-volume"])
def test_a_full_volume_refuses_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, own_mounts: list[str], what: str
) -> None:
    process = worker(tmp_path, 1024, what, before=own_mounts)
    said = list(lines(process))
    assert process.wait() == 0, said[-3:]
    refused = [line for line in said if "refused" in line]
    assert [line["refused"] for line in refused] == ["LedgerUnavailable"] * 5
    cause = "No space left on device" if what == "pin-volume" else "full|disk I/O|No space"
    assert all(re.search(cause, line["message"]) for line in refused), refused
    acks = acknowledged(said)
    # At most the refused train may be in the log beside what was acknowledged: nobody was told of it.
    assert said[len(said) - 4] == {"readable": len(acknowledged(said[:-8]))}
    assert {index: stored(tmp_path).get(index) for index in acks} == acks
    assert check_sound(tmp_path) == len(acks)
    assert pinned(tmp_path).size == len(acks)
