"""The audit service asks witnesses for cosignatures, and shows them to whoever asks for checkpoints and proofs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from audit.config import AuditConfig, TimestampSettings, WitnessEntry, WitnessingSettings
from audit.http import HttpPost
from audit.http_server import HttpServer
from audit.ledger.schema import cosignatures
from audit.main import AuditServer, StartError
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.proof import verify_proof
from audit.witness.app import WitnessApp
from audit.witness.client import WitnessClient
from audit.witness.metrics import WitnessMetrics
from audit.witness.protocol import MAX_REQUEST_BYTES
from audit.witness.rounds import CosigningRound
from audit.witness.store import Store
from audit.witness.witness import Witness
from isthmus.cli.main import app
from isthmus.config import ConfigError, load
from tests.integration.audit_world import AUDITOR, SYSTEM, AuditWorld
from tests.integration.test_audit_cli import run
from tests.integration.timestamp_authority import TimestampAuthority
from tests.unit.audit.ledger_world import KEY, Clock, append, decision, ledger_in
from tests.unit.audit.witness_world import utc_now

pytestmark = pytest.mark.integration

NAMES = ("office", "court")
SIGNERS = {name: CosignerSigner.from_seed(f"{name}.example/审计", name.encode().ljust(32)) for name in NAMES}
KEYS = [each.verifier for each in SIGNERS.values()]


def start_witness(folder: Path, name: str) -> HttpServer:
    """A witness of this name that follows the log of the tests."""
    signer, path = SIGNERS[name], folder / f"{name}.db"
    key = signer.verifier.encode()
    store = Store(path, key) if path.exists() else Store.create(path, key)
    witness = Witness([KEY.verifier], signer, store=store, clock=utc_now)
    serving = WitnessApp(witness, WitnessMetrics(CollectorRegistry(), ()))
    return HttpServer("127.0.0.1:0", serving, name="witness", max_body_bytes=MAX_REQUEST_BYTES)


class WitnessedWorld(AuditWorld):
    """An audit service that asks two witnesses, of which two must cosign."""

    def __init__(self, folder: Path, ports: dict[str, int], **changes: Any) -> None:
        self._ports, self._changes = ports, changes
        super().__init__(folder)

    def config(self) -> AuditConfig:
        """What audit.toml would say."""
        entries = tuple(
            WitnessEntry(name=name, vkey=SIGNERS[name].verifier.encode(), url=f"http://127.0.0.1:{port}")
            for name, port in self._ports.items()
        )
        pace = WitnessingSettings(required=2, interval_s=0.05, timeout_s=5)
        return replace(super().config(), witnesses=entries, witnessing=pace, **self._changes)

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric of the audit service."""
        return self.registry.get_sample_value(name, labels)


def until(true: Callable[[], object]) -> None:
    """Waits for it."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def world_with(stack: ExitStack, folder: Path, **changes: Any) -> WitnessedWorld:
    """The service and its witnesses, taken down at the end."""
    ports = {}
    for name in NAMES:
        server = start_witness(folder, name)
        stack.callback(server.close)
        ports[name] = server.port
    world = WitnessedWorld(folder, ports, **changes)
    stack.callback(world.close)
    return world


def test_checkpoints_and_proofs_show_who_cosigned_them(tmp_path: Path, stack: ExitStack) -> None:
    world = world_with(stack, tmp_path)
    record = decision()
    append(world.server.ledger, record, decision(), decision())
    audit = world.audit(AUDITOR)

    def cosigned() -> bool:
        found = audit.checkpoint()
        return bool(found.cosigned_checkpoint) and found.checkpoint == found.cosigned_checkpoint

    until(cosigned)
    signed = open_checkpoint(audit.checkpoint().checkpoint.encode(), KEY.verifier, witnesses=KEYS)
    assert signed.checkpoint.size == 3 and all(signed.note.signed_by(each) for each in KEYS)
    proof = audit.proof(record.exchange)
    verified = verify_proof(
        proof.proof.encode(), audit.record(record.exchange).leaf, KEY.verifier, witnesses=KEYS
    )
    assert all(verified.note.signed_by(each) for each in KEYS)
    # A consumer that knows no witness goes on as before.
    verify_proof(proof.proof.encode(), audit.record(record.exchange).leaf, KEY.verifier)
    assert world.audit(SYSTEM).checkpoint().cosigned_checkpoint


def test_a_record_that_no_witness_covers_yet_is_proven_all_the_same(tmp_path: Path, stack: ExitStack) -> None:
    world = world_with(stack, tmp_path)
    append(world.server.ledger, decision())
    audit = world.audit(AUDITOR)
    until(lambda: audit.checkpoint().cosigned_checkpoint)
    world.server._vouching.stop()
    record = decision()
    append(world.server.ledger, record)
    proof = audit.proof(record.exchange)
    signed = verify_proof(
        proof.proof.encode(), audit.record(record.exchange).leaf, KEY.verifier, witnesses=KEYS
    )
    assert signed.checkpoint.size == 2 and not signed.note.signed_by(KEYS[0])
    found = audit.checkpoint()
    assert "\n2\n" in found.checkpoint and "\n1\n" in found.cosigned_checkpoint
    printed = run(world, AUDITOR, "checkpoint", "--cosigned")
    assert printed.stdout == found.cosigned_checkpoint
    listed = CliRunner().invoke(app, ["audit", "cosignatures", str(tmp_path / "ledger.db"), "--json"])
    rows = json.loads(listed.stdout)["cosignatures"]
    assert [(row["witness"], row["size"]) for row in rows] == [("court", 1), ("office", 1)]


def test_a_log_that_nobody_cosigned_has_no_cosigned_checkpoint(tmp_path: Path, stack: ExitStack) -> None:
    world = AuditWorld(tmp_path)
    stack.callback(world.close)
    append(world.ledger, decision())
    refused = run(world, AUDITOR, "checkpoint", "--cosigned")
    assert refused.exit_code == 1 and "no witness has cosigned" in refused.stderr
    assert run(world, AUDITOR, "checkpoint").exit_code == 0


def test_a_witness_that_is_away_is_seen_and_keeps_nobody_else_waiting(
    tmp_path: Path, stack: ExitStack
) -> None:
    office = start_witness(tmp_path, "office")
    stack.callback(office.close)
    world = WitnessedWorld(tmp_path, {"office": office.port, "court": 1})
    stack.callback(world.close)
    append(world.server.ledger, decision())
    until(lambda: world.sample("isthmus_witness_cosigned_size", witness="office") == 1)
    until(lambda: world.sample("isthmus_witness_failures_total", witness="court", trouble="unreachable"))
    assert world.sample("isthmus_witness_cosigned_age_seconds", witness="court") is None
    age = world.sample("isthmus_witness_cosigned_age_seconds", witness="office")
    assert age is not None and 0 <= age < 20
    waited = world.sample("isthmus_uncovered_seconds", by="witnesses")
    assert waited is not None and waited > 0


def test_an_idle_log_is_shown_again(tmp_path: Path, stack: ExitStack) -> None:
    world = world_with(stack, tmp_path)
    append(world.server.ledger, decision())

    def lines() -> set[str]:
        with world.server.ledger.read() as connection:
            return set(connection.scalars(sa.select(cosignatures.c.line)))

    until(lambda: len(lines()) == 2)
    before = lines()
    until(lambda: lines().isdisjoint(before))
    assert len(lines()) == 2
    assert world.sample("isthmus_uncovered_seconds", by="witnesses") == 0


def test_a_witness_that_knows_more_than_our_own_table_is_believed(tmp_path: Path, stack: ExitStack) -> None:
    server = start_witness(tmp_path, "office")
    stack.callback(server.close)
    post = HttpPost(5.0)
    client = WitnessClient("office", KEYS[0], f"http://127.0.0.1:{server.port}", post, utc_now)

    class Watcher:
        def not_cosigned(self, witness: str, trouble: object) -> None:
            raise AssertionError(trouble)

    with ledger_in(tmp_path) as ledger:
        rounds = CosigningRound(ledger, [client], watcher=Watcher(), clock=Clock())
        assert rounds.run() == 0, "an empty log is shown to nobody"
        append(ledger, decision(), decision())
        assert rounds.run() == 1
        ledger.transact(lambda tx: tx.connection.execute(cosignatures.delete()))
        append(ledger, decision())
        assert rounds.run() == 1
        with ledger.read() as connection:
            assert connection.scalars(sa.select(cosignatures.c.size)).all() == [3]


def test_the_service_has_its_checkpoints_timestamped(tmp_path: Path, stack: ExitStack) -> None:
    authority = TimestampAuthority(tmp_path / "tsa")
    url = stack.enter_context(authority.serving())
    settings = TimestampSettings(authority="tsa", url=url, roots=authority.roots, interval_s=0.05)
    world = world_with(stack, tmp_path, timestamps=settings)
    append(world.server.ledger, decision())
    until(lambda: world.sample("isthmus_timestamp_age_seconds") is not None)
    assert world.sample("isthmus_uncovered_seconds", by="timestamps") == 0
    assert world.sample("isthmus_timestamp_failures_total", failure="invalid") == 0


def test_a_service_without_the_certificates_of_its_authority_does_not_start(
    tmp_path: Path, stack: ExitStack
) -> None:
    world = world_with(stack, tmp_path)
    settings = TimestampSettings(authority="tsa", url="http://127.0.0.1:1", roots=tmp_path / "none.pem")
    with pytest.raises(StartError, match="none.pem"):
        AuditServer(replace(world.config(), timestamps=settings), clock=utc_now, registry=CollectorRegistry())


_OFFICE = SIGNERS["office"].verifier.encode()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'[[witnesses]]\nname = "Office"\nvkey = "{_OFFICE}"\nurl = "http://x"', "lower-case"),
        (f'[[witnesses]]\nname = "office"\nvkey = "{KEY.verifier.encode()}"\nurl = "http://x"', "0x04"),
        (f'[[witnesses]]\nname = "office"\nvkey = "{_OFFICE}"\nurl = "x"', "http://"),
        (
            f'[witnessing]\nrequired = 2\n[[witnesses]]\nname = "office"\nvkey = "{_OFFICE}"\nurl = "http://x"',
            "there are 1",
        ),
        (
            "".join(
                f'[[witnesses]]\nname = "{name}"\nvkey = "{_OFFICE}"\nurl = "http://x"\n'
                for name in ("one", "two")
            ),
            "a key of its own",
        ),
        ("[witnessing]\nrequired = 0", "at least 1"),
        ("[witnessing]\ninterval_s = 0", "interval_s"),
        ('[timestamps]\nauthority = "tsa"\nurl = "ftp://x"\nroots = "x"', "http://"),
    ],
)
def test_a_configuration_that_could_not_work_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    head = (
        '[server]\naddress = "x:1"\ntrust_domain = "data.example"\ncertificate = "a"\nkey = "b"\nca = "c"\n'
        '[ledger]\nurl = "sqlite:///x"\nlog_key = "k"\n[subjects]\ncurrent = 1\nkeys = { 1 = "s" }\n'
    )
    (tmp_path / "audit.toml").write_text(head + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem):
        load(tmp_path / "audit.toml", AuditConfig)
