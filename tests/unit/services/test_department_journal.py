"""The node's journal: one line for each exchange, all of a batch or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.journal import Journal, JournalUnavailable, Line, Replayed

LINE = Line(
    exchange="exchanges/0",
    grant_id="g",
    served_at="2026-11-23T08:00:00.000Z",
    gateway="spiffe://data.example/gateway/main",
    consumer="departments/a",
    system="departments/a/systems/b",
    contract="contracts/c@1",
    terms_digest="0" * 64,
    dataset="departments/d/datasets/e",
    purpose="入学资格审核",
    mode="QUERY",
    fields=(("姓名", "mask:1"),),
    subject_tokens=("1." + "0" * 32,),
    served=1,
    refused=0,
    refusals=(),
    row_count=1,
    digest="1" * 64,
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


def test_lines_read_back_as_they_were_written(journal: Journal) -> None:
    refused = replace(LINE, exchange="exchanges/1", refusals=("PROVIDER_VETO",), served=0, refused=1)
    journal.write([LINE, refused])
    assert [entry.line for entry in journal.entries()] == [LINE, refused]


def test_a_batch_with_a_known_exchange_is_written_not_at_all(journal: Journal) -> None:
    journal.write([LINE])
    with pytest.raises(Replayed):
        journal.write([replace(LINE, exchange="exchanges/1"), LINE])
    assert len(list(journal.entries())) == 1


def test_a_long_journal_is_read_page_by_page_while_it_grows(journal: Journal) -> None:
    journal.write([replace(LINE, exchange=f"exchanges/{n}") for n in range(1200)])
    entries = journal.entries()
    first = next(entries)
    journal.write([replace(LINE, exchange="exchanges/late")])
    positions = [first.position, *(entry.position for entry in entries)]
    assert len(positions) == 1201 and positions == sorted(positions)
    assert len(list(journal.entries(after=positions[-2]))) == 1


def test_two_nodes_of_a_department_share_what_has_been_used(tmp_path: Path, journal: Journal) -> None:
    other = Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    journal.write([LINE])
    with pytest.raises(Replayed):
        other.write([LINE])
    other.close()


def test_a_journal_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="cannot be opened"):
        Journal(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
