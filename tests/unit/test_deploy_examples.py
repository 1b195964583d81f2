"""The configurations to start from are ones that the processes read."""

from pathlib import Path

from audit.config import AuditConfig
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


def test_a_department_reads_its_example() -> None:
    manifest = load_manifest(DEPLOY / "department.toml", environ={})
    assert [field.name for field in manifest.datasets_proto()[0].fields] == ["姓名", "grade"]
