"""No record, no release: whatever keeps the ledger from committing, nobody is answered and nothing is released."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.errors import Reason, Unavailable
from tests.integration.exchange_nodes import Gate
from tests.integration.exchange_world import World, world_in

pytestmark = [pytest.mark.fault, pytest.mark.integration]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        each.consent(each.agree())
        each.restart_gateway(ledger=replace(each.config.ledger, commit_timeout_seconds=0.5))
        yield each


@contextmanager
def database(world: World) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(world.folder / "ledger.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def refused_while_under_way(world: World, fault: str) -> Unavailable:
    """Runs a query, spoils the ledger with `fault` once the provider works on it, and returns the refusal."""
    assert world.node is not None
    gate = Gate(world.node)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(world.query)
        assert gate.arrived.wait(20)
        with database(world) as connection:
            connection.execute(fault)
            gate.opened.set()
            error = asked.exception(timeout=30)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    assert isinstance(error, Unavailable), error
    return error


def test_a_ledger_that_another_holds_releases_nothing(world: World) -> None:
    error = refused_while_under_way(world, "BEGIN IMMEDIATE")
    assert error.reasons == (Reason.LEDGER_UNAVAILABLE,) and error.exchange
    assert world.decisions() == []
    assert world.registry.get_sample_value("isthmus_exchanges_unrecorded_total") == 1
    assert world.query().subject_known, "it goes on as soon as the ledger does"


def test_a_ledger_that_refuses_the_record_releases_nothing(world: World) -> None:
    spoil = "CREATE TRIGGER spoil BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'no room'); END"
    error = refused_while_under_way(world, spoil)
    assert error.reasons[0] in (Reason.LEDGER_UNAVAILABLE, Reason.INTERNAL)
    assert world.decisions() == []
    with database(world) as connection:
        connection.execute("DROP TRIGGER spoil")
    assert world.query().subject_known


def test_a_ledger_that_cannot_be_read_admits_nobody(world: World) -> None:
    with database(world) as connection:
        connection.execute("ALTER TABLE contracts RENAME TO hidden")
        with pytest.raises(Exception) as refused:
            world.query()
        connection.execute("ALTER TABLE hidden RENAME TO contracts")
    assert getattr(refused.value, "exchange", "")
    # What could still be written is the record of the failure, and there is exactly one.
    assert [record.decision for record in world.decisions()] == ["ERROR"]
    assert world.query().subject_known


def test_quota_and_record_stand_or_fall_together(world: World) -> None:
    quota = {"window": "TOTAL", "scope": "CONTRACT", "calls": 1, "rows": 0}
    world.agree(contract_id="limited", legal_basis="PUBLIC_TASK", quotas=[quota])
    with database(world) as connection:
        connection.execute(
            "CREATE TRIGGER spoil BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
        with pytest.raises(Unavailable):
            world.query(contract="contracts/limited", case="1")
        connection.execute("DROP TRIGGER spoil")
    assert world.query(contract="contracts/limited", case="1").subject_known, "the failed one cost nothing"
