"""No statement of an exchange reads a whole table: what grows with consents, contracts or records costs nobody more."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.sqlite import SqliteStore
from isthmus.v1.common_pb2 import Decision
from tests.integration.batch_calls import batch, resident
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_world import Call
from tests.integration.stream_world import request as stream_request

pytestmark = pytest.mark.integration

QUOTAS = [
    {"window": "DAY", "scope": scope, "calls": 1000, "rows": 100_000}
    for scope in ("SUBJECT", "SYSTEM", "CONTRACT")
]
HERE = ("train-", "rpc", "batch", "stream")
"""What the names of the threads that serve an exchange begin with; clerks and metrics look at everything at their ease."""


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the gateway's threads that serve exchanges ask SQLite, values included."""
    seen: set[str] = set()

    def note(text: str) -> None:
        if threading.current_thread().name.startswith(HERE):
            seen.add(text)

    for name in ("_prepare_writer", "_prepare_reader"):
        prepare = getattr(SqliteStore, name)

        def traced(self: SqliteStore, driver: Any, other: Any, prepare: Any = prepare) -> None:
            prepare(self, driver, other)
            driver.set_trace_callback(note)

        monkeypatch.setattr(SqliteStore, name, traced)
    return seen


@pytest.fixture
def world(tmp_path: Path, statements: set[str]) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def scans(database: Path, statements: set[str]) -> list[str]:
    """Of each statement that reads a whole table, what SQLite plans; those that stop after so many rows do not."""
    found = []
    with sqlite3.connect(database) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for text in statements:
            if text.split(None, 1)[0] not in ("SELECT", "UPDATE", "DELETE", "WITH") or "LIMIT" in text:
                continue
            for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {text}"):
                words = plan.split()
                if words[0] == "SCAN" and words[1] in tables:
                    found.append(f"{plan}: {text[:300]}")
    return found


def test_no_exchange_reads_a_whole_table(world: World, statements: set[str]) -> None:
    contract = world.agree(modes=["QUERY", "VERIFY", "BATCH"], quotas=QUOTAS)
    statutory = world.agree("person-stream", legal_basis="PUBLIC_TASK", modes=["STREAM"], quotas=QUOTAS)
    consent = world.consent(contract, resident=resident(7), max_uses=50, modes=("QUERY", "VERIFY", "BATCH"))
    statements.clear()
    world.query(resident=resident(7))
    world.verify(resident=resident(7))
    assert batch(world, [resident(number) for number in range(5, 9)]).decisions() == "DDAD"
    asked = stream_request(fields=["income"])
    asked.context.contract = statutory.name.partition("@")[0]
    assert list(Call(world, asked))
    assert world.explain(resident=resident(7)).decision == Decision.DECISION_ALLOW
    world.withdraw(consent)
    for table in ("quota_usage", "contract_signatures", "consents", "record_subjects", "denied_certificates"):
        assert any(table in text for text in statements), table
    assert scans(world.folder / "ledger.db", statements) == []
