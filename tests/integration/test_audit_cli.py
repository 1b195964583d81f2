"""`isthmus audit …` against a running service, and offline."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from audit.tlog.proof import verify_proof
from isthmus.cli.main import app
from isthmus.identity import Identity
from tests.integration.audit_world import (
    AUDITOR,
    OPERATOR,
    PORTAL,
    RESIDENT,
    SCHEME,
    AuditWorld,
    audit_world_in,
    token,
)
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, append, decision, denial, failure

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with audit_world_in(tmp_path) as world:
        append(world.server.ledger, decision(subject_token=token(RESIDENT)), denial("NO_CONTRACT"))
        yield world


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[AuditWorld]:
    """A world whose log shows all that it rests on."""
    with audit_world_in(tmp_path) as world:
        append(world.server.ledger, failure(), denial("NO_CONTRACT"))
        yield world


def run(world: AuditWorld, who: Identity, *arguments: str, stdin: str | None = None) -> Result:
    """The command, as this party would type it."""
    certificate, key = world.files(who)
    options = [
        "--audit-address",
        f"127.0.0.1:{world.server.port}",
        "--ca",
        str(world.folder / "pki" / "ca.pem"),
    ]
    options += ["--cert", str(certificate), "--key", str(key), "audit"]
    environment = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    return CliRunner().invoke(app, [*options, *arguments], input=stdin, env=environment)


def test_list_prints_lines_for_programs_and_json(world: AuditWorld) -> None:
    result = run(world, AUDITOR, "list", "decision = DENY")
    assert result.exit_code == 0, result.stderr
    header, line = result.stdout.splitlines()
    assert header.split("\t")[0] == "INDEX"
    assert (line.split("\t")[0], line.split("\t")[2], line.split("\t")[-1]) == (
        "1",
        "DENY QUERY",
        "NO_CONTRACT",
    )
    found = json.loads(run(world, AUDITOR, "list", "kind = DECISION", "--json").stdout)
    assert [each["index"] for each in found["records"]] == ["1", "0"]


def test_list_stops_at_the_limit(world: AuditWorld) -> None:
    append(world.server.ledger, *(decision() for _ in range(20)))
    assert len(run(world, AUDITOR, "list", "--limit", "7").stdout.splitlines()) == 8


def test_list_finds_a_person_whose_number_stands_on_standard_input(world: AuditWorld) -> None:
    result = run(
        world, AUDITOR, "list", "--subject", f"{SCHEME}:-", "--reason", "投诉", stdin=f"{RESIDENT}\n"
    )
    assert [line.split("\t")[0] for line in result.stdout.splitlines()[1:]] == ["0"]


def test_show_prints_the_leaf_as_it_is(world: AuditWorld) -> None:
    result = run(world, AUDITOR, "show", "records/0")
    assert "义务教育入学资格核验" in result.stdout
    assert (
        json.loads(run(world, AUDITOR, "show", "records/0", "--json").stdout)["consumer"]
        == "departments/education"
    )


def test_proof_is_a_file_that_anybody_can_check(world: AuditWorld, tmp_path: Path) -> None:
    out = tmp_path / "record.tlog-proof"
    vkey = str(world.folder / "log.pub")
    result = run(world, AUDITOR, "proof", "records/0", "--out", str(out), "--vkey", vkey)
    assert result.exit_code == 0, result.stderr
    assert "verified: record 0" in result.stderr
    verify_proof(out.read_bytes(), world.audit(AUDITOR).record("records/0").leaf, KEY.verifier)
    assert run(world, AUDITOR, "proof", "records/0").stdout == out.read_text()


def test_proof_by_another_log_is_refused(world: AuditWorld, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(OTHER_KEY.verifier.encode())
    result = run(world, AUDITOR, "proof", "records/0", "--vkey", str(other))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("refused: ")


def test_report_tells_who_looked(world: AuditWorld) -> None:
    result = run(world, PORTAL, "report", "subject", f"{SCHEME}:{RESIDENT}", "--reason", "本人查询")
    assert "was given full_name" in result.stdout
    assert RESIDENT not in result.stdout
    told = json.loads(
        run(world, PORTAL, "report", "subject", f"{SCHEME}:{RESIDENT}", "--reason", "x", "--json").stdout
    )
    assert len(told["accesses"]) == 2


def test_a_refusal_is_told_with_its_rule_and_exit_code(world: AuditWorld) -> None:
    result = run(world, OPERATOR, "list")
    assert result.exit_code == 3
    assert "ROLE_NOT_ALLOWED" in result.stderr


def verify(location: object, world: AuditWorld, *arguments: str) -> Result:
    """`isthmus audit verify`, which connects to nobody."""
    vkey = ["--vkey", str(world.folder / "log.pub")]
    return CliRunner().invoke(app, ["audit", "verify", str(location), *vkey, *arguments])


def test_verify_reads_a_ledger_offline(sound: AuditWorld) -> None:
    for location in (sound.url, sound.folder / "ledger.db"):
        result = verify(location, sound)
        assert result.exit_code == 0, result.stderr
        assert "records      2" in result.stdout
    told = json.loads(verify(sound.url, sound, "--json").stdout)
    assert (told["verified"], told["records"], told["log"]) == (True, 2, "ledger.example/log")


def test_verify_names_damage_and_fails(sound: AuditWorld) -> None:
    with sqlite3.connect(sound.folder / "ledger.db") as connection:
        connection.execute("UPDATE records SET purpose = 'x' WHERE idx = 1")
    connection.close()
    result = verify(sound.url, sound, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["where"] == "record 1"
    assert "record 1: its column purpose" in result.stderr


def test_verify_compares_with_a_checkpoint_from_outside(sound: AuditWorld) -> None:
    outside = sound.folder / "outside"
    outside.write_text(run(sound, AUDITOR, "checkpoint").stdout)
    assert verify(sound.url, sound, "--checkpoint", str(outside)).exit_code == 0
    outside.write_text("nonsense")
    assert verify(sound.url, sound, "--checkpoint", str(outside)).exit_code == 1


@pytest.mark.parametrize("location", ["missing.db", "postgresql://host/db"])
def test_verify_refuses_what_is_no_ledger(world: AuditWorld, location: str) -> None:
    assert verify(location, world).exit_code == 1


TOML = """
[server]
address = "127.0.0.1:0"
trust_domain = "data.example"
certificate = "pki/audit.main.pem"
key = "pki/audit.main.key"
ca = "pki/ca.pem"

[ledger]
url = "sqlite:///LEDGER"
log_key = "log.key"
pin = "audit.pin"

[subjects]
current = 2
keys = { 1 = "subject-1.key", 2 = "subject-2.key" }
schemes = { "cn.resident-id" = ["strip", "upper"] }

[metrics]
port = 0
"""


def serve(world: AuditWorld, text: str) -> subprocess.Popen[str]:
    """`isthmus audit --config audit.toml`, a process of its own."""
    config = world.folder / "audit.toml"
    config.write_text(text.replace("LEDGER", str(world.folder / "ledger.db")), encoding="utf-8")
    command = [sys.executable, "-m", "isthmus", "audit", "--config", str(config)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_the_service_starts_says_so_and_stops_when_asked(world: AuditWorld) -> None:
    with serve(world, TOML) as process:
        assert process.stderr is not None
        started = json.loads(process.stderr.readline())
        assert (started["event"], started["records"]) == ("serving", 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("audit.main", "auditor.wang", "the audit service needs one of /audit/<name>"),
        ("log.key", "missing.key", "missing.key: cannot be read"),
        ("log.key", "subject-1.key", "a signer key starts with"),
        ("subject-2.key", "log.key", "a subject key is 64 hexadecimal digits"),
        ("current = 2", "current = 3", "no subject key for the current epoch 3"),
        ("upper", "uper", "'uper' is no normaliser"),
        ("[ledger]", "[ledgers]", "did you mean ledger"),
        ("LEDGER", "/nowhere/ledger.db", "unable to open database file"),
        ("127.0.0.1:0", "203.0.113.1:1", "cannot listen on 203.0.113.1:1"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_told_before_anything_is_served(
    world: AuditWorld, good: str, bad: str, told: str
) -> None:
    world.files(AUDITOR)
    config = world.folder / "audit.toml"
    text = TOML.replace(good, bad).replace("LEDGER", str(world.folder / "ledger.db"))
    config.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["audit", "--config", str(config)])
    assert result.exit_code == 1, result.output
    assert told in result.stderr
