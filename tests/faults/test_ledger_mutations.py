"""Whatever is changed in a ledger behind the log's back, the offline verifier names it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.ledger.schema import INDEX_COLUMNS
from audit.record import AccessRecord
from audit.search.lookup import commit_texts
from audit.tlog.merkle import hash_leaf
from audit.verifier import ledger as verifier
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.faults.spoiled_ledgers import damage, flip, spoil
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, append, control, denial, failure, ledger_in

pytestmark = pytest.mark.fault

SIZE = 270
DENIALS = (4, 258)
PLACES = (0, 4, 100, 255, 256, 269)
CHECKPOINTS = (0, 1, 5, 40, 265, 270)


def write(ledger: Ledger, batch: list[AccessRecord], detail: dict[str, str] | None) -> None:
    """One transaction; the detail belongs to the records that commit to some."""
    ledger.transact(lambda tx: [tx.append(each, detail=detail if each.change else None) for each in batch])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 270 records in transactions of five, but for the first; with reasons and detail."""
    directory = tmp_path_factory.mktemp("original")
    commitments, detail = commit_texts({"reason": "投诉 17 号"}, nonce=lambda: bytes(32))
    with ledger_in(directory) as ledger:
        append(ledger, failure())
        for start in (1, *range(5, SIZE, 5)):
            batch = [
                denial("NO_CONTRACT", "SYSTEM_NOT_LISTED") if index in DENIALS else failure()
                for index in range(start, (start // 5 + 1) * 5)
            ]
            if start == 100:
                batch[0] = control("ListRecords", "", change=commitments)
            write(ledger, batch, detail if start == 100 else None)
    return directory / "ledger.db"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is altered lies at the beginning, at the end and in the middle of several chunks."""
    monkeypatch.setattr(verifier, "_CHUNK_RECORDS", 32)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copy(original, tmp_path / "ledger.db"))


def test_a_sound_ledger_is_sound(original: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = verify_ledger(f"sqlite:///{original}", KEY.verifier, progress=lambda *done: seen.append(done))
    assert (found.size, found.checkpoints, seen[-1]) == (SIZE, 56, (SIZE, SIZE))
    assert len(seen) > 5


@pytest.mark.parametrize("index", PLACES)
@pytest.mark.parametrize("column", ["leaf", "leaf_hash", *INDEX_COLUMNS])
def test_an_altered_record_is_named(copy: Path, index: int, column: str) -> None:
    flip(copy, "records", column, f"idx = {index}")
    found = damage(copy)
    assert found.where == f"record {index}"
    assert found.kind is (DamageKind.RECORD if column == "leaf" else DamageKind.COLUMN)


@pytest.mark.parametrize("index", PLACES)
def test_a_removed_record_is_named(copy: Path, index: int) -> None:
    spoil(copy, f"DELETE FROM records WHERE idx = {index}")
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.RECORD, f"record {index}")


@pytest.mark.parametrize(("one", "other"), [(0, 1), (6, 7), (100, 256), (268, 269)])
def test_exchanged_records_are_named(copy: Path, one: int, other: int) -> None:
    move = "UPDATE records SET idx = {} WHERE idx = {}"
    spoil(copy, *(move.format(to, at) for to, at in ((-1, one), (one, other), (other, -1))))
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.RECORD, f"record {one}")


def test_a_record_replaced_with_hash_and_tile_but_without_the_key_is_named(copy: Path) -> None:
    leaf = sqlite3.connect(copy).execute("SELECT leaf FROM records WHERE idx = 41").fetchone()[0]
    forged = leaf.replace(b"QUERY", b"BATCH")
    (tile,) = sqlite3.connect(copy).execute("SELECT data FROM tiles WHERE level = 0 AND idx = 0").fetchone()
    at = 41 * 32
    spoil(
        copy,
        (
            "UPDATE records SET leaf = ?, leaf_hash = ?, mode = 'BATCH' WHERE idx = 41",
            (forged, hash_leaf(forged)),
        ),
        (
            "UPDATE tiles SET data = ? WHERE level = 0 AND idx = 0",
            (tile[:at] + hash_leaf(forged) + tile[at + 32 :],),
        ),
    )
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.RECORD, "records 40 to 44")


def test_an_added_record_is_named(copy: Path) -> None:
    columns = ", ".join(["leaf", "leaf_hash", *INDEX_COLUMNS]).replace("exchange", "exchange || 'x'")
    names = ", ".join(["idx", "leaf", "leaf_hash", *INDEX_COLUMNS])
    spoil(copy, f"INSERT INTO records ({names}) SELECT {SIZE}, {columns} FROM records WHERE idx = 0")
    assert damage(copy).where == f"record {SIZE}"


@pytest.mark.parametrize(("level", "index"), [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("how", ["flip", "cut", "drop", "longer"])
def test_an_altered_tile_is_named(copy: Path, level: int, index: int, how: str) -> None:
    where = f"level = {level} AND idx = {index}"
    if how == "flip":
        flip(copy, "tiles", "data", where)
    else:
        change = {
            "cut": "UPDATE tiles SET data = substr(data, 1, length(data) - 32)",
            "drop": "DELETE FROM tiles",
            "longer": "UPDATE tiles SET data = CAST(data || zeroblob(32) AS BLOB)",
        }[how]
        spoil(copy, f"{change} WHERE {where}")
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.TILE, f"tile {level}/{index}")


@pytest.mark.parametrize(("level", "index"), [(0, 2), (1, 1), (2, 0), (0, -1), (64, 0)])
def test_a_superfluous_tile_is_named(copy: Path, level: int, index: int) -> None:
    spoil(copy, f"INSERT INTO tiles SELECT {level}, {index}, data FROM tiles WHERE level = 0 AND idx = 1")
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.TILE, f"tile {level}/{index}")


def test_exchanged_tiles_are_named(copy: Path) -> None:
    move = "UPDATE tiles SET idx = {} WHERE level = 0 AND idx = {}"
    spoil(copy, *(move.format(to, at) for to, at in ((-1, 0), (0, 1), (1, -1))))
    assert damage(copy).where == "tile 0/0"


@pytest.mark.parametrize("size", CHECKPOINTS)
@pytest.mark.parametrize("column", ["root", "note", "at_ms"])
def test_an_altered_checkpoint_is_named(copy: Path, size: int, column: str) -> None:
    flip(copy, "checkpoints", column, f"size = {size}")
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.CHECKPOINT, f"checkpoint {size}")


@pytest.mark.parametrize("size", CHECKPOINTS)
def test_a_removed_checkpoint_is_named(copy: Path, size: int) -> None:
    spoil(copy, f"DELETE FROM checkpoints WHERE size = {size}")
    found = damage(copy)
    last = size == SIZE
    assert (found.kind, found.where) == (
        DamageKind.CHECKPOINT,
        "record 265" if last else f"checkpoint {size}",
    )


@pytest.mark.parametrize(("one", "other"), [(0, 1), (5, 40), (265, 270)])
def test_exchanged_checkpoints_are_named(copy: Path, one: int, other: int) -> None:
    move = "UPDATE checkpoints SET size = {} WHERE size = {}"
    spoil(copy, *(move.format(to, at) for to, at in ((-1, one), (one, other), (other, -1))))
    assert damage(copy).where == f"checkpoint {one}"


def test_a_checkpoint_by_another_key_is_named(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with ledger_in(tmp_path / "other", key=OTHER_KEY) as other:
        append(other, failure())
        note = other.newest().note
    spoil(copy, ("UPDATE checkpoints SET note = ? WHERE size = 1", (note,)))
    assert damage(copy).where == "checkpoint 1"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("DELETE FROM record_reasons WHERE idx = 4 AND reason = 'NO_CONTRACT'", "record 4"),
        ("UPDATE record_reasons SET reason = 'x' WHERE idx = 258 AND reason = 'NO_CONTRACT'", "record 258"),
        ("UPDATE record_reasons SET idx = 5 WHERE idx = 4 AND reason = 'NO_CONTRACT'", "record 4"),
        ("INSERT INTO record_reasons VALUES (7, 'NO_CONTRACT')", "record 7"),
        ("INSERT INTO record_reasons VALUES (270, 'NO_CONTRACT')", "record 270"),
        ("INSERT INTO record_reasons VALUES (-1, 'NO_CONTRACT')", "record -1"),
        ("INSERT INTO record_reasons VALUES (4.5, 'NO_CONTRACT')", "record 4.5"),
        ("INSERT INTO record_reasons VALUES (1.5, 'NO_CONTRACT')", "record 1.5"),
        ("INSERT INTO record_reasons VALUES ('x', 'NO_CONTRACT')", "record x"),
    ],
)
def test_altered_reasons_are_named(copy: Path, change: str, where: str) -> None:
    spoil(copy, change)
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.REASON, where)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("UPDATE details SET json = CAST(replace(json, '17', '18') AS BLOB)", "record 100"),
        ("UPDATE details SET json = CAST(replace(json, '000', '001') AS BLOB)", "record 100"),
        ("UPDATE details SET json = CAST('{' AS BLOB)", "record 100"),
        ("UPDATE details SET idx = 271 WHERE idx = 100", "record 271"),
    ],
)
def test_altered_detail_is_named(copy: Path, change: str, where: str) -> None:
    spoil(copy, change)
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.DETAIL, where)


STRAYS = [
    ("record_subjects", "'1.ab', 2.5", DamageKind.SUBJECT, "record 2.5"),
    ("record_subjects", "'1.ab', 269.5", DamageKind.SUBJECT, "record 269.5"),
    ("record_subjects", "'1.ab', 'x'", DamageKind.SUBJECT, "record x"),
    ("batch_lines", "2.5, 0, x'', x''", DamageKind.DETAIL, "record 2.5"),
    ("tiles", "0, 0.5, x''", DamageKind.TILE, "tile 0/0.5"),
    ("tiles", "'x', 0, x''", DamageKind.TILE, "tile x/0"),
    ("checkpoints", "-5, x'', x'', 0", DamageKind.CHECKPOINT, "checkpoint -5"),
    ("cosignatures", "7, 'office', '—', 0", DamageKind.CHECKPOINT, "checkpoint 7"),
    ("cosignatures", "271, 'office', '—', 0", DamageKind.CHECKPOINT, "checkpoint 271"),
    ("timestamps", "4.5, 'tsa', x'', 0", DamageKind.CHECKPOINT, "checkpoint 4.5"),
]


@pytest.mark.parametrize(("table", "values", "kind", "where"), STRAYS)
def test_a_row_that_belongs_to_nothing_is_named(
    copy: Path, table: str, values: str, kind: DamageKind, where: str
) -> None:
    spoil(copy, f"INSERT INTO {table} VALUES ({values})")
    found = damage(copy)
    assert (found.kind, found.where) == (kind, where)


def test_what_others_vouch_for_is_no_damage(copy: Path) -> None:
    rows = ("cosignatures VALUES (0, 'office', '—', 0)", "timestamps VALUES (5, 'tsa', x'', 0)")
    spoil(copy, *(f"INSERT INTO {each}" for each in rows))
    assert verify_ledger(str(copy), KEY.verifier).size == SIZE


def test_a_ledger_of_an_older_version_lacks_what_that_did_not_know(copy: Path) -> None:
    spoil(copy, "DROP TABLE cosignatures", "DROP TABLE timestamps")
    assert verify_ledger(str(copy), KEY.verifier).size == SIZE


def test_erased_detail_is_no_damage(copy: Path) -> None:
    spoil(copy, "DELETE FROM details")
    assert verify_ledger(str(copy), KEY.verifier).size == SIZE


@pytest.mark.parametrize("key", ["log_key", "schema"])
@pytest.mark.parametrize("change", ["UPDATE meta SET value = value || '0'", "DELETE FROM meta"])
def test_altered_settings_are_named(copy: Path, key: str, change: str) -> None:
    spoil(copy, f"{change} WHERE key = '{key}'")
    found = damage(copy)
    assert (found.kind, found.where) == (DamageKind.KEY, f"meta {key}")


def test_the_ledger_of_another_key_is_not_taken_for_ours(original: Path) -> None:
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(original), OTHER_KEY.verifier)
    assert caught.value.kind is DamageKind.KEY


def test_a_newest_part_that_was_cut_off_shows_against_a_checkpoint_from_outside(copy: Path) -> None:
    query = "SELECT note FROM checkpoints WHERE size = {}"
    newest, older = (sqlite3.connect(copy).execute(query.format(size)).fetchone()[0] for size in (270, 265))
    assert verify_ledger(str(copy), KEY.verifier, known=newest).size == SIZE
    assert verify_ledger(str(copy), KEY.verifier, known=older).size == SIZE
    (tile,) = sqlite3.connect(copy).execute("SELECT data FROM tiles WHERE level = 0 AND idx = 1").fetchone()
    spoil(
        copy,
        "DELETE FROM checkpoints WHERE size = 270",
        "DELETE FROM records WHERE idx >= 265",
        ("UPDATE tiles SET data = ? WHERE level = 0 AND idx = 1", (tile[: 9 * 32],)),
    )
    assert verify_ledger(str(copy), KEY.verifier, known=older).size == 265
    with pytest.raises(Damaged, match="ends at 265"):
        verify_ledger(str(copy), KEY.verifier, known=newest)


def test_a_history_that_was_signed_twice_shows_against_a_checkpoint_from_outside(
    original: Path, tmp_path: Path
) -> None:
    with ledger_in(tmp_path) as other:
        append(other, failure())
        known = other.newest().note
    with pytest.raises(Damaged, match="other records"):
        verify_ledger(str(original), KEY.verifier, known=known)


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX records_consumer",
        "UPDATE sqlite_master SET sql = replace(sql, '(consumer', '(provider') WHERE name = 'records_consumer'",
    ],
)
def test_an_index_that_hides_records_is_named(copy: Path, change: str) -> None:
    spoil(copy, "PRAGMA writable_schema = ON", change)
    found = damage(copy)
    assert found.kind is DamageKind.STORAGE
    assert "records_consumer" in str(found)


def damage_page(data: bytes) -> bytes:
    """Zeroes over the middle of the file."""
    middle = len(data) // 2
    return data[:middle] + bytes(8192) + data[middle + 8192 :]


@pytest.mark.parametrize("change", [damage_page, lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_file_is_named(copy: Path, change: Callable[[bytes], bytes]) -> None:
    copy.write_bytes(change(copy.read_bytes()))
    damage(copy)


def test_the_verifier_changes_nothing_and_needs_no_write_access(copy: Path, tmp_path: Path) -> None:
    before = copy.read_bytes()
    verify_ledger(str(copy), KEY.verifier)
    assert copy.read_bytes() == before


def test_the_verifier_reads_a_ledger_that_is_being_written(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, failure())
        assert verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier).size == 1
        append(ledger, failure())
        assert verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier).size == 2


def test_a_missing_ledger_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify_ledger(str(tmp_path / "none.db"), KEY.verifier)
    assert not list(tmp_path.iterdir())
