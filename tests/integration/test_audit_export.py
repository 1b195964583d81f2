"""ExportRecords, and `isthmus audit export`: exactly the records asked for, each once, recorded before they leave."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from audit.export import parts
from audit.export.parquet import ParquetMissing
from audit.export.token import Span, resume_token
from audit.ledger import LedgerUnavailable
from audit.record import AccessRecord, Kind
from audit.tlog.merkle import hash_leaf
from isthmus.canonical import canonical_json
from isthmus.cli.main import app
from isthmus.errors import InvalidArgument, IsthmusError, PermissionDenied
from isthmus.identity import Identity
from isthmus.v1 import audit_service_pb2 as pb
from tests.integration.audit_calls import at_rest, filled_world, leaves
from tests.integration.audit_world import AUDITOR, EDUCATION, OPERATOR, PORTAL, TAX, AuditWorld
from tests.unit.audit.ledger_world import append, control, decision

pytestmark = pytest.mark.integration

REASON = "年度审计 张三的投诉"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AuditWorld]:
    with filled_world(tmp_path) as world:
        yield world


def exported(world: AuditWorld, who: Identity = AUDITOR, filter_: str = "", **options: Any) -> bytes:
    return b"".join(part.data for part in world.audit(who).export(filter_, reason=REASON, **options))


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_json_lines_hold_every_leaf_so_that_its_hash_can_be_computed_again(world: AuditWorld) -> None:
    before = [record.leaf() for record in leaves(world)]
    found = lines(exported(world))
    assert [canonical_json(each["record"]) for each in found] == before
    assert [each["index"] for each in found] == list(range(len(before)))
    assert [each["leaf_hash"] for each in found] == [hash_leaf(leaf).hex() for leaf in before]


def test_csv_is_a_table_that_no_spreadsheet_runs(world: AuditWorld) -> None:
    append(
        world.ledger, decision(case_reference="=HYPERLINK(1)"), decision(case_reference='a "b",\r\nc 案件')
    )
    table = list(csv.DictReader(io.StringIO(exported(world, export_format="csv").decode(), newline="")))
    assert [row["case_reference"] for row in table[-2:]] == ["'=HYPERLINK(1)", 'a "b",\r\nc 案件']
    assert (table[0]["index"], table[0]["kind"], table[0]["row_count"]) == ("0", "DECISION", "1")
    assert table[1]["reasons"] == "CONSENT_WITHDRAWN QUOTA_EXHAUSTED"
    assert table[0]["fields"] == "full_name:plain birth_date:bucket:year"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_no_cell_begins_like_a_formula(start: str, world: AuditWorld) -> None:
    append(world.ledger, decision(purpose=f"{start}1+1"))
    text = exported(world, filter_="index > 4", export_format="csv").decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["purpose"] == f"'{start}1+1"


def test_parquet_of_the_server_is_one_file(world: AuditWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.export.parquet.GROUP", 2)
    table = pq.ParquetFile(io.BytesIO(exported(world, export_format="parquet")))
    assert table.num_row_groups == 3
    found = table.read().to_pylist()
    assert [row["index"] for row in found] == [0, 1, 2, 3, 4]
    assert found[0]["purpose"] == "义务教育入学资格核验" and found[0]["time"].tzinfo is not None


def test_ocsf_events_name_who_called_what_and_how_it_ended(world: AuditWorld) -> None:
    allowed, denied, _, suspended, failed = lines(exported(world, export_format="ocsf"))
    for event in (allowed, denied, suspended, failed):
        assert (event["class_uid"], event["category_uid"]) == (6003, 6)
        assert event["type_uid"] == 600300 + event["activity_id"]
        assert event["metadata"]["profiles"] == ["security_control", "datetime", "trace"]
        assert event["metadata"]["version"] and event["metadata"]["product"]["vendor_name"]
        assert {"actor", "api", "src_endpoint", "time", "severity_id"} <= event.keys()
        assert event["time_dt"].endswith("Z") and isinstance(event["time"], int)
    assert [each["action_id"] for each in (allowed, denied, failed)] == [1, 2, 0]
    assert [each["disposition_id"] for each in (allowed, denied, failed)] == [1, 2, 27]
    assert [each["status_id"] for each in (allowed, denied, suspended, failed)] == [1, 2, 1, 2]
    assert (suspended["activity_id"], suspended["api"]["operation"]) == (3, "SuspendContract")
    assert "action_id" not in suspended
    assert denied["status_detail"] == "CONSENT_WITHDRAWN, QUOTA_EXHAUSTED"
    assert allowed["actor"]["user"]["uid"] == decision().caller


def test_an_export_is_a_record_without_the_words_that_were_written(world: AuditWorld) -> None:
    exported(world, filter_='purpose = "x"')
    record = leaves(world)[-1]
    assert (record.kind, record.action) == (Kind.EXPORT, "ExportRecords")
    assert {"format", "first", "end", "filter_commitment", "reason_commitment"} == record.change.keys()
    assert (record.change["first"], record.change["end"]) == (0, 5)
    assert "张三" not in at_rest(world)


def test_nothing_leaves_when_the_export_cannot_be_recorded(
    world: AuditWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("the disk is full")

    monkeypatch.setattr(world.server.ledger, "transact", fail)
    with pytest.raises(IsthmusError):
        next(iter(world.audit(AUDITOR).export(reason=REASON)))


def test_the_record_is_there_before_the_first_byte(world: AuditWorld) -> None:
    received = world.audit(AUDITOR).export(reason=REASON)
    next(received)
    assert leaves(world)[-1].kind is Kind.EXPORT
    received.close()


def test_a_department_gets_its_own_part_and_an_operator_nothing(world: AuditWorld) -> None:
    assert [each["index"] for each in lines(exported(world, EDUCATION))] == [0]
    assert [each["index"] for each in lines(exported(world, TAX))] == [1, 2, 3, 4]
    for who in (OPERATOR, PORTAL):
        with pytest.raises(PermissionDenied):
            exported(world, who)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three records."""
    monkeypatch.setattr(parts, "PART_RECORDS", 3)
    monkeypatch.setattr(parts, "_WINDOW", 4)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["json-lines", "csv", "ocsf"])
def test_an_export_goes_on_after_any_part_without_gap_or_repetition(world: AuditWorld, name: str) -> None:
    append(world.ledger, *(decision() for _ in range(20)))
    whole = list(world.audit(AUDITOR).export(reason=REASON, export_format=name))
    assert len(whole) > 5 and all(part.resume_token for part in whole)
    for cut in range(1, len(whole)):
        # What happened meanwhile, the exports themselves included, lies behind the end.
        token = whole[cut - 1].resume_token
        rest = list(world.audit(AUDITOR).export(reason=REASON, export_format=name, resume_token=token))
        assert [part.data for part in rest] == [part.data for part in whole[cut:]]
    assert sum(part.record_count for part in whole) == 25


@pytest.mark.usefixtures("small")
def test_rare_records_are_found_all(world: AuditWorld) -> None:
    append(world.ledger, *(decision() for _ in range(30)), control("ResumeContract", "contracts/x@1"))
    found = lines(exported(world, filter_="kind = CONTROL"))
    assert [each["record"]["action"] for each in found] == ["SuspendContract", "ResumeContract"]


def test_a_token_fits_one_export_only(world: AuditWorld) -> None:
    token = next(iter(world.audit(AUDITOR).export("decision = DENY", reason=REASON))).resume_token
    for filter_, name, resume in (
        ("decision = ALLOW", "json-lines", token),
        ("decision = DENY", "csv", token),
        ("decision = DENY", "json-lines", "nonsense"),
        ("decision = DENY", "json-lines", token[:-2]),
        ("decision = DENY", "parquet", token),
    ):
        with pytest.raises(InvalidArgument):
            exported(world, filter_=filter_, export_format=name, resume_token=resume)
    assert exported(world, filter_="decision = DENY", resume_token=token) == b""


def test_a_stolen_token_shows_no_more_than_its_bearer_may_see(world: AuditWorld) -> None:
    forged = resume_token(pb.ExportRecordsRequest(), Span(0, 5))
    assert [each["index"] for each in lines(exported(world, EDUCATION, resume_token=forged))] == [0]


def test_parquet_is_not_gone_on_with_in_the_middle(world: AuditWorld) -> None:
    forged = resume_token(pb.ExportRecordsRequest(format=pb.EXPORT_FORMAT_PARQUET), Span(1, 5))
    with pytest.raises(InvalidArgument, match="Parquet"):
        exported(world, export_format="parquet", resume_token=forged)


def test_parquet_without_pyarrow_is_refused_in_words(
    world: AuditWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ParquetMissing

    monkeypatch.setattr(parts, "require_parquet", missing)
    before = len(leaves(world))
    with pytest.raises(InvalidArgument, match="pyarrow"):
        exported(world, export_format="parquet")
    assert len(leaves(world)) == before


def run(world: AuditWorld, *arguments: str) -> Result:
    certificate, key = world.files(AUDITOR)
    ca = str(world.folder / "pki" / "ca.pem")
    options = ["--audit-address", f"127.0.0.1:{world.server.port}", "--ca", ca, "--cert", str(certificate)]
    environment = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    command = [*options, "--key", str(key), "audit", "export", *arguments]
    return CliRunner().invoke(app, command, env=environment)


def test_the_command_writes_a_file(world: AuditWorld, tmp_path: Path) -> None:
    out = tmp_path / "denied.jsonl"
    result = run(world, "decision = DENY", "--reason", REASON, "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert "1 records in" in result.stderr
    (line,) = lines(out.read_bytes())
    assert AccessRecord.parse(canonical_json(line["record"])).decision == "DENY"
    assert run(world, "--reason", REASON, "--out", str(out)).exit_code == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_the_command_goes_on_after_an_interruption(
    world: AuditWorld, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(world.ledger, *(decision() for _ in range(20)))
    whole, out = tmp_path / "whole", tmp_path / "out"
    filter_ = "index < 25"
    options = ("--reason", REASON, "--format", form)
    assert run(world, filter_, *options, "--out", str(whole)).exit_code == 0
    calls = [0]
    fill = parts._Chunk.fill

    def failing(*arguments: Any) -> int:
        calls[0] += 1
        if calls[0] == 4:
            raise LedgerUnavailable("the disk is full")
        return fill(*arguments)

    monkeypatch.setattr(parts._Chunk, "fill", failing)
    broken = run(world, filter_, *options, "--out", str(out))
    assert broken.exit_code == 4 and "--resume" in broken.stderr and not out.exists()
    resumed = run(world, filter_, *options, "--out", str(out), "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    if form == "parquet":
        assert pq.read_table(out).equals(pq.read_table(whole))
    else:
        assert out.read_bytes() == whole.read_bytes()
