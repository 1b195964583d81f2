"""The log against a department's journal: what a real gateway and node wrote, and what somebody changed afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.errors import Denied, IsthmusError
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.batch_calls import ANYONE, batch, resident
from tests.integration.exchange_nodes import Gate
from tests.integration.exchange_parties import REGISTRY, RESIDENT, STRANGER, SYSTEM, verify
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_world import CASE, Call, request

pytestmark = pytest.mark.integration

TERMS: dict[str, Any] = {**ANYONE, "modes": ["QUERY", "VERIFY", "BATCH", "STREAM"]}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which every mode was used, one exchange was vetoed and one withheld; as its files were left."""
    folder = tmp_path_factory.mktemp("world")
    with world_in(folder) as world:
        contract = world.agree(**TERMS)
        world.query(case=CASE)
        world.query(fields=("city",), case=CASE)
        asked = verify()
        asked.context.case_reference = CASE
        world.call(ExchangeServiceStub, SYSTEM, "Verify", asked)
        batch(world, [*map(resident, range(5)), resident(0), STRANGER], case=CASE)
        list(Call(world, request()))
        with pytest.raises(Denied):
            world.query(contract="contracts/none", case=CASE)
        _withheld(world, contract)
    return folder


def _withheld(world: World, contract: Any) -> None:
    """The department answers while its contract is being suspended: served, and nothing released."""
    assert world.node is not None
    gate, refused = Gate(world.node), list[IsthmusError]()

    def ask() -> None:
        try:
            world.query(case=CASE)
        except IsthmusError as error:
            refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert gate.arrived.wait(20)
    world.suspend(contract)
    gate.opened.set()
    asking.join()
    assert refused


class Copies:
    """Copies of the ledger and the journal, to be tampered with."""

    def __init__(self, origin: Path, folder: Path) -> None:
        self.folder = folder
        for name in ("ledger.db", "journal.db"):
            with sqlite3.connect(origin / name) as source, sqlite3.connect(folder / name) as copy:
                source.backup(copy)
            source.close()
            copy.close()
        shutil.copytree(origin / "pki", folder / "pki")
        shutil.copy(origin / "department.toml", folder)

    def change(self, name: str, *statements: str) -> None:
        with sqlite3.connect(self.folder / f"{name}.db") as database:
            for each in statements:
                assert database.execute(each).rowcount, each
        database.close()

    def run(self, *options: str, journal: str = "journal.db") -> Result:
        source = f"{REGISTRY}={self.folder / journal}"
        arguments = ["audit", "reconcile", str(self.folder / "ledger.db"), "--journal", source, *options]
        return CliRunner().invoke(app, arguments)

    def found(self, *options: str, journal: str = "journal.db") -> dict[str, Any]:
        result = self.run("--grace", "0", "--json", *options, journal=journal)
        assert result.stdout, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == int(told["alarming"] > 0)
        return told

    def export(self) -> str:
        arguments = ["department", "journal", "--config", str(self.folder / "department.toml")]
        result = CliRunner().invoke(app, [*arguments, "--out", str(self.folder / "export.jsonl")])
        assert result.exit_code == 0, result.stderr
        return "export.jsonl"


@pytest.fixture
def copies(lived: Path, tmp_path: Path) -> Copies:
    return Copies(lived, tmp_path)


def test_what_both_wrote_down_agrees_and_what_was_withheld_says_why(copies: Copies) -> None:
    told = copies.found()
    assert (told["alarming"], told["agreed"], told["journal_lines"]) == (0, 5, 6)
    assert told["counts"] == {"WITHHELD": 1}
    (withheld,) = told["findings"]
    assert "CONTRACT_SUSPENDED" in withheld["words"] and withheld["record"]
    assert not withheld["alarming"]


def test_the_exported_journal_says_the_same_and_names_no_person(copies: Copies) -> None:
    direct = copies.found()
    text = (copies.folder / copies.export()).read_text(encoding="utf-8")
    assert copies.found(journal="export.jsonl") == direct
    with sqlite3.connect(copies.folder / "journal.db") as database:
        tokens = database.execute("SELECT subject_tokens FROM node_journal").fetchall()
    database.close()
    people = {token for (each,) in tokens for token in json.loads(each)}
    assert len(people) >= 6
    assert not any(token.partition(".")[2] in text for token in people) and RESIDENT not in text


QUERY = "mode = 'QUERY' AND fields LIKE '%city%'"
"""The one exchange that asked for the city."""


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        (f"DELETE FROM node_journal WHERE {QUERY}", "RELEASED_UNSERVED", "no line"),
        (
            f"UPDATE node_journal SET served = 0, refused = 1, refusals = '[\"PROVIDER_VETO\"]' WHERE {QUERY}",
            "RELEASED_UNSERVED",
            "what the department refused (PROVIDER_VETO)",
        ),
        (f"UPDATE node_journal SET row_count = 7 WHERE {QUERY}", "FACTS_DIFFER", "1 were released, 7"),
        (f"UPDATE node_journal SET receipt_digest = '{'0' * 64}' WHERE {QUERY}", "FACTS_DIFFER", "receipt"),
        (f"UPDATE node_journal SET purpose = 'x' WHERE {QUERY}", "FACTS_DIFFER", "purpose"),
        (f"UPDATE node_journal SET contract = 'contracts/o@1' WHERE {QUERY}", "FACTS_DIFFER", "contract"),
        (f"UPDATE node_journal SET terms_digest = '' WHERE {QUERY}", "FACTS_DIFFER", "terms_digest"),
        (f"UPDATE node_journal SET mode = 'VERIFY' WHERE {QUERY}", "FACTS_DIFFER", "mode"),
        (f"UPDATE node_journal SET consumer = 'departments/t' WHERE {QUERY}", "FACTS_DIFFER", "consumer"),
        (f"UPDATE node_journal SET system = 'departments/t' WHERE {QUERY}", "FACTS_DIFFER", "system"),
        (f"UPDATE node_journal SET dataset = 'departments/t' WHERE {QUERY}", "FACTS_DIFFER", "dataset"),
        (f'UPDATE node_journal SET fields = \'[["city","mask:1"]]\' WHERE {QUERY}', "FACTS_DIFFER", "fields"),
        (
            f"UPDATE node_journal SET subject_tokens = '[\"1.{'0' * 32}\"]' WHERE {QUERY}",
            "FACTS_DIFFER",
            "person",
        ),
        ("UPDATE node_journal SET row_count = 4 WHERE mode = 'BATCH'", "FACTS_DIFFER", "5 were released, 4"),
        ("DELETE FROM node_journal WHERE mode = 'BATCH'", "RELEASED_UNSERVED", "no line"),
        ("DELETE FROM node_journal WHERE mode = 'STREAM'", "RELEASED_UNSERVED", "no line"),
        ("DELETE FROM node_journal_ending", "END_DIFFERS", "which the journal has not"),
        ("UPDATE node_journal_ending SET row_count = 300", "END_DIFFERS", "rows: 301"),
        ("UPDATE node_journal_ending SET row_count = 302", "END_DIFFERS", "rows: 301"),
        ("UPDATE node_journal_ending SET byte_count = 1", "END_DIFFERS", "bytes"),
        ("UPDATE node_journal_ending SET how = 'CANCELLED'", "END_DIFFERS", "COMPLETE and CANCELLED"),
        (f"UPDATE node_journal_ending SET receipt_digest = '{'0' * 64}'", "END_DIFFERS", "receipt"),
    ],
)
def test_what_was_changed_in_the_journal_is_named(
    copies: Copies, statement: str, kind: str, words: str
) -> None:
    copies.change("journal", statement)
    told = copies.found()
    assert told["alarming"] == 1
    assert (told["findings"][0]["kind"], words in told["findings"][0]["words"]) == (kind, True), told[
        "findings"
    ]


@pytest.mark.parametrize(
    "where", ["mode = 'QUERY' AND decision = 'ALLOW'", "mode = 'BATCH'", "mode = 'VERIFY'"]
)
def test_a_served_grant_of_which_the_record_was_removed_is_named(copies: Copies, where: str) -> None:
    """Of the removed batch the department had one part; the two queries are two exchanges."""
    copies.change("ledger", f"DELETE FROM records WHERE kind = 'DECISION' AND {where}")
    told = copies.found()
    assert told["alarming"] == (2 if "QUERY" in where else 1)
    assert {each["kind"] for each in told["findings"] if each["alarming"]} == {"SERVED_UNRECORDED"}


def test_a_stream_without_an_end_is_told_and_no_alarm(copies: Copies) -> None:
    copies.change("ledger", "DELETE FROM records WHERE kind = 'STREAM_END'")
    told = copies.found()
    assert (told["alarming"], told["counts"]) == (0, {"CUT_OFF": 1, "WITHHELD": 1})
    assert "301 rows" in told["findings"][-1]["words"]


def test_what_the_department_refused_and_the_log_lost_is_no_alarm(copies: Copies) -> None:
    with sqlite3.connect(copies.folder / "journal.db") as database:
        database.execute(f"UPDATE node_journal SET served = 0, refused = 1 WHERE {QUERY}")
        (exchange,) = database.execute(f"SELECT exchange FROM node_journal WHERE {QUERY}").fetchone()
    database.close()
    copies.change("ledger", f"DELETE FROM records WHERE exchange = '{exchange}'")
    assert copies.found()["counts"] == {"REFUSED_UNRECORDED": 1, "WITHHELD": 1}


def test_a_batch_that_released_less_is_explained_unless_its_lines_are_erased(copies: Copies) -> None:
    copies.change("journal", "UPDATE node_journal SET row_count = 9 WHERE mode = 'BATCH'")
    assert copies.found()["counts"] == {"WITHHELD": 1, "WITHHELD_IN_PART": 1}
    copies.change("ledger", "DELETE FROM batch_lines")
    assert copies.found()["counts"] == {"UNJUDGED": 1, "WITHHELD": 1}


def test_what_is_too_young_is_not_judged(copies: Copies) -> None:
    copies.change("journal", f"DELETE FROM node_journal WHERE {QUERY}")
    copies.change("ledger", "DELETE FROM records WHERE kind = 'DECISION' AND mode = 'VERIFY'")
    told = copies.found("--grace", "3600")
    assert (told["alarming"], told["counts"]) == (0, {"UNDER_WAY": 2, "WITHHELD": 1})


def test_a_time_cuts_both_sides_at_the_same_exchanges(copies: Copies) -> None:
    assert copies.found("--until", "2020-01-01T00:00:00Z")["journal_lines"] == 0
    assert copies.found("--since", "2100-01-01T00:00:00Z")["decisions"] == 0
    copies.export()
    lines = (copies.folder / "export.jsonl").read_text().splitlines()
    head = json.dumps({**json.loads(lines[0]), "since": "2026-01-01T00:00:00+00:00"})
    (copies.folder / "export.jsonl").write_text("\n".join([head, *lines[1:]]) + "\n")
    refused = copies.run(journal="export.jsonl")
    assert refused.exit_code == 1 and "compare no more than that" in refused.stderr


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lines: lines[:-1], "is cut off"),
        (lambda lines: [*lines[:2], *lines[3:]], "another number of lines"),
        (lambda lines: [lines[0], *lines[2:0:-1], *lines[3:]], "out of order"),
        (lambda lines: [lines[0].replace(REGISTRY, "tax"), *lines[1:]], "not that of departments/civil"),
        (lambda lines: lines[1:], "no exported journal"),
        (lambda lines: [lines[0], "{", *lines[1:]], "line 2 of the journal is not JSON"),
        (lambda lines: [lines[0], '{"exchange":"' + RESIDENT + '"}', *lines[1:]], "is no line"),
    ],
)
def test_a_journal_that_is_not_whole_is_refused(copies: Copies, spoil: Any, told: str) -> None:
    path = copies.folder / copies.export()
    path.write_text("\n".join(spoil(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    result = copies.run(journal="export.jsonl")
    assert result.exit_code == 1 and told in result.stderr, result.output
    assert RESIDENT not in result.output


def test_a_table_marks_what_is_alarming_and_names_nobody(copies: Copies) -> None:
    copies.change("journal", f"DELETE FROM node_journal WHERE {QUERY}")
    result = copies.run("--grace", "0")
    assert result.exit_code == 1
    marked = [line for line in result.stdout.splitlines() if line.startswith("!\t")]
    assert len(marked) == 1 and "RELEASED_UNSERVED" in marked[0]
    with sqlite3.connect(copies.folder / "ledger.db") as database:
        tokens = [
            token for (token,) in database.execute("SELECT DISTINCT subject_token FROM records") if token
        ]
    database.close()
    assert tokens and not any(token in result.stdout for token in tokens)


def test_a_journal_of_an_older_version_is_compared_without_receipts(copies: Copies) -> None:
    copies.change("journal", "UPDATE node_journal SET receipt_digest = receipt_digest")
    with sqlite3.connect(copies.folder / "journal.db") as database:
        for table in ("node_journal", "node_journal_ending"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN receipt_digest")
    database.close()
    assert copies.found()["counts"] == {"WITHHELD": 1}


def test_departments_without_a_journal_here_are_counted(copies: Copies) -> None:
    other = copies.folder / "tax.jsonl"
    head = {"isthmus_journal": 1, "department": "departments/tax", "since": "", "until": ""}
    other.write_text(f"{json.dumps(head)}\n{json.dumps({'lines': 0})}\n")
    arguments = [
        "audit",
        "reconcile",
        str(copies.folder / "ledger.db"),
        "--journal",
        f"tax={other}",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, json.loads(result.stdout)["not_compared"]) == (0, 5)


def test_a_batch_in_several_parts_is_one_exchange(tmp_path: Path) -> None:
    origin, folder = tmp_path / "world", tmp_path / "copies"
    for each in (origin, folder):
        each.mkdir()
    with world_in(origin) as world:
        world.agree(**TERMS)
        batch(world, [resident(number) for number in range(1005)], case=CASE)
    copies = Copies(origin, folder)
    told = copies.found()
    assert (told["alarming"], told["agreed"], told["journal_lines"]) == (0, 1, 2)
    copies.change("journal", "DELETE FROM node_journal WHERE position = 1")
    (found,) = copies.found()["findings"]
    # The log's digest is over the receipts of both parts.
    assert (found["kind"], "receipt" in found["words"]) == ("FACTS_DIFFER", True)
    again = tmp_path / "again"
    again.mkdir()
    lost = Copies(origin, again)
    lost.change("ledger", "DELETE FROM records WHERE mode = 'BATCH'")
    (found,) = lost.found()["findings"]
    assert (found["kind"], "served 300 rows" in found["words"]) == ("SERVED_UNRECORDED", True)
