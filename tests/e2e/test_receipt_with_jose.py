"""The receipts a person is given, checked by somebody who has a JOSE library and nothing of Isthmus."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339
from tests.e2e.node_packages import install
from tests.integration.consent_calls import withdraw
from tests.integration.control_world import GATEWAY, PORTAL, PURPOSE, World, world_in

pytestmark = pytest.mark.e2e

_HERE = Path(__file__).parent / "node-jose"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader and its locked packages, installed outside the repository."""
    return install(_HERE, "verify.js", tmp_path_factory)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.publish()
        yield world


def read(world: World, packages: Path, *receipts: str) -> list[dict[str, Any]]:
    """What the reader makes of the receipts."""
    authority = world.credentials(GATEWAY).ca_certificates[0]
    options = {
        "ca": authority.public_bytes(Encoding.PEM).decode(),
        "typ": "isthmus-control+jws",
        "receipts": receipts,
    }
    done = subprocess.run(
        ["node", "verify.js"],
        cwd=packages,
        input=json.dumps(options),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


@pytest.mark.timeout(180)
def test_jose_verifies_the_receipts_of_a_grant_and_of_its_withdrawal(world: World, packages: Path) -> None:
    contract = world.agree()
    granted = world.rpc(PORTAL, "GrantConsent", world.consent(contract, max_uses=3))
    withdrawn = withdraw(world, granted.consent.name)
    given, ended = read(world, packages, granted.receipt, withdrawn.receipt)
    for paper, consent in ((given, granted.consent), (ended, withdrawn.consent)):
        assert GATEWAY.uri in paper["signer"]
        payload = paper["payload"]
        assert (payload["consent"], payload["position"]) == (consent.name, consent.position)
        assert (payload["contract"], payload["terms_digest"]) == (contract.name, contract.terms_digest)
        assert (payload["purposes"], payload["fields"], payload["max_uses"]) == ([PURPOSE], ["姓名"], 3)
        assert payload["at"] == rfc3339(world.now)
    assert [each["payload"]["receipt"] for each in (given, ended)] == ["consent-active", "consent-withdrawn"]
    assert ended["payload"]["position"] > given["payload"]["position"]


@pytest.mark.timeout(180)
def test_jose_refuses_what_the_gateway_did_not_say(world: World, packages: Path, tmp_path: Path) -> None:
    receipt = world.rpc(PORTAL, "GrantConsent", world.consent(world.agree())).receipt
    head, body, signature = receipt.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    altered = (
        base64.urlsafe_b64encode(json.dumps({**said, "state": "WITHDRAWN"}).encode()).decode().rstrip("=")
    )
    (tmp_path / "other").mkdir()
    with world_in(tmp_path / "other") as elsewhere:
        stranger = sign(said, StatementKind.CONTROL, elsewhere.credentials(GATEWAY))
    other_kind = sign(said, StatementKind.RECEIPT, world.credentials(GATEWAY))
    refused = read(world, packages, f"{head}.{altered}.{signature}", stranger, other_kind)
    assert "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" in refused[0]["refused"]
    assert "not by the authority" in refused[1]["refused"]
    assert "typ is isthmus-receipt+jws" in refused[2]["refused"]
