"""Columns that were forged, or are wrong, or read text otherwise than the ledger does: answers stay the ledger's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.ledger.errors import IndexDamaged
from audit.search.columns import Column
from audit.search.count import count_records
from audit.search.find import Finder, Search
from audit.search.keep import SegmentKeeper
from audit.search.seal import Seal
from audit.search.segments import COLUMNS
from audit.search.store import SegmentStore, beside
from audit.tlog.keys import SignerKey
from tests.bench.audit_ledger import KEY, build, open_ledger
from tests.integration.search_world import AUDITOR, RECORDS, copied, paged, plainly
from tests.unit.audit.ledger_world import append, decision

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    build(path, RECORDS, people=500, report=lambda _: None)
    return path


@pytest.fixture(scope="module")
def ledger(home: Path) -> Iterator[Ledger]:
    with (
        closing(open_ledger(home, lambda: datetime.now(UTC))) as one,
        closing(SegmentStore(beside(str(home)), KEY)) as store,
    ):
        assert SegmentKeeper(one.read, store).keep() == 1
        yield one


@pytest.fixture
def copy(home: Path, ledger: Ledger, tmp_path: Path) -> Path:
    """A copy of the ledger and its index, to be damaged."""
    return copied(home, tmp_path)


def _forged(store: SegmentStore, segment_node: bytes) -> Column:
    """The decisions, with every denial of the segment made a release."""
    column = store.column(0, "decision", segment_node)
    texts = column.texts()
    return Column.of([texts[place].replace("DENY", "ALLOW") for place in column.places()])


OTHER = SignerKey.from_seed(KEY.verifier.name, b"\1" * 32)
NAMESAKE = SignerKey.from_seed("bench.example/other", bytes(32))
_FORGERIES = {
    "bare": lambda node, data: data,
    "with the seal of the column before": None,
    "with a seal of zeros": lambda node, data: bytes(32) + data,
    "under another key": lambda node, data: Seal(OTHER).seal((0, "decision", node), data),
    "under another name": lambda node, data: Seal(NAMESAKE).seal((0, "decision", node), data),
    "sealed for another segment": lambda node, data: Seal(KEY).seal((1, "decision", node), data),
    "sealed for another column": lambda node, data: Seal(KEY).seal((0, "mode", node), data),
    "sealed for other records": lambda node, data: Seal(KEY).seal((0, "decision", bytes(32)), data),
    "as text": lambda node, data: "x" * 99,
    "as nothing": lambda node, data: b"",
}


@pytest.mark.parametrize("forgery", _FORGERIES)
def test_whoever_can_write_the_file_can_neither_hide_nor_invent_a_record(
    ledger: Ledger, copy: Path, forgery: str
) -> None:
    path = beside(str(copy))
    with closing(SegmentStore(path, KEY)) as store:
        node = store.nodes()[0]
        data = _forged(store, node).encode()
    with closing(sqlite3.connect(path)) as file, file:
        where = "WHERE segment = 0 AND name = 'decision'"
        (before,) = file.execute(f"SELECT data FROM columns {where}").fetchone()
        make = _FORGERIES[forgery] or (lambda node, data: before[:32] + data)
        file.execute(f"UPDATE columns SET data = ? {where}", (make(node, data),))
    for filter_ in ("decision = DENY", "decision = ALLOW"):
        expected = plainly(ledger, filter_)
        with closing(SegmentStore(path, KEY)) as store:
            # A count first: nothing of the ledger's own contradicts what it counts.
            with ledger.read() as connection:
                found = count_records(Finder(store), connection, Search(AUDITOR, filter_), by=[], limit=1)
            assert found.total == len(expected) > 0
            assert paged(ledger, Finder(store, patience=60), filter_) == expected
    with closing(SegmentStore(path, KEY)) as store:
        assert SegmentKeeper(ledger.read, store).keep() == 1


@pytest.mark.parametrize("filter_", ["decision = ALLOW", "decision = ALLOW OR decision = DENY"])
def test_wrong_columns_are_forgotten_and_the_ledger_is_read(ledger: Ledger, copy: Path, filter_: str) -> None:
    """As a fault of the program that made them would leave them: sealed, and wrong."""
    with closing(SegmentStore(beside(str(copy)), KEY)) as store:
        node = store.nodes()[0]
        columns = {name: store.column(0, name, node) for name in COLUMNS}
        texts = columns["decision"].texts()
        held = [texts[place] for place in columns["decision"].places()]
        invented = next(n for n in range(9_000, 0, -1) if held[n] not in ("ALLOW", "DENY"))
        held[9_001:9_011], held[invented] = [""] * 10, "ALLOW"
        store.put(0, node, {**columns, "decision": Column.of(held)})
        # One page: what was shown before cannot be taken back.
        filter_ = f"({filter_}) AND index >= {invented} AND index < 9100"
        assert paged(ledger, Finder(store, patience=60), filter_, limit=RECORDS) == plainly(ledger, filter_)
        assert store.nodes() == {}
        assert SegmentKeeper(ledger.read, store).keep() == 1


def test_a_record_whose_columns_were_altered_in_the_ledger_is_named_with_what_mends_it(copy: Path) -> None:
    with closing(open_ledger(copy, lambda: datetime.now(UTC))) as ledger:
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute("UPDATE records SET consumer = 'departments/nobody' WHERE idx = 9000")
            query = "SELECT caller FROM records WHERE idx = 9000"
            (caller,) = connection.execute(query).fetchone()
        consumer = f"departments/{caller.split('/')[4]}"
        filter_ = f"consumer = {consumer} AND index < 9100 AND index > 8900"
        store = SegmentStore(beside(str(copy)), KEY)
        with closing(store), pytest.raises(IndexDamaged, match=r"record 9000.*rebuild-index"):
            paged(ledger, Finder(store), filter_)


TEXTS = ["案\0件-2026", "Case\0一", "案件\0", "\0", "%_\0x", "案件"]


def test_columns_and_ledger_agree_on_text_behind_a_nul(tmp_path: Path) -> None:
    """Patterns of SQL end at a NUL; the columns do not."""
    with closing(open_ledger(tmp_path / "ledger.db", lambda: datetime.now(UTC))) as ledger:
        append(ledger, *(decision(case_reference=text, purpose=text) for text in TEXTS))
        for name in ("case_reference", "purpose"):
            for part in ("\0", "件-2026", "\0一", "cASE", "x", "%", "_", "案件", "件\0"):
                expected = [n for n in reversed(range(len(TEXTS))) if part.lower() in TEXTS[n].lower()]
                with ledger.read() as connection:
                    search = Search(AUDITOR, f'{name} : "{part}"')
                    counted = count_records(Finder(None), connection, search, by=[], limit=1).total
                assert plainly(ledger, search.filter) == expected
                assert paged(ledger, Finder(None), search.filter) == expected
                assert counted == len(expected)
