"""The configurations to start from are ones that the processes read."""

import re
from pathlib import Path

import pytest

from audit.config import AuditConfig
from audit.witness.config import WitnessConfig
from gateway.config import load_config
from isthmus.config import load
from services.manifest_file import load_manifest

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_gateway_reads_its_example() -> None:
    config = load_config(DEPLOY / "gateway.toml", environ={})
    assert "education" in config.departments


def test_the_audit_service_reads_its_example_and_shares_the_gateway_s_ledger() -> None:
    audit = load(DEPLOY / "audit.toml", AuditConfig, environ={})
    assert audit.ledger.url == load_config(DEPLOY / "gateway.toml", environ={}).ledger.url


def test_a_witness_reads_its_example() -> None:
    config = load(DEPLOY / "witness.toml", WitnessConfig, environ={})
    assert config.witness.keys()[0].name == "data.example/log"


@pytest.mark.parametrize("name", ["audit.toml", "gateway.toml"])
def test_what_the_examples_leave_out_can_be_put_in(tmp_path: Path, name: str) -> None:
    text = re.sub(r'(?m)^# (?=\[|\]|\w+ = |  ")', "", (DEPLOY / name).read_text(encoding="utf-8"))
    (tmp_path / name).write_text(text, encoding="utf-8")
    if name == "audit.toml":
        config = load(tmp_path / name, AuditConfig, environ={})
        assert len(config.witnesses) == config.witnessing.required and config.timestamps is not None
    else:
        assert load_config(tmp_path / name, environ={}).independence is not None


def test_a_department_reads_its_example() -> None:
    manifest = load_manifest(DEPLOY / "department.toml", environ={})
    assert [field.name for field in manifest.datasets_proto()[0].fields] == ["姓名", "grade"]
