"""Searching through the columns of segments: the answers are those of the ledger itself, whatever happens to the file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.ledger import Ledger
from audit.search.count import count_records
from audit.search.find import Finder, Search
from audit.search.index import SearchIndex
from audit.search.keep import SegmentKeeper
from audit.search.store import SegmentStore, beside
from isthmus.identity import Identity
from tests.bench.audit_ledger import KEY, build, open_ledger
from tests.bench.audit_town import BASES, DENIALS, PURPOSES
from tests.integration.search_world import AUDITOR, OFFICER, RECORDS, copied, paged, plainly
from tests.unit.audit.ledger_world import append, decision

pytestmark = pytest.mark.integration

NEVER = [
    "decision = ERROR AND reason = POLICY_ERROR",
    "legal_basis = CONTRACT",
    "purpose = 没有",
    "case_reference : 没有",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    build(path, RECORDS, people=500, report=lambda _: None)
    return path


@pytest.fixture(scope="module")
def ledger(home: Path) -> Iterator[Ledger]:
    with closing(open_ledger(home, lambda: datetime.now(UTC))) as one:
        yield one


@pytest.fixture(scope="module")
def store(home: Path, ledger: Ledger) -> Iterator[SegmentStore]:
    with closing(SegmentStore(beside(str(home)), KEY)) as one:
        assert SegmentKeeper(ledger.read, one).keep() == 1
        assert SegmentKeeper(ledger.read, one).keep() == 0
        yield one


_QUOTED = st.sampled_from(
    [*PURPOSES[:4], "婚姻", "核验", "案-2026", "99", "%", "_", "SYSTEM-1", "", "没有"]
).map(repr)
_DEPARTMENT = st.sampled_from(["tax", "health", "natural-resources", "nobody"]).map("departments/{}".format)
_RESTRICTION = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["consumer", "provider"]),
        st.sampled_from(["=", "!=", ":"]),
        _DEPARTMENT,
    ),
    st.builds("purpose {} {}".format, st.sampled_from(["=", "!=", ":"]), _QUOTED),
    st.builds("case_reference {} {}".format, st.sampled_from(["=", "!=", ":"]), _QUOTED),
    st.builds("caller : {}".format, _QUOTED),
    st.builds("action : {}".format, st.sampled_from(["sign", "Grant", "COMPLETE"])),
    st.builds(
        "resource {} {}".format, st.sampled_from([":", "=", "!="]), st.sampled_from(["consents", '""', "x"])
    ),
    st.builds(
        "subject_token {} {}".format, st.sampled_from([":", "=", "!="]), st.sampled_from(["1.a", '""', "1.0"])
    ),
    st.builds("reason = {}".format, st.sampled_from([*DENIALS, "POLICY_ERROR"])),
    st.builds("legal_basis != {}".format, st.sampled_from([*BASES, "CONTRACT"])),
    st.builds("decision = {}".format, st.sampled_from(["ALLOW", "DENY", "ERROR"])),
    st.builds("mode = {}".format, st.sampled_from(["QUERY", "VERIFY", "BATCH", "STREAM"])),
    st.builds("kind = {}".format, st.sampled_from(["DECISION", "CONTROL", "LOOKUP", "STREAM_END", "EXPORT"])),
    st.builds("emergency = {}".format, st.sampled_from(["true", "false"])),
    st.builds("stream = {}".format, st.sampled_from(["OPEN", "ENDED"])),
    st.builds(
        "system = departments/{}/systems/system-{}".format,
        st.sampled_from(["tax", "youth"]),
        st.integers(0, 6),
    ),
    st.builds(
        "index {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), st.integers(0, RECORDS + 9)
    ),
    st.builds(
        'time {} "2026-{:02}-{:02}T00:00:00Z"'.format,
        st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
        st.integers(1, 12),
        st.integers(1, 28),
    ),
)
_FILTER = st.recursive(
    _RESTRICTION,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT {}".format, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter_=_FILTER, who=st.sampled_from([AUDITOR, OFFICER]))
def test_columns_and_ledger_give_the_same_answers(
    ledger: Ledger, store: SegmentStore, filter_: str, who: Identity
) -> None:
    expected = plainly(ledger, filter_, who)
    assert paged(ledger, Finder(store, patience=60), filter_, who) == expected
    with ledger.read() as connection:
        counts = count_records(Finder(store), connection, Search(who, filter_), by=["decision"], limit=9)
    assert counts.total == len(expected) == sum(count for _, count in counts.lines)


@pytest.mark.parametrize("filter_", ["reason = QUOTA_EXHAUSTED", "purpose : 核验 AND mode = VERIFY", *NEVER])
def test_a_page_that_took_its_time_says_where_to_go_on(
    ledger: Ledger, store: SegmentStore, filter_: str
) -> None:
    expected = plainly(ledger, filter_)
    for finder in (Finder(store, patience=0), Finder(None, patience=0)):
        with ledger.read() as connection:
            first = finder.page(connection, Search(AUDITOR, filter_), before=None, limit=1000)
        assert first.next is not None and len(first.found) < max(1, len(expected))
        assert paged(ledger, finder, filter_) == expected


def test_pages_of_a_few_join_without_gap_or_repetition(ledger: Ledger, store: SegmentStore) -> None:
    filter_ = "emergency = true OR stream = OPEN OR decision = ERROR"
    expected = plainly(ledger, filter_)
    assert len(expected) > 20
    assert paged(ledger, Finder(store), filter_, limit=3) == expected


def test_a_batch_is_found_by_each_of_its_persons(ledger: Ledger, store: SegmentStore) -> None:
    with ledger.read() as connection:
        token = connection.scalar(sa.text("SELECT token FROM record_subjects WHERE idx < 9000"))
        finder = Finder(store)
        page = finder.page(connection, Search(AUDITOR, "mode = BATCH", (token,)), before=None, limit=9)
    assert page.found and all(b'"mode":"BATCH"' in each.leaf for each in page.found)
    assert [each.index for each in page.found] == plainly(ledger, f"subject_token = {token} AND mode = BATCH")


@pytest.fixture
def copy(home: Path, ledger: Ledger, store: SegmentStore, tmp_path: Path) -> Path:
    """A copy of the ledger and its index, to be damaged."""
    return copied(home, tmp_path)


def _garbage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(16384 * 2)
        file.write(b"\xa5" * 16384 * 20)


def _no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def _sql(*statements: str) -> object:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return damage


_DAMAGES = {
    "garbage in its pages": _garbage,
    "no database": _no_database,
    "deleted": Path.unlink,
    "a column altered": _sql("UPDATE columns SET data = substr(data, 1, 99) || x'00' || substr(data, 101)"),
    "columns swapped for others": _sql("DELETE FROM columns WHERE name <> 'kind'"),
    "of another log": _sql(
        "UPDATE segments SET node = zeroblob(32)",
        "UPDATE columns SET data = (SELECT data FROM columns WHERE name = 'mode') WHERE name IN ('reason', 'emergency')",
    ),
    "of another version": _sql("PRAGMA user_version = 77"),
    "without tables": _sql("DROP TABLE columns"),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_whatever_happens_to_the_file_answers_stay_the_same_and_it_is_made_anew(
    copy: Path, damage: str
) -> None:
    path = beside(str(copy))
    _DAMAGES[damage](path)  # type: ignore[operator]
    with (
        closing(open_ledger(copy, lambda: datetime.now(UTC))) as ledger,
        closing(SegmentStore(path, KEY)) as store,
    ):
        for filter_ in ("reason = QUOTA_EXHAUSTED", "emergency = true", *NEVER):
            assert paged(ledger, Finder(store, patience=60), filter_) == plainly(ledger, filter_)
        SegmentKeeper(ledger.read, store).keep()
        with ledger.read() as connection:
            assert list(Finder(store).kept(connection)) == [0]
        assert paged(ledger, Finder(store), "emergency = true") == plainly(ledger, "emergency = true")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET leaf = CAST(replace(leaf, 'ALLOW', 'ALLOX') AS BLOB) WHERE idx = 9000",
        "UPDATE records SET leaf = CAST(leaf AS TEXT) WHERE idx = 9000",
        "DELETE FROM records WHERE idx = 9000",
        "UPDATE tiles SET data = zeroblob(length(data)) WHERE level = 1",
        "DELETE FROM tiles WHERE level = 1",
    ],
)
def test_columns_are_made_of_leaves_that_the_tree_vouches_for_only(copy: Path, change: str) -> None:
    path = beside(str(copy))
    path.unlink()
    with (
        closing(open_ledger(copy, lambda: datetime.now(UTC))) as ledger,
        closing(SegmentStore(path, KEY)) as store,
    ):
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute(change)
        assert SegmentKeeper(ledger.read, store).keep() == 0
        assert paged(ledger, Finder(store), "decision = ERROR") == plainly(ledger, "decision = ERROR")


def test_the_service_keeps_the_index_by_itself_and_nobody_else_can_read_it(copy: Path) -> None:
    path = beside(str(copy))
    path.unlink()
    with closing(open_ledger(copy, lambda: datetime.now(UTC))) as ledger:
        index = SearchIndex(path, ledger.read, KEY)
        index.start()
        try:
            deadline = datetime.now(UTC).timestamp() + 60
            kept: object = {}
            while not kept and datetime.now(UTC).timestamp() < deadline:
                with ledger.read() as connection:
                    kept = index.finder.kept(connection)
            assert kept
        finally:
            index.stop()
    assert path.stat().st_mode & 0o077 == 0


def test_the_log_goes_on_whatever_happens_to_the_file(copy: Path) -> None:
    path = beside(str(copy))
    shutil.rmtree(path, ignore_errors=True)
    path.unlink()
    path.mkdir()
    with (
        closing(open_ledger(copy, lambda: datetime.now(UTC))) as ledger,
        closing(SegmentStore(path, KEY)) as store,
    ):
        size = ledger.newest().size
        with pytest.raises(sqlite3.Error):
            SegmentKeeper(ledger.read, store).keep()
        append(ledger, decision())
        assert ledger.newest().size == size + 1
        assert paged(ledger, Finder(store, patience=60), "decision = ERROR") == plainly(
            ledger, "decision = ERROR"
        )
