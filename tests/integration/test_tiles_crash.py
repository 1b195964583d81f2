"""Exports that are cut off, killed or run twice at once: the folder is a whole log at every moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.tiles.folder import FolderBusy, StaticFolder, open_folder
from audit.tiles.places import count
from tests.unit.audit.tiles_world import export, require_whole, write_ledger

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


class Stopped(Exception):
    """The process ends here."""


def test_wherever_a_run_is_cut_off_the_folder_is_a_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, out = tmp_path / "ledger.db", tmp_path / "out"
    write_ledger(ledger, 200)
    export(ledger, out)
    write_ledger(ledger, 900, before=200)
    write, left = StaticFolder.write, [0]

    def failing(self: StaticFolder, path: str, data: bytes, *, mode: int = 0o666) -> None:
        if not left[0]:
            raise Stopped
        left[0] -= 1
        write(self, path, data, mode=mode)

    monkeypatch.setattr(StaticFolder, "write", failing)
    for steps in range(40):
        left[0] = 1 if steps else 0
        try:
            export(ledger, out)
        except Stopped:
            assert require_whole(out).size == 200
        else:
            break
    assert require_whole(out).size == 900
    assert steps == count(900, entries=True) + 1, "each run went on where the one before had ended"


def test_files_that_nothing_vouches_for_are_written_again(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 300)
    (tmp_path / "out" / "tile" / "0").mkdir(parents=True)
    (tmp_path / "out" / "tile" / "0" / "000").write_bytes(bytes(8192))
    (tmp_path / "out" / ".export.new").write_bytes(b"half a ti")
    export(tmp_path / "ledger.db", tmp_path / "out")
    require_whole(tmp_path / "out")
    assert not (tmp_path / "out" / ".export.new").exists()


def test_a_link_in_a_shared_folder_leads_nowhere(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 10)
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_bytes(b"precious")
    (tmp_path / "out" / ".export.new").symlink_to(tmp_path / "mine")
    export(tmp_path / "ledger.db", tmp_path / "out")
    require_whole(tmp_path / "out")
    assert (tmp_path / "mine").read_bytes() == b"precious"


def test_what_a_failed_write_left_is_removed(tmp_path: Path) -> None:
    with pytest.raises(Stopped), open_folder(tmp_path):
        (tmp_path / ".export.new").write_bytes(b"records")
        raise Stopped
    assert not list(tmp_path.iterdir())


def test_records_are_for_their_owner_and_hashes_for_anybody(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 300)
    before = os.umask(0o022)
    try:
        export(tmp_path / "ledger.db", tmp_path / "out")
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(tmp_path / "out")): path.stat().st_mode & 0o777
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert {mode for path, mode in modes.items() if path.startswith("tile/entries")} == {0o600}
    assert {mode for path, mode in modes.items() if not path.startswith("tile/entries")} == {0o644}


KILLED = """
import sys, os, signal
from pathlib import Path
from audit.tiles.folder import StaticFolder
from audit.tiles.export import export_tiles
from audit.ledger.offline import open_offline
ledger, folder, after = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
replace, calls = Path.replace, [0]
def dying(self, target):
    calls[0] += 1
    if calls[0] == after:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = dying
with open_offline(ledger) as connection:
    export_tiles(connection, folder, entries=True)
"""


def test_a_killed_export_is_resumed(tmp_path: Path) -> None:
    ledger, out = tmp_path / "ledger.db", tmp_path / "out"
    write_ledger(ledger, 3000)
    total, written = count(3000, entries=True), 0
    for after in (random.Random(5).randrange(2, 9) for _ in range(4)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(ledger), str(out), str(after)], cwd=ROOT, check=False
        )
        assert done.returncode == -9
        written += after - 1
        assert (out / ".export.new").exists() and not (out / "checkpoint").exists()
    found = export(ledger, out)
    assert (found.written, found.kept) == (total - written, written)
    require_whole(out)
    assert not (out / ".export.new").exists()


def test_every_byte_and_name_is_synced_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(tmp_path / "ledger.db", 300)
    synced: list[str] = []
    fsync: Callable[[int], None] = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path / "out"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    export(tmp_path / "ledger.db", tmp_path / "out")
    files, names = count(300, entries=True), synced[count(300, entries=True) :]
    assert synced[:files] == [".export.new"] * files
    at = names.index(".export.new")
    folders = {
        ".",
        "tile",
        "tile/0",
        "tile/1",
        "tile/entries",
        "tile/0/001.p",
        "tile/1/000.p",
        "tile/entries/001.p",
    }
    assert set(names[:at]) == folders, "all names, then the checkpoint, then its name"
    assert names[at:] == [".export.new", "."]


def test_names_that_a_killed_run_left_unsynced_are_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(tmp_path / "ledger.db", 300)
    with monkeypatch.context() as patch:
        patch.setattr(StaticFolder, "sync", _stop)
        with pytest.raises(Stopped):
            export(tmp_path / "ledger.db", tmp_path / "out")
    synced: list[str] = []
    fsync: Callable[[int], None] = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path / "out"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    assert export(tmp_path / "ledger.db", tmp_path / "out").written == 0
    assert {"tile/0", "tile/0/001.p", "tile/1/000.p", "tile/entries"} <= set(
        synced[: synced.index(".export.new")]
    )


def _stop(_: StaticFolder) -> None:
    raise Stopped


def test_two_exports_do_not_write_to_one_folder(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 3)
    with open_folder(tmp_path / "out"), pytest.raises(FolderBusy, match="another export is writing"):
        export(tmp_path / "ledger.db", tmp_path / "out")
    export(tmp_path / "ledger.db", tmp_path / "out")
