"""`isthmus contract dry-run`, and the sources of data elements, as typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.identity import Identity
from isthmus.pki import file_stem
from isthmus.terms import rfc3339, terms_to_document
from isthmus.v1.catalog_service_pb2 import PublishDatasetRequest
from isthmus.v1.catalog_service_pb2_grpc import CatalogServiceStub
from tests.integration.exchange_parties import CONTRACT, PERSON, PROVIDER, SYSTEM, now, terms
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def typed(world: World, identity: Identity, *arguments: str) -> Result:
    """What `identity` types after `isthmus`."""
    world.credentials(identity)
    pki, stem = world.folder / "pki", file_stem(identity)
    options = ["--address", f"127.0.0.1:{world.gateway.port}", "--cert", str(pki / f"{stem}.pem")]
    options += ["--key", str(pki / f"{stem}.key"), "--ca", str(pki / "ca.pem"), "--deadline", "30"]
    environ = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    return CliRunner().invoke(app, [*options, *arguments], env=environ)


def done(world: World, identity: Identity, *arguments: str) -> Any:
    result = typed(world, identity, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def written(folder: Path, **changes: Any) -> str:
    path = folder / "other.json"
    document = {**terms_to_document(terms()), **changes}
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return str(path)


def test_an_officer_reads_how_many_exchanges_other_terms_would_deny(world: World, tmp_path: Path) -> None:
    world.consent(world.agree())
    world.query()
    exchange = world.query().exchange
    narrower = written(tmp_path, modes=["VERIFY"])
    result = typed(world, PROVIDER, "contract", "dry-run", CONTRACT, narrower, "--ignore-period")
    assert result.exit_code == 0, result.stderr
    assert "2 recorded exchanges tried" in result.stdout
    assert "These 2 exchanges would now be denied: MODE_NOT_ALLOWED." in result.stdout
    assert f"MODE_NOT_ALLOWED\t{exchange}" in result.stdout

    later = written(tmp_path, not_before=rfc3339(now() + timedelta(days=1)))
    (change,) = done(world, PROVIDER, "contract", "dry-run", CONTRACT, later)["changes"]
    assert (change["tried"], change["reasons"], change["count"]) == ("DENY", "CONTRACT_NOT_YET_VALID", "2")
    assert done(world, PROVIDER, "contract", "dry-run", CONTRACT, later, "--ignore-period")["changed"] == "0"
    since = ("--since", rfc3339(now() + timedelta(days=1)))
    assert done(world, PROVIDER, "contract", "dry-run", CONTRACT, later, *since)["tried"] == "0"


def test_a_system_may_not_try_terms(world: World, tmp_path: Path) -> None:
    world.agree()
    result = typed(world, SYSTEM, "contract", "dry-run", CONTRACT, written(tmp_path))
    assert result.exit_code != 0 and "ROLE_NOT_ALLOWED" in result.stderr


def test_anybody_finds_the_source_of_a_data_element(world: World) -> None:
    entry = world.manifest.datasets_proto()[0]
    entry.fields[0].element, entry.fields[0].source = "DE00001", True
    world.call(CatalogServiceStub, PROVIDER, "PublishDataset", PublishDatasetRequest(dataset=entry))
    entry.name = f"{PERSON}-archive"
    entry.fields[0].second_source_reason = "历史档案 [bold]"
    world.call(CatalogServiceStub, PROVIDER, "PublishDataset", PublishDatasetRequest(dataset=entry))

    first, second = done(world, SYSTEM, "catalog", "sources", "DE00001")["sources"]
    assert (first["dataset"], first["second"]) == (PERSON, False)
    assert (second["dataset"], second["second_source_reason"]) == (f"{PERSON}-archive", "历史档案 [bold]")
    assert done(world, SYSTEM, "catalog", "sources", "DE00002")["sources"] == []
    lines = typed(world, SYSTEM, "catalog", "sources").stdout.splitlines()
    assert lines[0].split("\t") == ["element", "dataset", "field", "why a second source"]
    assert lines[2].split("\t")[-1] == "历史档案 [bold]"
    names = [
        each["name"] for each in done(world, SYSTEM, "catalog", "list", "--element", "DE00001")["datasets"]
    ]
    assert names == [PERSON, f"{PERSON}-archive"]
    assert done(world, SYSTEM, "catalog", "list", "--element", "x")["datasets"] == []
    assert "DE00001 (source)" in typed(world, SYSTEM, "catalog", "show", PERSON).stdout
