"""A log that is forked, rolled back or withheld is caught by a witness, and by a consumer who kept an old receipt.

The witness and the consumer's command are processes of their own; the operator who rewrites history has the log's key.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from audit.config import AuditConfig, WitnessEntry, WitnessingSettings
from audit.ledger import Ledger, LedgerForked, LedgerRolledBack
from audit.main import AuditServer
from audit.tlog.checkpoint import open_checkpoint
from tests.faults.witness_process import ROOT, WitnessHere
from tests.integration.audit_world import SYSTEM, AuditWorld
from tests.integration.test_ledger_pin import copy_database, restore
from tests.integration.test_witnessing import until
from tests.unit.audit.ledger_world import KEY, Clock, append, decision, ledger_in
from tests.unit.audit.witness_world import SIGNER, utc_now

pytestmark = pytest.mark.fault


class SplitWorld(AuditWorld):
    """An audit service with one witness, whose operator can put another ledger in its place."""

    def __init__(self, folder: Path, url: str) -> None:
        self._url = url
        super().__init__(folder)

    def config(self) -> AuditConfig:
        """What audit.toml would say."""
        entry = WitnessEntry(name="office", vkey=SIGNER.verifier.encode(), url=self._url)
        pace = WitnessingSettings(interval_s=0.05, timeout_s=5)
        return replace(super().config(), witnesses=(entry,), witnessing=pace)

    def stop(self) -> None:
        """Ends the service and everything that has the ledger open."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self.server.stop(0)
        self.ledger.close()

    def start(self) -> None:
        """Begins again with whatever ledger is there."""
        self.registry = CollectorRegistry()
        self.server = AuditServer(self.config(), clock=utc_now, registry=self.registry)
        self.ledger = Ledger.open(self.url, log_key=KEY, pin=None, clock=Clock())
        self.server.start()

    def rewrite(self, records: int) -> None:
        """The operator goes on from the backup with other records, and moves the pin that would tell."""
        self.stop()
        with ledger_in(self.folder / "backup", pin=None) as forked:
            for _ in range(records):
                append(forked, decision())
            note = forked.newest().note
        restore(self.folder / "backup", self.folder)
        (self.folder / "audit.pin").write_bytes(note)

    def troubled(self, trouble: str) -> bool:
        """Whether the witness has raised this alarm."""
        labels = {"witness": "office", "trouble": trouble}
        return bool(self.registry.get_sample_value("isthmus_witness_failures_total", labels))

    def cosigned(self, size: int) -> bool:
        """Whether the witness vouches for so many records."""
        found = self.registry.get_sample_value("isthmus_witness_cosigned_size", {"witness": "office"})
        return found == size

    def consistent(self, kept: Path, *more: str) -> subprocess.CompletedProcess[str]:
        """`isthmus audit consistent`, as a consumer's system types it."""
        certificate, key = self.files(SYSTEM)
        command = [sys.executable, "-m", "isthmus", "--audit-address", f"127.0.0.1:{self.server.port}"]
        command += [
            "--ca",
            str(self.folder / "pki" / "ca.pem"),
            "--cert",
            str(certificate),
            "--key",
            str(key),
        ]
        command += ["audit", "consistent", str(kept), "--vkey", str(self.folder / "log.pub"), *more]
        environment = {
            **os.environ,
            "ISTHMUS_CONFIG": str(self.folder / "none.toml"),
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessHere]:
    here = WitnessHere(tmp_path / "witness", SIGNER, KEY.verifier.encode())
    assert here.command("init").returncode == 0
    yield here
    here.end()


@pytest.fixture
def vkey(tmp_path: Path) -> Path:
    """The witness's public key, as the consumer has it from the witness."""
    path = tmp_path / "witness.pub"
    path.write_text(SIGNER.verifier.encode(), encoding="utf-8")
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the consumer keeps what it was given."""
    return tmp_path / "kept"


@pytest.fixture
def world(tmp_path: Path, witness: WitnessHere, kept: Path) -> Iterator[SplitWorld]:
    """Three records that the witness has seen, a receipt that a consumer kept of the second, a backup of the first."""
    folder = tmp_path / "log"
    folder.mkdir()
    world = SplitWorld(folder, witness.start()[1])
    append(world.ledger, decision())
    copy_database(folder, folder / "backup")
    record = decision()
    append(world.ledger, record, decision())
    until(lambda: world.cosigned(3))
    # What `isthmus query --json` prints.
    receipt = {"record_index": "1", "checkpoint": world.ledger.newest().note.decode()}
    kept.write_text(json.dumps({"exchange": record.exchange, "receipt": receipt}), encoding="utf-8")
    told = world.consistent(kept, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"consistent": True, "log": KEY.verifier.name, "kept": 3, "now": 3}
    yield world
    world.stop()


@pytest.mark.parametrize("records", [2, 6])
def test_a_forked_log_is_caught_by_both(
    world: SplitWorld, witness: WitnessHere, kept: Path, records: int
) -> None:
    world.rewrite(records)
    world.start()
    until(lambda: world.troubled("forked"))
    told = world.consistent(kept)
    assert told.returncode == 1 and "contradicted" in told.stderr and "rewritten" in told.stderr
    # The two checkpoints together prove it to anybody.
    assert open_checkpoint(told.stdout.encode(), KEY.verifier).checkpoint.size == 1 + records
    if records == 2:
        listed = witness.command("splits", "--json")
        assert json.loads(listed.stdout)["splits"] == [{"log": KEY.verifier.name, "size": 3}]


def test_a_rolled_back_or_withheld_log_is_caught_by_both(world: SplitWorld, kept: Path) -> None:
    world.rewrite(0)
    world.start()
    until(lambda: world.troubled("rolled_back"))
    told = world.consistent(kept)
    assert told.returncode == 1
    assert "shows 1 records, and signed 3 before" in told.stderr and "withheld" in told.stderr


def test_a_log_shown_in_two_versions_fails_those_who_ask_for_witnesses(
    world: SplitWorld, kept: Path, vkey: Path
) -> None:
    # The consumer came late and knows only the fork: nothing it kept contradicts it, but the witness does not vouch.
    world.rewrite(6)
    world.start()
    until(lambda: world.troubled("forked"))
    kept.write_bytes(world.ledger.newest().note)
    assert world.consistent(kept).returncode == 0
    told = world.consistent(kept, "--witness", str(vkey))
    assert told.returncode == 1 and "no witness has cosigned" in told.stderr


def test_a_receipt_beyond_what_the_witness_saw_does_not_pass_as_witnessed(
    world: SplitWorld, witness: WitnessHere, kept: Path, vkey: Path, tmp_path: Path
) -> None:
    # The operator keeps the witness away and shows this consumer records that nobody else is shown.
    witness.end()
    append(world.ledger, decision(), decision())
    kept.write_bytes(world.ledger.newest().note)
    assert world.consistent(kept).returncode == 0
    newer = tmp_path / "newer"
    newer.write_text("mine")
    told = world.consistent(kept, "--witness", str(vkey), "--out", str(newer))
    assert told.returncode == 1 and "3 records, and what you kept reaches 5" in told.stderr
    assert newer.read_text() == "mine"


def test_an_honest_log_that_went_on_satisfies_both(
    world: SplitWorld, tmp_path: Path, kept: Path, vkey: Path
) -> None:
    append(world.ledger, *(decision() for _ in range(300)))
    until(lambda: world.cosigned(303))
    newer = tmp_path / "newer"
    told = world.consistent(kept, "--witness", str(vkey), "--out", str(newer))
    assert told.returncode == 0, told.stderr
    assert "303" in told.stdout and f"+00:00 {SIGNER.verifier.name}" in told.stdout
    assert world.consistent(newer).returncode == 0
    assert not world.troubled("forked") and not world.troubled("rolled_back")


def test_with_its_pin_in_place_the_service_does_not_even_start(world: SplitWorld) -> None:
    pin = (world.folder / "audit.pin").read_bytes()
    for records, refusal in ((0, LedgerRolledBack), (6, LedgerForked)):
        shutil.copytree(world.folder / "backup", world.folder / "again")
        world.rewrite(records)
        moved = (world.folder / "audit.pin").read_bytes()
        (world.folder / "audit.pin").write_bytes(pin)
        with pytest.raises(refusal, match="pinned"):
            world.start()
        (world.folder / "audit.pin").write_bytes(moved)
        world.start()
        shutil.rmtree(world.folder / "backup")
        (world.folder / "again").rename(world.folder / "backup")
