"""Going on with a stream: exactly the rest, from any chunk, whatever orders the rows; and no token of another."""

from __future__ import annotations

import base64
import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import IsthmusError
from isthmus.reasons import Reason
from services.grant_items import MAX_RESUME
from services.manifest import SubjectColumn
from services.pages import MAX_PAGE, PageError, Pager, key_of
from services.reflection import ReflectedDataset, reflect_table
from services.resume import Position, ResumeRefused, ResumeTokens
from services.stored import StoredForms
from tests.unit.services.fetch_outcomes import predicate
from tests.unit.services.stream_answers import ALL, VIEW, arrow_rows, fields_of, many, rows_of

FIELDS = fields_of("int64", "string")


def stream(world: Any, **changes: Any) -> list[Any]:
    return list(world.responses(world.stream(**({"dataset": ALL, "fields": FIELDS} | changes))))


def refused(world: Any, **changes: Any) -> str:
    with pytest.raises(IsthmusError) as error:
        stream(world, **changes)
    assert error.value.reason is Reason.INVALID_ARGUMENT
    return error.value.message


@pytest.mark.parametrize(("encoding", "read"), [("ROWS", rows_of), ("ARROW", arrow_rows)])
@pytest.mark.parametrize("dataset", [ALL, VIEW])
def test_resuming_after_any_chunk_gives_exactly_the_rest(
    world: Any, encoding: str, read: Any, dataset: str
) -> None:
    world.fill(many(7_000))
    changes = {"encoding": encoding, "dataset": dataset, "fields": fields_of("int64")}
    changes["filters"] = [predicate("int64", "GE", {"int64": "50"})]
    whole = stream(world, **changes)
    rows, done = read(whole), 0
    assert len(rows) == 6_950 and len(whole) == 5
    for each in whole[1:-1]:
        done += each.row_count
        assert read(stream(world, **changes, resume=each.resume_token)) == rows[done:]


def test_a_stream_can_go_on_when_large_chunks_were_cut(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chunks.MAX_CHUNK_BYTES", 10_000)
    world.fill(many(1_500))
    whole = stream(world)
    rows, done = rows_of(whole), 0
    assert len(whole) > 5
    for each in whole[1:-1]:
        done += each.row_count
        assert rows_of(stream(world, resume=each.resume_token)) == rows[done:]


def test_a_view_gives_no_token_in_the_middle_of_a_subject(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chunks.MAX_CHUNK_BYTES", 1_000)
    world.fill(many(1_500))
    whole = stream(world, dataset=VIEW, fields=fields_of("int64"))
    rows, done, tokens = rows_of(whole), 0, 0
    for each in whole[1:-1]:
        done += each.row_count
        if each.resume_token:
            tokens += 1
            rest = stream(world, dataset=VIEW, fields=fields_of("int64"), resume=each.resume_token)
            assert rows_of(rest) == rows[done:]
    assert 1 < tokens < len(whole) - 2


def test_a_resumed_stream_sends_rows_that_came_behind_and_none_twice(world: Any) -> None:
    world.fill(many(2_000))
    first = next(each for each in stream(world) if each.row_count)
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute('DELETE FROM 各类 WHERE "int64" < 1500')
    connection.close()
    world.fill([("新", 1, 9_999, 1, "1", "新", b"", None, None)])
    rest = rows_of(stream(world, resume=first.resume_token))
    assert [row[0] for row in rest] == [*range(1500, 2000), 9_999]


def test_a_token_shows_no_identifier_and_is_never_the_same(world: Any) -> None:
    world.fill(many(2_000))
    tokens = [
        [
            each.resume_token
            for each in stream(world, dataset=VIEW, fields=fields_of("int64"))
            if each.row_count
        ]
        for _ in range(2)
    ]
    assert not set(tokens[0]) & set(tokens[1])
    for token in tokens[0]:
        assert "人".encode() not in base64.urlsafe_b64decode(token + "==")


@pytest.mark.parametrize(
    "changes",
    [
        {"contract": "contracts/another@1"},
        {"contract": "contracts/edu-person@2"},
        {"terms_digest": "1" * 64},
        {"consumer": "departments/x", "system": "departments/x/systems/y"},
        {"fields": fields_of("string", "int64")},
        {"fields": [{"name": "int64", "transform": "hash"}]},
        {"filters": [predicate("int64", "GE", {"int64": "0"})]},
        {"row_filters": [predicate("int64", "GE", {"int64": "0"})]},
        {"encoding": "ARROW"},
        {"dataset": VIEW},
    ],
)
def test_a_token_of_another_stream_is_refused(world: Any, changes: dict[str, Any]) -> None:
    world.fill(many(2_000))
    own = {"fields": fields_of("int64")}
    token = next(each.resume_token for each in stream(world, **own) if each.row_count)
    assert "no token of this stream" in refused(world, **(own | changes), resume=token)
    assert len(list(world.journal.entries())) == 1


def test_a_changed_token_and_one_of_another_node_are_refused(world: Any) -> None:
    world.fill(many(10))
    token = next(each.resume_token for each in stream(world) if each.row_count)
    for wrong in (
        token[:-1],
        token[:20],
        "A" * 40,
        token[:30] + ("B" if token[30] == "A" else "A") + token[31:],
    ):
        assert "no token of this stream" in refused(world, resume=wrong)
    other = ResumeTokens(b"1" * 32).seal(("", 1), bytes(32))
    assert "no token of this stream" in refused(world, resume=other)


def test_a_token_is_refused_when_the_table_was_rebuilt(world: Any) -> None:
    world.fill(many(2_000))
    token = next(each.resume_token for each in stream(world) if each.row_count)
    assert rows_of(stream(world, resume=token))
    connection = sqlite3.connect(world.folder / "people.db")
    connection.execute("VACUUM")
    connection.close()
    with pytest.raises(IsthmusError, match="rebuilt since; begin anew"):
        stream(world, resume=token)


def test_a_node_without_a_key_gives_no_tokens_and_takes_none() -> None:
    tokens = ResumeTokens(None)
    assert tokens.seal(("", 1), b"") == ""
    with pytest.raises(ResumeRefused, match="hash_key"):
        tokens.open("AAAA", b"")


def test_a_key_too_long_for_a_token_gives_none() -> None:
    tokens = ResumeTokens(bytes(32))
    assert 0 < len(tokens.seal(("", "长" * 200), bytes(32))) <= MAX_RESUME
    assert tokens.seal(("", "长" * 300), bytes(32)) == ""


keys = (
    st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.dates()
    | st.datetimes()
    | st.uuids()
)


@given(st.lists(keys, min_size=1, max_size=4).map(tuple), st.binary(min_size=32, max_size=32))
def test_every_position_opens_as_it_was_sealed_and_for_its_stream_alone(
    position: Position, binding: bytes
) -> None:
    tokens = ResumeTokens(bytes(32))
    token = tokens.seal(position, binding)
    opened = tokens.open(token, binding)
    assert opened == position and [type(each) for each in opened] == [type(each) for each in position]
    with pytest.raises(ResumeRefused):
        tokens.open(token, bytes([binding[0] ^ 1]) + binding[1:])


@given(st.text(st.sampled_from("ABCxyz019-_"), max_size=80))
def test_whatever_stands_in_a_token_it_is_refused_in_words(token: str) -> None:
    with pytest.raises(ResumeRefused):
        ResumeTokens(bytes(32)).open(token, bytes(32))


TABLES = {
    "rowid": "CREATE TABLE t (s TEXT, v)",
    "rowid beside a column of that name": 'CREATE TABLE t (s TEXT, v, "RowID" TEXT, oid TEXT)',
    "integer key": "CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT, v)",
    "text key, which may be NULL": "CREATE TABLE t (s TEXT PRIMARY KEY, v)",
    "two keys": "CREATE TABLE t (s TEXT, v INTEGER, PRIMARY KEY (s, v)) WITHOUT ROWID",
    "key that ignores case": "CREATE TABLE t (s TEXT COLLATE NOCASE, v INTEGER, PRIMARY KEY (s, v)) WITHOUT ROWID",
    "view": "CREATE TABLE u (s TEXT, v); CREATE VIEW t AS SELECT s, v FROM u",
    "view that ignores case": "CREATE TABLE u (s TEXT COLLATE NOCASE, v); CREATE VIEW t AS SELECT s, v FROM u",
}


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pages_of_every_size_hold_every_row_once(name: str, data: st.DataObject) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.executescript(TABLES[name])
        subjects = ["a", "A", "b", "B", "甲", "", "1"] + (
            ["c", None] if "NULL" in name or name == "rowid" else []
        )
        rows = data.draw(st.lists(st.tuples(st.sampled_from(subjects), st.integers(0, 40)), max_size=40))
        target = "u" if name.startswith("view") else "t"
        raw.executemany(f"INSERT OR IGNORE INTO {target} (s, v) VALUES (?, ?)", rows)
        stored = raw.execute("SELECT s, v FROM t WHERE s IS NOT NULL OR ?", (target == "t",)).fetchall()
        table = reflect_table(connection, "t", "")
        assert table is not None
        subject = SubjectColumn(column="s", scheme="x")
        reflected = ReflectedDataset(table, StoredForms(subject, table.columns["s"].type))
        pager = Pager(reflected, ["s", "v"], key_of(connection, reflected), dialect=engine.dialect)
        found: list[Any] = []
        after: Position | None = None
        while True:
            page = pager.page(connection, after, data.draw(st.integers(1, 9)))
            found += zip(*page.columns, strict=True)
            if page.last:
                break
            after = page.position(page.count - 1)
    engine.dispose()
    assert sorted(map(repr, found)) == sorted(map(repr, stored))


def test_a_subject_with_more_rows_than_a_page_may_hold_is_said_so(world: Any) -> None:
    world.fill([("独", 1, n, 1, "1", "x", b"", None, None) for n in range(MAX_PAGE + 1)])
    with pytest.raises(IsthmusError, match=f"more than {MAX_PAGE} rows"):
        stream(world, dataset=VIEW, fields=fields_of("int64"))


def test_a_table_without_a_key_is_not_streamed_where_equal_may_mean_alike() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE u (s TEXT)")
        connection.exec_driver_sql("CREATE VIEW t AS SELECT s FROM u")
        table = reflect_table(connection, "t", "")
        assert table is not None
        reflected = ReflectedDataset(
            table, StoredForms(SubjectColumn(column="s", scheme="x"), table.columns["s"].type)
        )
        connection.dialect.name = "mysql"
        with pytest.raises(PageError, match="no primary key"):
            key_of(connection, reflected)
        connection.dialect.name = "sqlite"
    engine.dispose()
