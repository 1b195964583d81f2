"""The pin: an old copy of the database, or another one, is noticed and refused."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.ledger import LedgerForked, LedgerRefused, LedgerRolledBack, LedgerUnavailable, LedgerUnpinned
from audit.ledger.pin import Pin
from audit.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, append, decision, ledger_in

pytestmark = pytest.mark.integration


def copy_database(directory: Path, to: Path) -> None:
    """A consistent copy, as a backup makes it."""
    to.mkdir()
    with sqlite3.connect(directory / "ledger.db") as source, sqlite3.connect(to / "ledger.db") as target:
        source.backup(target)
    source.close()
    target.close()


def restore(backup: Path, directory: Path) -> None:
    """Put a copy back in place of the database."""
    for file in directory.glob("ledger.db*"):
        file.unlink()
    shutil.copy(backup / "ledger.db", directory / "ledger.db")


def pinned(directory: Path) -> int:
    """The size that the pin vouches for."""
    return open_checkpoint((directory / "pin").read_bytes(), KEY.verifier).checkpoint.size


def test_the_pin_follows_the_ledger(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        assert pinned(tmp_path) == 0
        append(ledger, decision(), decision())
    assert pinned(tmp_path) == 2
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
    assert pinned(tmp_path) == 3


def test_an_old_copy_that_was_put_back_is_refused(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        copy_database(tmp_path, tmp_path / "backup")
        append(ledger, decision())
    restore(tmp_path / "backup", tmp_path)
    with pytest.raises(LedgerRolledBack, match="holds 1 records.*covers 2.*Restore"), ledger_in(tmp_path):
        pass
    assert pinned(tmp_path) == 2


def test_a_rewritten_history_is_refused_even_when_it_is_longer(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        copy_database(tmp_path, tmp_path / "backup")
        append(ledger, decision())
    with ledger_in(tmp_path / "backup", pin=None) as rewritten:
        append(rewritten, decision(), decision(), decision())
    restore(tmp_path / "backup", tmp_path)
    with pytest.raises(LedgerForked, match="first 2 records"), ledger_in(tmp_path):
        pass


def test_the_database_of_another_installation_is_refused(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
    (tmp_path / "other").mkdir()
    with ledger_in(tmp_path / "other") as other:
        append(other, decision())
    restore(tmp_path / "other", tmp_path)
    with pytest.raises(LedgerForked), ledger_in(tmp_path):
        pass


def forged(size: int, key: object = KEY) -> bytes:
    """A checkpoint of some tree."""
    return sign_checkpoint(Checkpoint("ledger.example/log", size, bytes(32)), key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda note: b"",
        lambda note: note[:-4],
        lambda note: b"x" + note,
        lambda note: note.replace(b"\n1\n", b"\n0\n"),
        lambda note: forged(1, OTHER_KEY),
        lambda note: b"\xff" * 100,
        lambda note: b"x" * 2_000_000,
    ],
)
def test_a_pin_that_the_log_did_not_sign_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
    path = tmp_path / "pin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LedgerRefused, match="pin"), ledger_in(tmp_path):
        pass


def test_a_ledger_cut_back_under_a_running_process_is_refused_and_released_nothing(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        copy_database(tmp_path, tmp_path / "backup")
        append(ledger, decision())
        with sqlite3.connect(tmp_path / "backup" / "ledger.db") as source:
            with sqlite3.connect(tmp_path / "ledger.db") as target:
                source.backup(target)
            target.close()
        source.close()
        with pytest.raises(LedgerRolledBack):
            append(ledger, decision())


def test_a_history_rewritten_under_a_running_process_is_refused(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        copy_database(tmp_path, tmp_path / "backup")
        append(ledger, decision())
        with ledger_in(tmp_path / "backup", pin=None) as rewritten:
            append(rewritten, decision(), decision(), decision())
        with sqlite3.connect(tmp_path / "backup" / "ledger.db") as source:
            with sqlite3.connect(tmp_path / "ledger.db") as target:
                source.backup(target)
            target.close()
        source.close()
        with pytest.raises(LedgerForked):
            append(ledger, decision())


def test_an_older_checkpoint_never_replaces_a_newer_pin(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        old = ledger.newest()
        append(ledger, decision())
    slow = Pin(tmp_path / "pin", KEY.verifier)
    slow.offer(old.size, old.note)
    slow.flush()
    assert pinned(tmp_path) == 2


def test_a_pin_that_cannot_be_written_stops_the_ledger_until_it_can(tmp_path: Path) -> None:
    place = tmp_path / "pins"
    place.mkdir()
    with ledger_in(tmp_path, pin=place / "pin") as ledger:
        append(ledger, decision())
        hidden = place.rename(tmp_path / "elsewhere")
        with pytest.raises(LedgerUnavailable, match="pinned"):
            for _ in range(1000):
                append(ledger, decision())
        hidden.rename(place)
        size = ledger.newest().size
        assert append(ledger, decision()) == [size]
    assert open_checkpoint((place / "pin").read_bytes(), KEY.verifier).checkpoint.size == size + 1


def test_an_old_copy_is_not_taken_for_new_where_the_pin_was_removed(tmp_path: Path) -> None:
    with ledger_in(tmp_path, pin=None) as ledger:
        append(ledger, decision())
        checkpoint = ledger.newest().note
    with pytest.raises(LedgerUnpinned, match="there is no pin at"), ledger_in(tmp_path):
        pass
    (tmp_path / "pin").write_bytes(checkpoint)
    with ledger_in(tmp_path):
        assert pinned(tmp_path) == 1


def test_an_empty_log_begins_its_pin(tmp_path: Path) -> None:
    with ledger_in(tmp_path):
        assert pinned(tmp_path) == 0


def test_processes_that_share_a_pin_keep_the_newest(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as one, ledger_in(tmp_path) as two:
        for _ in range(10):
            append(one, decision())
            append(two, decision())
    assert pinned(tmp_path) == 20


def test_records_that_others_write_while_a_process_opens_the_ledger_are_no_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Pin.read

    with ledger_in(tmp_path) as busy:
        append(busy, decision())

        def read_late(pin: Pin) -> Checkpoint | None:
            monkeypatch.undo()
            append(busy, decision(), decision())
            assert busy._pin is not None
            busy._pin.flush()
            return read(pin)

        monkeypatch.setattr(Pin, "read", read_late)
        with ledger_in(tmp_path) as opened:
            assert opened.newest().size == pinned(tmp_path) == 3


def test_a_log_that_others_begin_while_a_process_opens_it_has_its_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Pin.read

    def read_early(pin: Pin) -> Checkpoint | None:
        monkeypatch.undo()
        found = read(pin)
        with ledger_in(tmp_path) as other:
            append(other, decision())
        return found

    monkeypatch.setattr(Pin, "read", read_early)
    with ledger_in(tmp_path) as opened:
        assert opened.newest().size == pinned(tmp_path) == 1


def test_a_process_that_hangs_with_the_pin_does_not_let_others_go_on_unpinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.ledger.pin._TURN_WITHIN_S", 0.05)
    with ledger_in(tmp_path) as ledger:
        append(ledger, decision())
        with (tmp_path / ".pin.lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(LedgerUnavailable, match="held the lock of the pin"):
                for _ in range(1000):
                    append(ledger, decision())
        size = ledger.newest().size
        assert append(ledger, decision()) == [size]
    assert pinned(tmp_path) == size + 1
