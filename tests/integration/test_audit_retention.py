"""Purging and archiving by period: the legal minimum, the certificate, and what a crash in the middle leaves."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.config import RetentionSettings
from audit.retention.certificate import open_certificate
from audit.retention.rule import RetentionRefused, RetentionRule
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import NoteError, TlogError
from isthmus.cli.main import app
from tests.integration.retention_world import (
    AUDITOR,
    BETWEEN,
    NOW,
    OLD_REASON,
    OPERATOR,
    RESIDENT,
    SCHEME,
    RetentionWorld,
    careless,
    erase,
)
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, control, ledger_in

pytestmark = pytest.mark.integration

__all__ = ["careless"]

ROOT = Path(__file__).resolve().parents[2]
RULE = RetentionRule.of(RetentionSettings())
ARTICLE = "第二十九条"


@pytest.fixture
def world(tmp_path: Path) -> RetentionWorld:
    return RetentionWorld(tmp_path)


def purge(world: RetentionWorld, *options: str, before: str = BETWEEN) -> str:
    result = world.run("purge", "--before", before, "--reason", "期满销毁", *options)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_purge_that_reaches_younger_records_is_refused_and_names_the_article(world: RetentionWorld) -> None:
    before = world.details()
    for date in (NOW.date(), (NOW - timedelta(days=3 * 365 - 3)).date()):
        result = world.run("purge", "--before", date.isoformat(), "--reason", "x")
        assert result.exit_code == 1 and ARTICLE in result.stderr and "3 years" in result.stderr
    assert world.details() == before and not world.records("PurgeDetailPart")


def test_a_purge_destroys_old_detail_alone_and_every_proof_still_holds(world: RetentionWorld) -> None:
    certificate = purge(world)
    assert [each for each in world.details() if each < world.young] == []
    assert {world.young, world.young_batch} <= set(world.details())
    assert world.rows("SELECT DISTINCT idx FROM batch_lines") == [(world.young_batch,)]
    world.verified()
    told = open_certificate(certificate.encode(), KEY.verifier)
    assert (told["details"], told["line parts"]) == ("4", "1")
    assert ARTICLE in told["rule"] and told["by"] == "spiffe://data.example/audit/main"
    assert told["positions"] == f"2 to {world.old_batch + 1}"
    index = int(told["record"].removeprefix("records/"))
    ((leaf,),) = world.rows(f"SELECT leaf FROM records WHERE idx = {index}")
    assert told["leaf"] == hashlib.sha256(b"\0" + leaf).hexdigest()


def test_nothing_of_what_was_purged_is_left_in_the_files(world: RetentionWorld, careless: None) -> None:
    assert OLD_REASON.encode() in world.at_rest() and world.salts[3].hex().encode() in world.at_rest()
    with world.in_use():
        purge(world)
        after = world.at_rest()
    assert OLD_REASON.encode() not in after and world.salts[3].hex().encode() not in after


def test_a_second_purge_destroys_nothing_and_gives_the_same_certificate(world: RetentionWorld) -> None:
    first = purge(world)
    size = world.verified().size
    assert purge(world) == first
    assert world.verified().size == size


def test_a_ledger_with_nothing_to_destroy_gets_no_certificate(world: RetentionWorld) -> None:
    result = world.run("purge", "--before", "2001-01-01", "--reason", "x", "--json")
    assert (json.loads(result.stdout)["destroyed"], json.loads(result.stdout)["certificate"]) == (False, "")


def test_a_certificate_is_checked_with_the_logs_key_and_is_no_checkpoint(world: RetentionWorld) -> None:
    path = world.folder / "certificate"
    purge(world, "--out", str(path))
    checking = ["audit", "check-certificate", str(path), "--vkey", str(world.folder / "log.pub"), "--json"]
    result = CliRunner().invoke(app, checking)
    assert result.exit_code == 0 and json.loads(result.stdout)["verified"] is True, result.output
    data = path.read_bytes()
    with pytest.raises(TlogError):
        open_checkpoint(data, KEY.verifier)
    with pytest.raises(NoteError):
        open_certificate(data, OTHER_KEY.verifier)
    path.write_bytes(data.replace(b"details: 4", b"details: 3"))
    result = CliRunner().invoke(app, checking)
    assert result.exit_code == 1 and "refused" in result.stderr


KILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from audit.keys import load_log_key
from audit.ledger import Ledger
from audit.retention.actor import Actor
from audit.retention.purge import purge
from audit.retention.erase import ErasureOrder, erase_subject
from audit.retention.rule import RetentionRule

folder = Path(sys.argv[1])
ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}", log_key=load_log_key(folder / "log.key"), pin=folder / "pin",
                     clock=lambda: datetime.now(timezone.utc))
def told(done):
    print(done, flush=True)
    sys.stdin.readline()
purge(ledger, datetime.fromisoformat(sys.argv[2]).replace(tzinfo=timezone.utc), reason="x",
      actor=Actor("spiffe://data.example/audit/main", "00" * 32), rule=RetentionRule(3, "x"), at_once=1, progress=told)
"""


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_purge_that_was_killed_is_gone_on_with_and_its_certificate_counts_all(
    world: RetentionWorld, tmp_path: Path, after: int
) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    whole = open_certificate(purge(RetentionWorld(twin)).encode(), KEY.verifier)
    command = [sys.executable, "-c", KILLED, str(world.folder), BETWEEN]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        for _ in range(after):
            assert process.stdout.readline()
            if _ + 1 < after:
                process.stdin.write("\n")
                process.stdin.flush()
        process.send_signal(signal.SIGKILL)
        process.wait()
    world.verified()
    assert len(world.records("PurgeDetailPart")) == after and not world.records("PurgeDetail")
    other = (NOW - timedelta(days=4 * 366 + 9)).date().isoformat()
    refused = world.run("purge", "--before", other, "--reason", "x")
    assert refused.exit_code == 1 and "begun and not ended" in refused.stderr
    told = open_certificate(purge(world).encode(), KEY.verifier)
    assert [told[name] for name in ("details", "line parts", "positions")] == [
        whole[name] for name in ("details", "line parts", "positions")
    ]
    assert len(world.records("PurgeDetail")) == 1
    world.verified()


def test_the_digest_of_what_was_destroyed_is_that_of_the_archive(world: RetentionWorld) -> None:
    package = world.folder / "package"
    _archive(world, package)
    digest = bytes(32)
    details = {each["index"]: each["json"].encode() for each in _lines(package / "detail" / "details.jsonl")}
    parts = {each["index"]: each for each in _lines(package / "detail" / "batch-lines.jsonl")}
    for index in sorted({*details, *parts}):
        held = [(b"\0", details[index])] if index in details else []
        if index in parts:
            held.append((b"\1", b64decode(parts[index]["hashes"]) + b64decode(parts[index]["lines"])))
        for kind, content in held:
            numbers = index.to_bytes(8) + (0).to_bytes(8)
            digest = hashlib.sha256(digest + kind + numbers + hashlib.sha256(content).digest()).digest()
    told = open_certificate(purge(world, "--chunk", "2").encode(), KEY.verifier)
    assert told["digest"] == digest.hex()


def test_an_operator_destroys_nothing_and_an_auditor_is_named(world: RetentionWorld) -> None:
    options = ("--before", BETWEEN, "--reason", "x")
    refused = world.run("purge", *options, by=OPERATOR)
    assert refused.exit_code == 1 and "may not destroy" in refused.stderr
    assert world.run("purge", *options, by=AUDITOR).exit_code == 0
    assert world.records("PurgeDetail")[0]["caller"] == AUDITOR.uri


def test_a_denied_certificate_destroys_nothing(world: RetentionWorld) -> None:
    assert world.run("purge", "--before", "2001-01-01", "--reason", "x", by=AUDITOR).exit_code == 0
    erase(world)
    thumbprint = world.records("EraseDetail")[0]["certificate"]
    with ledger_in(world.folder, clock=lambda: datetime.now(UTC)) as ledger:
        ledger.transact(lambda tx: tx.append(control("DenyCertificate", f"certificates/{thumbprint}")))
    for command in (
        ("erase", "--subject", f"{SCHEME}:{RESIDENT}"),
        ("purge", "--before", BETWEEN),
        ("destroy-epoch", "1"),
    ):
        result = world.run(*command, "--reason", "x")
        assert result.exit_code == 1 and "was denied" in result.stderr, result.output


def _archive(world: RetentionWorld, package: Path, *options: str) -> None:
    ledger = str(world.folder / "ledger.db")
    result = CliRunner().invoke(
        app, ["audit", "archive", ledger, "--before", BETWEEN, "--out", str(package), *options]
    )
    assert result.exit_code == 0, result.output


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in path.read_text(encoding="utf-8").splitlines()]


def test_a_package_verifies_by_itself_and_holds_the_old_records_alone(world: RetentionWorld) -> None:
    package = world.folder / "package"
    _archive(world, package)
    purge(world)
    verifying = ["audit", "verify", str(package), "--vkey", str(world.folder / "log.pub"), "--json"]
    result = CliRunner().invoke(app, verifying)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["records"] == world.young
    manifest = json.loads((package / "detail" / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        data = (package / "detail" / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "lines": len(data.splitlines())}
        assert (package / "detail" / name).stat().st_mode & 0o777 == 0o600
    assert len(_lines(package / "detail" / "details.jsonl")) == 4


def test_a_package_is_continued_and_may_leave_the_detail_out(world: RetentionWorld) -> None:
    package = world.folder / "package"
    _archive(world, package, "--no-detail")
    assert {each.name for each in (package / "detail").iterdir()} == {"manifest.json"}
    _archive(world, package)
    assert len(_lines(package / "detail" / "batch-lines.jsonl")) == 1


def test_a_package_of_nothing_is_refused(world: RetentionWorld) -> None:
    ledger = str(world.folder / "ledger.db")
    result = CliRunner().invoke(
        app, ["audit", "archive", ledger, "--before", "2001-01-01", "--out", str(world.folder / "p")]
    )
    assert result.exit_code == 1 and "no record from before" in result.stderr


def test_the_minimum_is_counted_in_calendar_years() -> None:
    leap = datetime(2028, 2, 29, 12, tzinfo=UTC)
    assert RULE.destructible_before(leap) == datetime(2025, 2, 28, 12, tzinfo=UTC)
    limit = RULE.destructible_before(NOW)
    RULE.require(limit, NOW)
    with pytest.raises(RetentionRefused, match=ARTICLE):
        RULE.require(limit + timedelta(microseconds=1), NOW)


@pytest.mark.parametrize(
    "settings", [{"minimum_years": -1}, {"minimum_years": 101}, {"citation": " "}, {"citation": "a\n"}]
)
def test_a_rule_that_is_none_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetentionSettings(**settings)  # type: ignore[arg-type]
