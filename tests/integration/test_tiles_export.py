"""`isthmus audit export-tiles`: whole, growing, resumable folders, and what it refuses to write or to write over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from audit.ledger import LedgerDamaged
from audit.ledger.schema import cosignatures
from audit.tiles.export import ExportRefused
from audit.tiles.places import bundles, count, hash_tiles
from audit.tiles.source import TileSource
from audit.tlog.errors import TileError
from audit.tlog.keys import SignerKey
from audit.tlog.tiles import Tile
from isthmus.cli.main import app
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, append, decision, ledger_in
from tests.unit.audit.tiles_world import export, files_in, require_whole, snapshot, spoil, write_ledger

pytestmark = pytest.mark.integration


def test_the_files_are_the_log_and_nothing_else(tmp_path: Path) -> None:
    note = write_ledger(tmp_path / "ledger.db", 70_000)
    done = export(tmp_path / "ledger.db", tmp_path / "out")
    files = files_in(tmp_path / "out")
    everything = count(70_000, entries=True)
    assert (done.size, done.written, done.kept, done.superseded) == (70_000, everything, 0, 0)
    expected = {tile.path for tile in hash_tiles(70_000)} | {bundle.path for bundle in bundles(70_000)}
    assert set(files) == expected | {"checkpoint"}
    assert files["checkpoint"] == note
    assert {len(files[f"tile/0/{index:03}"]) for index in range(273)} == {8192}
    edge = ("tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1")
    assert [len(files[path]) // 32 for path in edge] == [112, 17, 1]
    require_whole(tmp_path / "out")


@pytest.mark.parametrize("sizes", [(1, 2, 255, 256, 257), (300, 300, 600), (0, 5), (250, 66_000)])
def test_a_second_run_only_adds(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    ledger, out, before = tmp_path / "ledger.db", tmp_path / "out", -1
    seen: dict[str, bytes] = {}
    for size in sizes:
        if size > before:
            write_ledger(ledger, size, before=max(0, before))
        times = {path: (out / path).stat().st_mtime_ns for path in seen}
        done = export(ledger, out)
        files = files_in(out)
        assert require_whole(out).size == size
        for path, data in seen.items():
            if path != "checkpoint":
                assert files.get(path, data) == data, "what was published never changes"
                assert path not in files or (out / path).stat().st_mtime_ns == times[path]
        assert not [path for path in files if ".p/" in path and path.partition(".p/")[0] in files]
        assert done.written == len(files.keys() - seen.keys() - {"checkpoint"})
        assert done.written + done.kept == count(size, entries=True)
        seen, before = files, size


def test_partial_tiles_stay_until_the_full_one_is_there(tmp_path: Path) -> None:
    ledger, out = tmp_path / "ledger.db", tmp_path / "out"
    for before, size in ((0, 10), (10, 20), (20, 256)):
        write_ledger(ledger, size, before=before)
        done = export(ledger, out)
        partial = {path for path in files_in(out) if path.startswith("tile/0/")}
        if size < 256:
            assert {"tile/0/000.p/10"} <= partial, "a checkpoint of that size was published"
    assert partial == {"tile/0/000"} and done.superseded == 2


def test_without_entries_no_record_is_written(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 300)
    export(tmp_path / "ledger.db", tmp_path / "out", entries=False)
    require_whole(tmp_path / "out", entries=False)
    files = files_in(tmp_path / "out")
    assert not [path for path in files if "entries" in path]
    assert not [path for path, data in files.items() if "记录".encode() in data]
    export(tmp_path / "ledger.db", tmp_path / "out")
    require_whole(tmp_path / "out")
    with pytest.raises(ExportRefused, match="holds entries of an earlier export"):
        export(tmp_path / "ledger.db", tmp_path / "out", entries=False)


def test_what_is_missing_in_the_folder_is_written_again(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 600)
    export(tmp_path / "ledger.db", tmp_path / "out")
    for path in ("tile/0/000", "tile/entries/001", "tile/1/000.p/2"):
        (tmp_path / "out" / path).unlink()
    (tmp_path / "out" / "tile/0/001").write_bytes(b"short")
    assert export(tmp_path / "ledger.db", tmp_path / "out").written == 4
    require_whole(tmp_path / "out")


def test_a_second_run_reads_only_what_is_new(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    write_ledger(ledger, 600)
    export(ledger, tmp_path / "out")
    spoil(ledger, "DELETE FROM records WHERE idx < 512")  # As a purge after their term would.
    write_ledger(ledger, 700, before=600)
    assert export(ledger, tmp_path / "out").size == 700
    require_whole(tmp_path / "out")


def test_a_cosignature_that_came_later_is_published_too(tmp_path: Path) -> None:
    note = write_ledger(tmp_path / "ledger.db", 3)
    export(tmp_path / "ledger.db", tmp_path / "out")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        values = {"size": 3, "witness": "w", "line": "— w.example AAAAAAAA\n", "at_ms": 1}
        connection.execute(cosignatures.insert(), values)
    engine.dispose()
    export(tmp_path / "ledger.db", tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint").read_bytes() == note + "— w.example AAAAAAAA\n".encode()
    require_whole(tmp_path / "out")


# What contradicts the folder.


def test_a_rolled_back_ledger_does_not_shorten_the_folder(tmp_path: Path) -> None:
    write_ledger(tmp_path / "new.db", 400)
    write_ledger(tmp_path / "old.db", 300)
    export(tmp_path / "new.db", tmp_path / "out")
    held = files_in(tmp_path / "out")
    with pytest.raises(ExportRefused, match=r"covers 400 entries and the ledger only 300.*rolled back"):
        export(tmp_path / "old.db", tmp_path / "out")
    assert files_in(tmp_path / "out") == held


def test_a_rewritten_ledger_does_not_continue_the_folder(tmp_path: Path) -> None:
    write_ledger(tmp_path / "one.db", 300)
    export(tmp_path / "one.db", tmp_path / "out")
    with ledger_in(tmp_path) as ledger:
        append(ledger, *(decision() for _ in range(301)))
    held = files_in(tmp_path / "out")
    with pytest.raises(ExportRefused, match="first 300 entries of the ledger are not those of the folder"):
        export(tmp_path / "ledger.db", tmp_path / "out")
    assert files_in(tmp_path / "out") == held


def test_another_log_is_not_mixed_in(tmp_path: Path) -> None:
    write_ledger(tmp_path / "one.db", 3)
    write_ledger(tmp_path / "other.db", 4, key=SignerKey.from_seed("elsewhere.example/log", bytes(32)))
    export(tmp_path / "one.db", tmp_path / "out")
    with pytest.raises(ExportRefused, match=r"holds the log ledger\.example/log.*elsewhere\.example/log"):
        export(tmp_path / "other.db", tmp_path / "out")
    (tmp_path / "out" / "checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(ExportRefused, match="cannot be read"):
        export(tmp_path / "one.db", tmp_path / "out")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE records SET leaf = x'00' WHERE idx = 300", "does not hash to the tree's leaves"),
        ("DELETE FROM records WHERE idx = 300", "some of them are missing"),
        ("UPDATE tiles SET data = zeroblob(8192) WHERE level = 0 AND idx = 1", "tree"),
        ("UPDATE tiles SET data = zeroblob(64) WHERE level = 1", "its tree is not the one"),
        ("DELETE FROM tiles WHERE level = 1", "cannot be read"),
        ("DELETE FROM checkpoints", "it has no checkpoint"),
        ("UPDATE checkpoints SET note = x'00'", "checkpoint cannot be read"),
        ("UPDATE checkpoints SET size = 599", "not the one that its newest checkpoint vouches for"),
    ],
)
@pytest.mark.parametrize("entries", [True, False])
def test_a_damaged_ledger_is_not_published(tmp_path: Path, sql: str, told: str, entries: bool) -> None:
    write_ledger(tmp_path / "ledger.db", 600)
    spoil(tmp_path / "ledger.db", sql)
    if "records" in sql and not entries:
        export(tmp_path / "ledger.db", tmp_path / "out", entries=False)
        return
    with pytest.raises(LedgerDamaged, match=told):
        export(tmp_path / "ledger.db", tmp_path / "out", entries=entries)
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_what_the_checkpoint_does_not_cover_is_not_in_the_source(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 10)
    with snapshot(tmp_path / "ledger.db") as connection:
        source = TileSource(connection)
        assert len(source.read(Tile(0, 0, 10))) == 320
        for place in (Tile(0, 0, 11), Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1), Tile(63, 0, 1)):
            with pytest.raises(LookupError, match="covers 10 entries"):
                source.read(place)
    with pytest.raises(TileError):
        Tile(0, 0, 0)


# The command.


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", "export-tiles", *arguments])


def test_the_command_writes_says_what_and_goes_on(tmp_path: Path) -> None:
    ledger, out = tmp_path / "台账.db", tmp_path / "公开"
    write_ledger(ledger, 300)
    first = run(str(out), "--ledger", str(ledger), "--json")
    assert first.exit_code == 0, first.output
    facts = {"log": KEY.verifier.name, "records": 300, "written": 5, "kept": 0, "superseded": 0}
    assert json.loads(first.stdout) == facts
    write_ledger(ledger, 512, before=300)
    second = run(str(out), "--ledger", f"sqlite:///{ledger}", "--json")
    assert json.loads(second.stdout) == {**facts, "records": 512, "written": 3, "kept": 2, "superseded": 2}
    require_whole(out)
    plain = run(str(out), "--ledger", str(ledger))
    assert "512" in plain.stdout and plain.stderr == ""


def test_the_command_ends_in_words(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", 3)
    write_ledger(tmp_path / "other.db", 3, key=OTHER_KEY)
    spoil(tmp_path / "other.db", "UPDATE records SET leaf = x'00' WHERE idx = 1")
    (tmp_path / "text.db").write_text("这不是数据库 " * 400, encoding="utf-8")
    (tmp_path / "file").touch()
    for ledger, out, told in (
        ("missing.db", "out", "No such file"),
        ("text.db", "out", "cannot be read as a ledger"),
        ("other.db", "out", "does not hash"),
        ("ledger.db", "file/out", "Not a directory"),
    ):
        result = run(str(tmp_path / out), "--ledger", str(tmp_path / ledger))
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("refused: ") and told in result.stderr
        assert "Traceback" not in result.output
