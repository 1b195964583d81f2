"""Indexes damaged for real: the log goes on or fails closed with the right words, and rebuild-index mends it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from audit.ledger import Ledger, LedgerUnavailable
from audit.ledger.rebuild import DERIVED, OLD, RebuildRefused, rebuild_index
from audit.ledger.schema import METADATA
from audit.search.store import beside
from audit.verifier.damage import Damaged
from audit.verifier.ledger import verify_ledger
from isthmus.cli.main import app
from tests.bench.audit_ledger import KEY, build, open_ledger
from tests.unit.audit.ledger_world import CONTROL, Clock, append, decision, denial, signatures

RECORDS = 3_000
INDEXES = sorted(str(index.name) for table in DERIVED for index in METADATA.tables[table].indexes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "ledger.db"
    build(path, RECORDS, people=50, report=lambda _: None)
    with closing(
        Ledger.open(f"sqlite:///{path}", log_key=KEY, pin=None, clock=Clock(), metadata=[CONTROL])
    ) as ledger:
        ledger.transact(lambda tx: tx.connection.exec_driver_sql("INSERT INTO notes VALUES ('一份记录')"))
    return path


@pytest.fixture
def home(sound: Path, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    path.write_bytes(sound.read_bytes())
    return path


@pytest.fixture
def ledger(home: Path) -> Iterator[Callable[[], Ledger]]:
    opened: list[Ledger] = []

    def open_it() -> Ledger:
        opened.append(open_ledger(home, Clock()))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return [row for statement in statements for row in connection.execute(statement)]


def scribble(path: Path, index: str) -> None:
    """Writes garbage over the first page of an index, or of a table without rowid."""
    ((page,),) = sql(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{index}'")
    assert isinstance(page, int)
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def content(path: Path) -> list[list[tuple[object, ...]]]:
    """Everything that a ledger holds, told apart by no index."""
    tables = [
        name for (name,) in sql(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    return [sorted(sql(path, f'SELECT * FROM "{name}" NOT INDEXED'), key=repr) for name in tables]


@pytest.mark.parametrize("index", [*INDEXES, "record_reasons", "record_subjects"])
def test_a_scribbled_index_stops_nothing_or_fails_closed_and_is_mended(
    home: Path, sound: Path, ledger: Callable[[], Ledger], index: str
) -> None:
    scribble(home, index)
    one = ledger()
    before = one.newest().size
    try:
        append(one, decision(), denial())
    except LedgerUnavailable as error:
        assert "rebuild-index" in error.message and "malformed" in error.message
        assert one.newest().size == before
    else:
        assert one.newest().size == before + 2
    one.close()
    damaged = home.with_name("copy.db")
    damaged.write_bytes(home.read_bytes())
    with pytest.raises(Damaged):
        verify_ledger(str(damaged), KEY.verifier)
    found = rebuild_index(str(home))
    assert verify_sound(home) == found.records
    if found.records == before:
        assert content(home) == content(sound)
    append(ledger(), *signatures(), decision(), denial())


def verify_sound(path: Path) -> int:
    """How many records a ledger holds in which every index is sound, whatever its records say about each other."""
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    try:
        return verify_ledger(str(path), KEY.verifier).size
    except Damaged as damage:
        # The release appended above rests on signatures that this ledger does not hold.
        assert damage.kind == "UNFOUNDED"
        ((size,),) = sql(path, "SELECT max(idx) + 1 FROM records")
        assert isinstance(size, int)
        return size


_DERIVED_DAMAGE = {
    "reasons deleted": "DELETE FROM record_reasons WHERE idx % 2",
    "a reason invented": "INSERT INTO record_reasons SELECT max(idx), 'NO_CONTRACT' FROM records",
    "persons deleted": "DELETE FROM record_subjects",
    "a person invented": "INSERT INTO record_subjects SELECT '1.ff', max(idx) FROM records",
    "a column altered": "UPDATE records SET purpose = '别的', decision = '' WHERE idx > 2000",
    "a hash altered": "UPDATE records SET leaf_hash = zeroblob(32) WHERE idx = 7",
    "an index dropped": "DROP INDEX records_consumer",
    "an index made of something else": "DROP INDEX records_contract; CREATE INDEX records_contract ON records (mode)",
    "the reasons' table dropped": "DROP TABLE record_reasons",
}


@pytest.mark.parametrize("damage", _DERIVED_DAMAGE)
def test_what_finds_records_is_made_anew_from_the_leaves(home: Path, sound: Path, damage: str) -> None:
    sql(home, *_DERIVED_DAMAGE[damage].split(";"))
    rebuild_index(str(home))
    assert content(home) == content(sound)
    assert verify_ledger(str(home), KEY.verifier).size == RECORDS
    schema = "SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'record%' ORDER BY name"
    assert sql(home, schema) == sql(sound, schema)


def test_persons_of_erased_lines_are_still_found(home: Path) -> None:
    ((index, lines),) = sql(home, "SELECT idx, lines FROM batch_lines ORDER BY idx LIMIT 1")
    assert isinstance(lines, bytes)
    with closing(sqlite3.connect(home)) as connection, connection:
        connection.execute(
            "UPDATE batch_lines SET lines = ? WHERE idx = ?", (b"\n" * lines.count(b"\n"), index)
        )
    persons = sql(home, f"SELECT token FROM record_subjects WHERE idx = {index}")
    assert rebuild_index(str(home)).lost == 0
    assert sql(home, f"SELECT token FROM record_subjects WHERE idx = {index}") == persons != []
    assert verify_ledger(str(home), KEY.verifier).size == RECORDS


def erase_lines(home: Path, *, most: int) -> list[int]:
    """Empties the lines of some batches, as an erasure does; returns which."""
    rows = sql(home, f"SELECT idx, part, lines FROM batch_lines ORDER BY idx LIMIT {most}")
    with closing(sqlite3.connect(home)) as connection, connection:
        for index, part, lines in rows:
            assert isinstance(lines, bytes) and isinstance(index, int)
            empty = b"\n" * lines.count(b"\n")
            connection.execute(
                "UPDATE batch_lines SET lines = ? WHERE idx = ? AND part = ?", (empty, index, part)
            )
    return sorted({index for index, _, _ in rows if isinstance(index, int)})


def test_persons_are_read_from_what_found_them_only_where_lines_were_erased(home: Path, sound: Path) -> None:
    scribble(home, "record_subjects")
    assert rebuild_index(str(home)).lost == 0
    assert content(home) == content(sound)


def test_what_can_still_be_read_of_the_persons_of_erased_lines_is_kept_and_the_others_are_counted(
    home: Path,
) -> None:
    # Few pages hold all persons of few batches; these make some more, each of a batch whose lines are gone.
    erased = erase_lines(home, most=3)
    padding = [(f"1.{number:032x}", erased[number % len(erased)]) for number in range(2_000)]
    with closing(sqlite3.connect(home)) as connection, connection:
        connection.executemany("INSERT INTO record_subjects VALUES (?, ?)", padding)
    before = set(sql(home, "SELECT token, idx FROM record_subjects"))
    leaves = sql(home, f"SELECT leaf FROM records WHERE idx IN ({', '.join(map(str, erased))})")
    about = sum(json.loads(bytes(leaf))["subject_count"] for (leaf,) in leaves)  # type: ignore[call-overload]
    pages = sql(home, "SELECT pageno FROM dbstat WHERE name = 'record_subjects' ORDER BY path")
    (last,) = pages[-1]
    assert isinstance(last, int) and len(pages) > 3
    with home.open("r+b") as file:
        file.seek((last - 1) * 4096)
        file.write(b"\xa5" * 4096)
    found = rebuild_index(str(home))
    after = set(sql(home, "SELECT token, idx FROM record_subjects"))
    assert after < before and len(after) > 1_000
    assert 0 <= found.lost <= about


def test_a_batch_of_which_nothing_finds_the_persons_counts_persons_and_not_batches(home: Path) -> None:
    erased = erase_lines(home, most=1)
    ((leaf,),) = sql(home, f"SELECT leaf FROM records WHERE idx = {erased[0]}")
    ((left,),) = sql(home, f"SELECT count(*) FROM batch_lines WHERE idx = {erased[0]}")
    assert left == 1
    scribble(home, "record_subjects")
    assert isinstance(leaf, bytes)
    found = rebuild_index(str(home))
    assert found.lost == json.loads(leaf)["subject_count"] > 1


@pytest.mark.parametrize("line", ["{", "7", '{"token": 7}', "\udcff", '{"index":0}'])
def test_a_line_that_cannot_be_read_is_refused_in_words(home: Path, line: str) -> None:
    ((index,),) = sql(home, "SELECT min(idx) FROM batch_lines")
    with closing(sqlite3.connect(home)) as connection, connection:
        connection.execute(
            "UPDATE batch_lines SET lines = ? WHERE idx = ?", (line.encode(errors="surrogateescape"), index)
        )
    with pytest.raises(RebuildRefused, match=f"line of the batch of record {index} cannot be read"):
        rebuild_index(str(home))
    assert sorted(each.name for each in home.parent.iterdir()) == ["ledger.db"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            "UPDATE records SET leaf = CAST(replace(leaf, 'QUERY', 'QUERZ') AS BLOB) WHERE idx = 2500",
            "record 2500",
        ),
        ("UPDATE records SET leaf = x'7b7d' WHERE idx = 2500", "record 2500"),
        ("DELETE FROM records WHERE idx = 2500", "record 2500"),
        ("DELETE FROM records WHERE idx = (SELECT max(idx) FROM records)", "2999 records are not the 3000"),
        ("UPDATE tiles SET data = zeroblob(length(data)) WHERE level = 0 AND idx = 3", "record 768"),
        ("DELETE FROM checkpoints WHERE size = (SELECT max(size) FROM checkpoints)", "records are not the"),
        ("UPDATE checkpoints SET root = zeroblob(32)", "newest checkpoint does not say"),
        ("UPDATE meta SET value = 'x' WHERE key = 'log_key'", "newest checkpoint cannot be used"),
    ],
)
def test_damaged_records_are_never_given_a_new_index(home: Path, damage: str, words: str) -> None:
    sql(home, damage)
    before = home.read_bytes()
    with pytest.raises(RebuildRefused, match=words):
        rebuild_index(str(home))
    assert content(home) and home.stat().st_size == len(before)
    assert sorted(each.name for each in home.parent.iterdir()) == ["ledger.db"]


def test_two_decisions_about_one_exchange_are_no_matter_of_an_index(
    home: Path, ledger: Callable[[], Ledger]
) -> None:
    twice = decision()
    sql(home, "DROP INDEX records_one_decision", "CREATE INDEX records_one_decision ON records (exchange)")
    one = ledger()
    append(one, twice)
    append(one, twice)
    one.close()
    with pytest.raises(RebuildRefused, match="two of its records decide about one exchange"):
        rebuild_index(str(home))


def test_a_ledger_in_use_is_left_alone(home: Path, ledger: Callable[[], Ledger]) -> None:
    one = ledger()
    append(one, decision())
    with pytest.raises(RebuildRefused, match="stop every gateway and the audit service"):
        rebuild_index(str(home))
    append(one, decision())
    assert one.newest().size == RECORDS + 2


def test_nobody_writes_to_a_ledger_while_it_is_written_anew(home: Path) -> None:
    refused = []

    def intrude(done: int, total: int) -> None:
        with closing(sqlite3.connect(home, timeout=0)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                connection.execute("BEGIN IMMEDIATE")
            refused.append(done)

    rebuild_index(str(home), progress=intrude)
    assert refused[-1] == RECORDS


def test_the_old_file_is_kept_and_never_written_over(home: Path) -> None:
    scribble(home, "records_consumer")
    damaged = home.read_bytes()
    home.chmod(0o600)
    found = rebuild_index(f"sqlite:///{home}")
    assert found.old == Path(f"{home}{OLD}")
    assert len(found.old.read_bytes()) == len(damaged)
    assert home.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RebuildRefused, match="there already"):
        rebuild_index(str(home))


def test_no_room_is_noticed_before_anything_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(RebuildRefused, match="bytes beside the ledger"):
        rebuild_index(str(home))
    assert sorted(each.name for each in home.parent.iterdir()) == ["ledger.db"]


def test_the_command_mends_a_ledger_and_lets_the_search_index_be_made_anew(home: Path) -> None:
    scribble(home, "records_consumer")
    search = beside(str(home))
    search.write_bytes(b"x")
    result = CliRunner().invoke(app, ["audit", "rebuild-index", str(home)])
    assert result.exit_code == 0, result.output
    assert f"records       {RECORDS}" in result.output
    assert not search.exists()
    assert verify_ledger(str(home), KEY.verifier).size == RECORDS
    again = CliRunner().invoke(app, ["audit", "rebuild-index", str(home)])
    assert again.exit_code == 1
    assert "refused" in again.output and "Traceback" not in again.output
