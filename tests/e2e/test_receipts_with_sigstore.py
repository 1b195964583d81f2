"""The receipts of the audit service, checked by the code with which Sigstore checks those of its own log."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.keys import VerifierKey
from tests.e2e.log_for_peers import PublishedLog, Receipt, flip, publish
from tests.e2e.node_packages import install
from tests.unit.audit.ledger_world import KEY, OTHER_KEY
from tests.unit.audit.rfc6962_vectors import INCLUSION, LEAVES, ROOTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the program for its opinion on receipts, under a log's key."""
    packages = install(Path(__file__).parent / "node-sigstore", "verify.js", tmp_path_factory)

    def ask(*receipts: Receipt, key: VerifierKey = KEY.verifier) -> list[dict[str, Any]]:
        public = Ed25519PublicKey.from_public_bytes(key.public_key)
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        document = {
            "origin": key.name,
            "keyId": key.key_id.hex(),
            "publicKey": base64.b64encode(spki).decode(),
            "checks": [_check(each) for each in receipts],
        }
        done = subprocess.run(
            ["node", "verify.js"],
            cwd=packages,
            input=json.dumps(document),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results: list[dict[str, Any]] = json.loads(done.stdout)
        return results

    return ask


def _check(found: Receipt) -> dict[str, Any]:
    _, index, *hashes = found.head
    entry = base64.b64encode(found.entry).decode()
    return {"index": index.split()[1], "hashes": hashes, "entry": entry, "checkpoint": found.checkpoint}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PublishedLog:
    return publish(tmp_path_factory.mktemp("log"))


def _published(index: int, size: int, proof: list[str]) -> Receipt:
    """A published vector as the receipt of a log that has those leaves."""
    note = sign_checkpoint(Checkpoint(KEY.verifier.name, size, ROOTS[size - 1]), KEY).decode()
    hashes = [base64.b64encode(bytes.fromhex(each)).decode() for each in proof]
    head = "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *hashes])
    return Receipt(f"{head}\n\n{note}", LEAVES[index])


def test_sigstore_agrees_with_the_published_vectors(sigstore: Ask) -> None:
    results = sigstore(*(_published(*vector) for vector in INCLUSION))
    assert [result.get("size") for result in results] == [size for _, size, _ in INCLUSION]


def test_sigstore_verifies_the_receipts_of_the_service(sigstore: Ask, log: PublishedLog) -> None:
    for result in sigstore(*log.receipts):
        assert result["size"] >= 1010


def test_sigstore_refuses_receipts_that_were_tampered_with(sigstore: Ask, log: PublishedLog) -> None:
    for found in log.receipts:
        tampered = [
            found.changed(1, f"index {int(found.head[1].split()[1]) + 1}"),
            found.changed(1, "index 999999"),
            found.changed(2, flip(found.head[2])),
            found.changed(len(found.head) - 1, flip(found.head[-1])),
            Receipt(found.text, found.entry + b" "),
            Receipt("\n".join(found.head[:-1]) + "\n\n" + found.checkpoint, found.entry),
            Receipt("\n".join(found.head) + "\n\n" + log.note, found.entry),
            Receipt(
                found.text.replace(found.checkpoint.split("\n")[2], flip(found.checkpoint.split("\n")[2])),
                found.entry,
            ),
        ]
        results = sigstore(*tampered)
        assert ["refused" in result for result in results] == [True] * len(tampered)
        assert "invalid checkpoint signature" in sigstore(found, key=OTHER_KEY.verifier)[0]["refused"]
