"""The exported journal, and a journal that an older version made."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from isthmus.ids import begun_at, earliest_exchange, new_exchange
from services.journal import Ending, How, Journal
from services.journal_export import export_journal
from tests.unit.services.test_department_journal import LINE

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def exported(path: Path, **times: datetime) -> list[dict[str, object]]:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        return [json.loads(each) for each in export_journal(connection, "departments/d", **times)]


def test_lines_come_in_order_with_their_endings_between_a_head_and_a_count(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path / 'journal.db'}")
    names = [str(new_exchange(NOON + timedelta(hours=hour))) for hour in (2, 0, 1)]
    journal.write([replace(LINE, exchange=name) for name in names])
    journal.end(
        Ending(
            exchange=names[1],
            ended_at="x",
            how=How.COMPLETE,
            row_count=3,
            byte_count=9,
            digest="1" * 64,
            receipt_digest="2" * 64,
        )
    )
    journal.close()
    head, *lines, end = exported(tmp_path / "journal.db")
    assert (head["department"], end) == ("departments/d", {"lines": 3})
    assert [each["exchange"] for each in lines] == sorted(names)
    assert lines[0]["ending"] == {"how": "COMPLETE", "row_count": 3, "byte_count": 9, "receipt": "2" * 64}
    assert "ending" not in lines[1] and LINE.subject_tokens[0] not in json.dumps(lines)
    bounds = {"since": NOON + timedelta(hours=1), "until": NOON + timedelta(hours=2)}
    _, *lines, end = exported(tmp_path / "journal.db", **bounds)
    assert ([each["exchange"] for each in lines], end) == ([names[2]], {"lines": 1})


def test_a_name_says_when_its_exchange_began() -> None:
    name = str(new_exchange(NOON))
    assert begun_at(name) == NOON
    assert earliest_exchange(NOON) <= name < earliest_exchange(NOON + timedelta(milliseconds=1))


def test_a_journal_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as database:
        for table in ("node_journal", "node_journal_ending"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN receipt_digest")
    database.close()
    journal = Journal(f"sqlite:///{path}")
    journal.write([replace(LINE, receipt_digest="3" * 64)])
    assert [entry.line.receipt_digest for entry in journal.entries()] == ["3" * 64]
    journal.close()
