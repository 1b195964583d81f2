"""Streams with the SDK and the command: every row exactly once, whatever interrupts them, and the same rows in every form."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.cli.stream import _progress
from isthmus.cli.stream_formats import safe
from isthmus.client import AsyncClient, ReceiptError, RowStream
from isthmus.errors import Denied, IsthmusError, Unavailable
from isthmus.pki import file_stem
from tests.integration.exchange_parties import CONTRACT, GATEWAY, PURPOSE, SYSTEM
from tests.integration.exchange_world import World, world_in
from tests.integration.stream_nodes import ScriptedNode
from tests.integration.stream_world import CASE, FIELDS, agree, client, ends

pytestmark = pytest.mark.integration

ASKED: dict[str, Any] = {
    "contract": CONTRACT,
    "purpose": PURPOSE,
    "fields": list(FIELDS),
    "case_reference": CASE,
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        agree(each)
        yield each


class Interrupted(Exception):
    pass


def interrupting(*places: int) -> Callable[[int], None]:
    """The node fails once before each of these chunks."""
    left = list(places)

    def gate(number: int) -> None:
        if number in left:
            left.remove(number)
            raise Interrupted

    return gate


def opened(world: World, **options: Any) -> RowStream:
    return client(world, world.folder).exchange.stream(**ASKED, **options)


@pytest.mark.parametrize("arrow", [False, True])
def test_every_row_comes_exactly_once_through_interruptions(world: World, arrow: bool) -> None:
    with ScriptedNode(world, chunks=5, gate=interrupting(0, 1, 3, 4)).serving():
        stream = opened(world, arrow=arrow, resume=True)
        stream._sleep = lambda seconds: None
        assert [row["income"] for row in stream] == list(range(10))
    assert stream.resumed == 4 and stream.rows == 10
    assert [each.action for each in ends(world)] == ["FAILED"] * 4 + ["COMPLETE"]
    assert sum(each.row_count for each in ends(world)) == 10


def test_without_resume_the_token_goes_on_after_the_rows_used(world: World) -> None:
    with ScriptedNode(world, chunks=5, gate=interrupting(3)).serving():
        stream, seen = opened(world), []
        with pytest.raises(Unavailable):
            for row in stream:
                seen.append(row["income"])
        rest = opened(world, resume_token=stream.resume_token)
        assert seen + [row["income"] for row in rest] == list(range(10))


def test_a_stream_that_is_stopped_by_a_rule_is_not_tried_again(world: World) -> None:
    agreed = world.decisions()
    held = threading.Event()
    with ScriptedNode(world, gate=lambda n: n == 0 or held.wait(20)).serving() as node:
        stream = opened(world, resume=True)
        rows = iter(stream)
        next(rows), next(rows)
        contract = client(world, world.folder).contracts.get(f"{CONTRACT}@1")
        world.suspend(contract)
        held.set()
        with pytest.raises(Denied):
            next(rows)
    assert len(node.grants) == 1 and len(world.decisions()) == len(agreed) + 1


def test_the_provider_signed_for_exactly_what_arrived(world: World) -> None:
    with ScriptedNode(world).serving():
        for arrow in (False, True):
            with client(world, world.folder) as sdk:
                stream = sdk.exchange.stream(**ASKED, arrow=arrow)
                list(stream)
                assert sdk.verify_receipt(stream.result).department == "departments/civil-registry"
                stream._digest.update(b"x")
                with pytest.raises(ReceiptError):
                    sdk.verify_receipt(stream.result)


def test_a_stream_works_with_await_too(world: World) -> None:
    async def ask() -> list[Any]:
        pki, stem = world.folder / "pki", file_stem(SYSTEM)
        async with AsyncClient(
            f"127.0.0.1:{world.gateway.port}",
            cert=pki / f"{stem}.pem",
            key=pki / f"{stem}.key",
            ca=pki / "ca.pem",
            server=GATEWAY,
        ) as sdk:
            stream = sdk.exchange.stream(**ASKED, resume=True)
            rows = [row["income"] async for row in stream]
            assert sdk.verify_receipt(stream.result)
            batches = sdk.exchange.stream(**ASKED, arrow=True)
            counted = [batch.num_rows async for batch in batches.batches()]
            return [rows, counted]

    world.credentials(SYSTEM)
    with ScriptedNode(world, chunks=4, gate=interrupting(2)).serving():
        rows, counted = asyncio.run(ask())
    assert rows == list(range(8)) and counted == [2, 2, 2, 2]


# ---- The command


def run(world: World, out: Path, *more: str) -> Result:
    world.credentials(SYSTEM)
    pki, stem = world.folder / "pki", file_stem(SYSTEM)
    options = ["--address", f"127.0.0.1:{world.gateway.port}", "--cert", str(pki / f"{stem}.pem")]
    options += ["--key", str(pki / f"{stem}.key"), "--ca", str(pki / "ca.pem"), "stream"]
    asked = ["--contract", CONTRACT, "--purpose", PURPOSE, "--case", CASE, "--out", str(out)]
    fields = [part for name in FIELDS for part in ("--field", name)]
    return CliRunner().invoke(app, [*options, *asked, *fields, *more])


def read(path: Path) -> list[tuple[str, int]]:
    """The rows of a file of any form."""
    if path.suffix == ".parquet":
        return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    if path.suffix == ".arrow":
        return [tuple(row.values()) for row in pa.ipc.open_file(path).read_all().to_pylist()]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == list(FIELDS)
        return [(name, int(income)) for name, income in rows]
    return [tuple(json.loads(line).values()) for line in path.read_text(encoding="utf-8").splitlines()]


FORMS = ("parquet", "arrow", "csv", "jsonl")


def test_every_form_holds_the_same_rows(world: World, tmp_path: Path) -> None:
    expected = [(str(n), n) for n in range(6)]
    with ScriptedNode(world).serving():
        for form in FORMS:
            out = tmp_path / f"人口.{form}"
            result = run(world, out, "--check-receipt")
            assert result.exit_code == 0, result.output
            assert read(out) == expected, form
            assert "receipt signed by" in result.output and "exchanges/" in result.output
            assert out.stat().st_mode & 0o077 == 0
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("form", FORMS)
def test_an_interrupted_file_is_kept_and_gone_on_with(world: World, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"people.{form}"
    with ScriptedNode(world, chunks=5, gate=interrupting(2, 4)).serving():
        first = run(world, out, "--no-retry")
        assert first.exit_code == 4 and not out.exists()
        assert "4 rows are kept in" in first.output
        again = run(world, out, "--no-retry")
        assert again.exit_code == 1 and "--resume" in again.output
        assert run(world, out, "--no-retry", "--resume").exit_code == 4
        last = run(world, out, "--no-retry", "--resume")
        assert last.exit_code == 0, last.output
    assert read(out) == [(str(n), n) for n in range(10)]
    assert not list(tmp_path.glob("*.part*"))


def test_what_was_written_after_the_last_mark_is_cut_off(world: World, tmp_path: Path) -> None:
    out = tmp_path / "people.csv"
    with ScriptedNode(world, chunks=5, gate=interrupting(2)).serving():
        run(world, out, "--no-retry")
        with (tmp_path / "people.csv.part").open("ab") as file:
            file.write(b"half a ro")
        assert run(world, out, "--resume").exit_code == 0
    assert read(out) == [(str(n), n) for n in range(10)]


def test_only_the_same_request_may_go_on(world: World, tmp_path: Path) -> None:
    out = tmp_path / "people.csv"
    with ScriptedNode(world, chunks=5, gate=interrupting(2)).serving():
        run(world, out, "--no-retry")
        other = run(world, out, "--resume", "--field", "city")
        assert other.exit_code == 1 and "another request" in other.output
        nothing = run(world, tmp_path / "other.csv", "--resume")
        assert nothing.exit_code == 1 and "nothing to go on with" in nothing.output


def test_a_file_that_exists_is_not_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "people.csv"
    out.write_text("kept")
    with ScriptedNode(world).serving():
        assert run(world, out).exit_code == 1
    assert out.read_text() == "kept" and not world.decisions()


def test_a_refused_stream_leaves_no_file(world: World, tmp_path: Path) -> None:
    with ScriptedNode(world).serving():
        result = run(world, tmp_path / "people.csv", "--field", "secret")
    assert result.exit_code == 3 and "FIELDS_OUTSIDE_CONTRACT" in result.output
    assert not list(tmp_path.glob("people.csv*"))


def test_a_condition_goes_to_the_provider(world: World, tmp_path: Path) -> None:
    with ScriptedNode(world).serving() as node:
        assert run(world, tmp_path / "people.csv", "--where", "income>=3").exit_code == 0
    (item,) = node.grants[0]["items"]
    assert item["filters"] == [{"field": "income", "operator": "GE", "values": [{"int64": "3"}]}]


def test_text_that_a_spreadsheet_would_run_is_made_text() -> None:
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1+1"]
    assert [safe(each) for each in dangerous] == [f"'{each}" for each in dangerous]
    assert [safe(each) for each in ("王小明", "a=b", "", None, -5, 1.5)] == [
        "王小明",
        "a=b",
        "",
        "",
        "-5",
        "1.5",
    ]


def test_an_error_is_typed(world: World) -> None:
    with pytest.raises(IsthmusError) as error:
        list(client(world, world.folder).exchange.stream(**{**ASKED, "contract": "contracts/none"}))
    assert error.value.exchange


def test_a_terminal_shows_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    with _progress(1_000) as progress:
        progress.update(2_345, 1_500_000)
    assert "3,345 rows" in screen.getvalue() and "1.5 MB" in screen.getvalue()
