"""`isthmus batch` against a real gateway and node: a list goes in, a file that only its owner can read comes out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.pki import file_stem
from tests.integration.batch_calls import ANYONE, MODES, resident
from tests.integration.exchange_parties import CONTRACT, PURPOSE, RESIDENT, STRANGER, SYSTEM
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def run(world: World, *arguments: str, case: str = "1") -> Result:
    stem = file_stem(SYSTEM)
    world.credentials(SYSTEM)
    pki = world.folder / "pki"
    who = ("--cert", f"{pki / stem}.pem", "--key", f"{pki / stem}.key", "--ca", str(pki / "ca.pem"))
    where = ("--address", f"127.0.0.1:{world.gateway.port}")
    what = (
        "--contract",
        CONTRACT,
        "--purpose",
        PURPOSE,
        "--field",
        "姓名",
        "--field",
        "income",
        "--case",
        case,
    )
    return CliRunner().invoke(app, [*where, *who, "batch", *what, *arguments])


def people(world: World, text: str) -> str:
    path = world.folder / "people.csv"
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


def test_a_list_becomes_a_table_of_outcomes(world: World) -> None:
    world.agree(**ANYONE)
    listed = people(world, f"姓名,身份证号\n甲,{RESIDENT}\n乙,{STRANGER}\n丙,NONE\n")
    out = world.folder / "out.csv"
    result = run(
        world, "--subjects", listed, "--scheme", "cn.resident-id", "--column", "身份证号", "--out", str(out)
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [each["decision"] for each in rows] == ["answered", "answered", "refused"]
    assert (rows[0]["姓名"], rows[0]["income"], rows[0]["id"]) == ("**明", "5200", RESIDENT)
    assert [each["known"] for each in rows] == ["true", "false", "false"]
    assert rows[2]["reasons"] == "INVALID_ARGUMENT"
    assert out.stat().st_mode & 0o777 == 0o600
    assert "exchanges/" in result.stderr and "2 answered, 1 refused" in result.stderr
    again = run(
        world, "--subjects", listed, "--scheme", "cn.resident-id", "--column", "身份证号", "--out", str(out)
    )
    assert again.exit_code == 1, "nothing is written over"


def test_json_lines_hold_the_rows_as_they_are(world: World) -> None:
    world.agree(**ANYONE)
    listed = people(world, f"scheme,id\ncn.resident-id,{RESIDENT}\ncn.passport,E1\n")
    out = world.folder / "out.jsonl"
    assert run(world, "--subjects", listed, "--out", str(out)).exit_code == 0
    first, second = [json.loads(line) for line in out.read_text().splitlines()]
    assert first["rows"] == [{"姓名": "**明", "income": 5200}] and first["line"] == 1
    assert second["reasons"] == ["SCHEME_NOT_ALLOWED"] and second["rows"] == []


def test_nobody_answered_about_is_a_denial(world: World) -> None:
    world.agree(modes=MODES)
    listed = people(world, f"id\n{resident(1)}\n")
    result = run(world, "--subjects", listed, "--scheme", "cn.resident-id", case="")
    assert result.exit_code == 3 and "CONSENT_MISSING" in result.stdout


def test_what_is_refused_as_a_whole_leaves_no_file(world: World) -> None:
    out = world.folder / "out.csv"
    result = run(
        world, "--subjects", people(world, "id\n2\n"), "--scheme", "cn.resident-id", "--out", str(out)
    )
    assert result.exit_code == 3 and "NO_CONTRACT" in result.stderr and not out.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\n", "names no subject"),
        ("x\n1\n", "no column id"),
        ("id\n1\n\n \n", "line"),
        ("scheme,id\nx,\n", "empty"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_before_anything_is_asked(
    world: World, text: str, words: str
) -> None:
    result = run(world, "--subjects", people(world, text), *(() if "scheme" in text else ("--scheme", "a")))
    assert result.exit_code == 2 and words in result.output.replace("\n", " ")
    assert world.decisions() == []
