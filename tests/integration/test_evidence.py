"""A bundle of evidence: what is in it, and that it is verified with nothing around it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.evidence import case
from audit.evidence.answer import Evidence
from audit.evidence.archive import unpack
from audit.evidence.manifest import LEAVES, README
from audit.evidence.verify import verify_bundle
from audit.ledger import LedgerUnavailable
from audit.record import AccessRecord, Kind
from audit.tlog.proof import verify_proof
from isthmus.canonical import sha256_hex
from isthmus.cli.main import app
from isthmus.errors import InvalidArgument, IsthmusError, PermissionDenied, ResourceExhausted
from isthmus.pki import file_stem
from tests.integration.evidence_world import (
    POLICIES,
    REASON,
    SCHEME,
    EvidenceWorld,
    evidence_world_in,
    manifest_of,
)
from tests.integration.exchange_parties import AUDITOR, CONSUMER, OPERATOR, RESIDENT
from tests.integration.stream_world import all_records

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvidenceWorld]:
    with evidence_world_in(tmp_path_factory.mktemp("evidence")) as world:
        world.happen()
        yield world


@pytest.fixture
def bundle(world: EvidenceWorld, tmp_path: Path) -> Path:
    path = tmp_path / "case.zip"
    path.write_bytes(world.bundle())
    return path


def test_a_bundle_holds_the_case_what_it_rests_on_and_everything_between(
    world: EvidenceWorld, bundle: Path
) -> None:
    data = bundle.read_bytes()
    files, manifest = unpack(data), manifest_of(data)
    records = all_records(world.exchanges)
    decisions = [at for at, record in enumerate(records) if record.kind is Kind.DECISION]
    assert list(manifest.case) == decisions and len(decisions) == 3
    assert files[LEAVES].split(b"\n")[:-1] == [
        record.leaf() for record in records[manifest.begin : manifest.end]
    ]
    assert {records[at].action for at in manifest.rests_on} >= {"SignContract", "GrantConsent"}
    assert {records[at].action for at in range(manifest.begin, manifest.end)} >= {"WithdrawConsent"}
    statements = [name for name in files if name.startswith("statements/")]
    assert len(statements) == 3
    assert all(name == f"statements/{sha256_hex(files[name])}.jws" for name in statements)
    enclosed = {name.split("/")[1] for name in files if name.startswith("policies/")}
    assert enclosed == {records[at].policy_digest for at in (*manifest.case, *manifest.rests_on)}
    digest = records[decisions[0]].policy_digest
    for name in ("exchange.cedar", "exchange.cedarschema"):
        assert files[f"policies/{digest}/{name}"] == (POLICIES / name).read_bytes()


def test_a_bundle_verifies_with_trust_anchors_of_ones_own(world: EvidenceWorld, bundle: Path) -> None:
    from cryptography.x509 import load_pem_x509_certificates

    found = verify_bundle(bundle, world.key, ca=load_pem_x509_certificates(world.ca.read_bytes()))
    assert (found.log, found.statements, found.anchors) == (world.key.name, 3, ())
    assert len(found.missing) == 1 and "receipt" in found.missing[0]
    alone = verify_bundle(bundle, None)
    assert alone.anchors == ("trust/log.vkey", "trust/ca.pem")


def test_the_same_case_gives_the_same_bytes_but_for_a_longer_log(world: EvidenceWorld) -> None:
    one, other = unpack(world.bundle()), unpack(world.bundle())
    grown = {name for name in one if one[name] != other[name]}
    assert all(
        name.startswith(("checkpoints/", "range/proof", "records/", "README", "manifest")) for name in grown
    )
    assert not any(name.endswith(".json") and name.startswith("records/") for name in grown)


def test_a_bundle_names_nobody(world: EvidenceWorld, bundle: Path) -> None:
    data = bundle.read_bytes()
    for text in (RESIDENT, REASON, "第7号"):
        assert text.encode() not in data


def test_the_export_is_a_record_with_the_digest_of_the_bundle(world: EvidenceWorld, bundle: Path) -> None:
    record = [each for each in all_records(world.exchanges) if each.kind is Kind.EXPORT][-1]
    assert (record.action, record.row_count) == ("ExportEvidence", 3)
    assert record.change["bundle_digest"] == sha256_hex(bundle.read_bytes())
    assert {"filter_commitment", "reason_commitment"} <= record.change.keys()


def test_nothing_leaves_when_the_export_cannot_be_recorded(
    world: EvidenceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("the disk is full")

    monkeypatch.setattr(world.server.ledger, "transact", fail)
    with pytest.raises(IsthmusError, match=r"disk|ledger"):
        world.bundle()


def test_only_an_auditor_gets_a_bundle(world: EvidenceWorld) -> None:
    for who in (CONSUMER, OPERATOR):
        with pytest.raises(PermissionDenied):
            list(world.client(who).audit.evidence("kind = DECISION", reason=REASON))


def test_a_bundle_about_a_person_holds_the_records_about_them(world: EvidenceWorld) -> None:
    manifest = manifest_of(world.bundle("index >= 0", subject=(SCHEME, RESIDENT)))
    records = all_records(world.exchanges)
    token = records[manifest.case[0]].subject_token
    assert token and all(records[at].subject_token == token for at in manifest.case)
    assert {"GrantConsent", "WithdrawConsent"} <= {records[at].action for at in manifest.case}


def test_what_no_bundle_can_hold_is_refused_with_what_would_pass(
    world: EvidenceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidArgument, match="no record fits"):
        world.bundle("purpose = nothing")
    monkeypatch.setattr(case, "MAX_RANGE", 2)
    with pytest.raises(InvalidArgument, match="Narrow"):
        world.bundle()
    monkeypatch.undo()
    monkeypatch.setattr(case, "MAX_RANGE_BYTES", 100)
    with pytest.raises(InvalidArgument, match="MiB"):
        world.bundle()


def test_few_bundles_are_made_at_once() -> None:
    nothing: Any = None
    evidence = Evidence(nothing, nothing, nothing)
    assert all(evidence._places.acquire(blocking=False) for _ in range(2))
    with pytest.raises(ResourceExhausted):
        next(evidence.export(nothing, nothing, nothing, received=nothing))
    evidence._places.release()
    assert evidence._places.acquire(blocking=False)


def test_the_command_writes_a_bundle_that_verifies_in_an_empty_folder_without_a_server(
    world: EvidenceWorld, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out, stem = empty / "case.zip", world.folder / "pki" / file_stem(AUDITOR)
    world.client()
    options = ["--audit-address", f"127.0.0.1:{world.server.port}", "--ca", str(world.ca)]
    options += ["--cert", f"{stem}.pem", "--key", f"{stem}.key", "audit", "bundle"]
    arguments = [*options, "kind = DECISION", "--reason", REASON, "--out", str(out)]
    result = CliRunner().invoke(app, arguments, env={"ISTHMUS_CONFIG": str(tmp_path / "none.toml")})
    assert result.exit_code == 0, result.stderr
    done = verify_alone(empty, "case.zip", "--vkey", str(world.vkey), "--ca", str(world.ca))
    assert done.returncode == 0, done.stderr
    assert "statements     3" in done.stdout and done.stderr == ""
    assert os.listdir(empty) == ["case.zip"]
    assert "cannot vouch for itself" in verify_alone(empty, "case.zip").stderr
    told = json.loads(verify_alone(empty, "case.zip", "--json").stdout)
    assert (told["case"], told["own_anchors"]) == (3, ["trust/log.vkey", "trust/ca.pem"])
    out.write_bytes(out.read_bytes().replace(b"checkpoints/newest", b"checkpoints/newes7"))
    broken = verify_alone(empty, "case.zip", "--json")
    assert broken.returncode == 1 and json.loads(broken.stdout)["kind"] == "BUNDLE"


def verify_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`isthmus audit verify` in a folder of its own: no configuration, no network, no writable home."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise OSError('the network was used')\n"
        "socket.socket.connect = refuse\n"
        "from isthmus.cli.main import main\n"
        "sys.argv = ['isthmus', 'audit', 'verify', *sys.argv[1:]]\n"
        "main()\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.fixture
def unzipped(bundle: Path, tmp_path: Path) -> Path:
    """The bundle, unpacked by the standard library's own reader."""
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def code_of(folder: Path, language: str) -> list[str]:
    """The programs that the README holds."""
    text = (folder / README).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_programs_of_the_readme_accept_the_bundle_and_refuse_a_forged_one(unzipped: Path) -> None:
    merkle, jose = code_of(unzipped, "python")
    for program, found in ((merkle, "is in the tree of"), (jose, "spiffe://")):
        done = run(unzipped, sys.executable, "-c", program)
        assert done.returncode == 0 and found in done.stdout, done.stderr
    leaf = next(iter(sorted((unzipped / "records").glob("*.json"), key=lambda path: int(path.stem))))
    example = re.search(r"records/(\d+)\.json", merkle)
    assert example is not None
    leaf = unzipped / "records" / f"{example[1]}.json"
    leaf.write_bytes(leaf.read_bytes().replace(b"ALLOW", b"DENIE"))
    assert run(unzipped, sys.executable, "-c", merkle).returncode != 0
    statement = next((unzipped / "statements").iterdir())
    statement.write_text(statement.read_text()[:-6] + "AAAAAA")
    assert run(unzipped, sys.executable, "-c", jose).returncode != 0


def test_gos_checksum_database_code_accepts_the_record_of_the_readme(unzipped: Path, tmp_path: Path) -> None:
    sources = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog")
    if not sources.exists():
        pytest.skip("golang and golang-golang-x-mod-dev are not installed")
    (program,) = code_of(unzipped, "go")
    main = tmp_path / "main.go"
    main.write_text(program, encoding="utf-8")
    settings = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(tmp_path / "cache")}
    done = run(unzipped, "go", "run", str(main), **settings, GOFLAGS="", HOME=str(tmp_path))
    assert done.returncode == 0 and "is in the log that" in done.stdout, done.stdout + done.stderr


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_each_receipt_of_the_bundle_is_one_by_itself(world: EvidenceWorld, bundle: Path) -> None:
    files = unpack(bundle.read_bytes())
    proofs = [name for name in files if name.endswith(".tlog-proof")]
    assert len(proofs) >= 8
    for name in proofs:
        leaf = files[name.replace(".tlog-proof", ".json")]
        verify_proof(files[name], leaf, world.key)
        AccessRecord.parse(leaf)
