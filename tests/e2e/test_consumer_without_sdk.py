"""A consumer that knows nothing but the proto files: Google's gRPC for Node.js against a whole running network."""

import base64
import json
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from audit.keys import load_verifier_key
from audit.tlog.checkpoint import open_checkpoint
from isthmus.demo.run import Running, running
from isthmus.demo.sources import load
from isthmus.identity import server_name
from tests.e2e.node_packages import install

pytestmark = pytest.mark.e2e

_HERE = Path(__file__).parent / "node"
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consumer and its locked packages, installed outside the repository."""
    return install(_HERE, "query.js", tmp_path_factory)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("network")
    scenario = load(None, folder / "data", seed=3, today=date(2026, 11, 23))
    with running(scenario, folder, report=lambda _: None) as whole:
        yield whole


def ask(world: Running, packages: Path, **changes: Any) -> tuple[int, dict[str, Any]]:
    """One Query by the main contract's system; `changes` replace members of its context."""
    cast = world.scenario.cast
    main = cast.main
    certificate, key, ca = world.stage.parties.files(f"/department/{main.consumer}/system/{main.systems[0]}")
    context = {"contract": f"contracts/{main.id}", "purpose": main.purposes[0], "case_reference": "办件-1"}
    options = {
        "protos": str(_ROOT / "proto"),
        "address": world.stage.gateway,
        "server_name": server_name(world.stage.parties.identity("/gateway/main")),
        "certificate": str(certificate),
        "key": str(key),
        "ca": str(ca),
        "request": {
            "context": {**context, **changes},
            "subject": {"scheme": cast.subject.scheme, "id": cast.subject.id},
            "fields": list(main.fields),
        },
    }
    done = subprocess.run(
        ["node", "query.js"],
        cwd=packages,
        input=json.dumps(options),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(240)
def test_node_reads_rows_and_a_receipt_whose_checkpoint_verifies(world: Running, packages: Path) -> None:
    code, answer = ask(world, packages)
    assert code == 0, answer
    assert answer["known"] is True
    assert set(answer["records"][0]) == set(world.scenario.cast.main.fields)
    log_key = load_verifier_key(world.stage.shared.verifier)
    signed = open_checkpoint(answer["checkpoint"].encode(), log_key).checkpoint
    assert signed.size > int(answer["index"])


@pytest.mark.timeout(240)
def test_node_is_told_every_rule_that_refused_it(world: Running, packages: Path) -> None:
    code, refusal = ask(world, packages, purpose="好奇")
    assert (code, refusal["code"]) == (1, 7)
    assert "purpose" in refusal["message"]
    info = b"".join(base64.b64decode(each) for each in refusal["details"])
    assert b"PURPOSE_NOT_ALLOWED" in info
    assert b"exchanges/" in info
