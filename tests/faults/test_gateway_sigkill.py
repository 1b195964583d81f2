"""The gateway is killed twenty times under load: every answer that anybody received has its record, and the log holds."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from audit.ledger import Ledger
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.merkle import hash_leaf, root_of
from gateway.load import open_ledger
from isthmus.pki import pinned_to
from isthmus.v1.common_pb2 import DECISION_ALLOW
from isthmus.v1.exchange_service_pb2 import BatchQueryResponse, QueryResponse
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.batch_calls import ANYONE, resident
from tests.integration.batch_calls import request as batch_request
from tests.integration.exchange_parties import GATEWAY, NODE, RESIDENT, SYSTEM, now, query
from tests.integration.exchange_world import World, world_in

pytestmark = [pytest.mark.fault, pytest.mark.e2e, pytest.mark.timeout(400)]

KILLS, CALLERS, ANSWERS_BETWEEN = 20, 4, 15
BATCH = batch_request([RESIDENT, *map(resident, range(20))], contract="contracts/many", case="办件-1")
COMMAND = "from isthmus.cli.main import main; main()"


def write_config(world: World, port: int) -> Path:
    assert world.node is not None
    path = world.folder / "gateway.toml"
    path.write_text(
        f"""
        [server]
        address = "127.0.0.1:{port}"
        trust_domain = "data.example"
        certificate = "pki/gateway.main.pem"
        key = "pki/gateway.main.key"
        ca = "pki/ca.pem"
        threads = 32
        [ledger]
        url = "sqlite:///ledger.db"
        log_key = "secrets/log.key"
        pin = "pin"
        [subjects]
        keys = {{ 1 = "secrets/subject-1.key" }}
        [metrics]
        port = 0
        [departments.civil-registry]
        address = "127.0.0.1:{world.node.port}"
        node = "{NODE.name}"
        """,
        encoding="utf-8",
    )
    return path


@contextmanager
def gateway_process(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    log = (config.parent / "gateway.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "gateway", "--config", str(config)],
        stderr=log,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        until_listening(port, process, log=config.parent / "gateway.log")
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def until_listening(port: int, process: subprocess.Popen[bytes], *, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the gateway did not listen")


class Callers:
    """Ask as fast as they can, whatever happens to the gateway, and keep every answer."""

    def __init__(self, world: World, port: int) -> None:
        self.answers: list[QueryResponse] = []
        self.batches: list[list[BatchQueryResponse]] = []
        self.stop = threading.Event()
        options = (*pinned_to(GATEWAY), ("grpc.max_reconnect_backoff_ms", 200))
        credentials = world.credentials(SYSTEM).channel_credentials()
        self._channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        self._query = ExchangeServiceStub(self._channel).Query
        self._batch = ExchangeServiceStub(self._channel).BatchQuery

    def ask(self) -> None:
        while not self.stop.is_set():
            try:
                self.answers.append(self._query(query(), timeout=5))
            except grpc.RpcError:
                self.stop.wait(0.05)

    def ask_for_many(self) -> None:
        """As `ask`, about several people at once; what was told before the gateway died counts too."""
        while not self.stop.is_set():
            told: list[BatchQueryResponse] = []
            try:
                told.extend(self._batch(BATCH, timeout=5))  # what came before an error stays
            except grpc.RpcError:
                self.stop.wait(0.05)
            if told:
                self.batches.append(told)

    def until(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.answers) < count:
            assert time.monotonic() < deadline, "no answers any more"
            time.sleep(0.01)


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections, which might take it while the gateway is dead."""
    for port in random.Random(os.getpid()).sample(range(15_000, 30_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port is free")


def test_every_answer_received_has_its_record_however_often_the_gateway_is_killed(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.consent(world.agree())
        world.agree("many", **ANYONE)
        world.stop_gateway()
        port = free_port()
        config = write_config(world, port)
        callers = Callers(world, port)
        with ThreadPoolExecutor(CALLERS + 1) as pool:
            asking = [pool.submit(callers.ask) for _ in range(CALLERS)]
            asking.append(pool.submit(callers.ask_for_many))
            try:
                for _ in range(KILLS):
                    with gateway_process(config, port) as process:
                        callers.until(len(callers.answers) + ANSWERS_BETWEEN)
                        process.send_signal(signal.SIGKILL)
                        process.wait()
            finally:
                callers.stop.set()
            for each in asking:
                each.result(timeout=30)
        ledger = open_ledger(world.config, clock=now)
        try:
            check(ledger, callers.answers)
            check_batches(ledger, callers.batches)
        finally:
            ledger.close()
    assert len(callers.answers) >= KILLS * ANSWERS_BETWEEN
    assert callers.batches


def check(ledger: Ledger, answers: list[QueryResponse]) -> None:
    with ledger.read() as connection:
        leaves = list(connection.execute(sa.select(records.c.leaf).order_by(records.c.idx)).scalars())
    hashes = [hash_leaf(leaf) for leaf in leaves]
    newest = open_checkpoint(ledger.newest().note, ledger.verifier_key).checkpoint
    assert (newest.size, newest.root) == (len(leaves), root_of(b"".join(hashes)))
    decided = [
        record.exchange
        for record in (AccessRecord.parse(leaf) for leaf in leaves)
        if record.kind is Kind.DECISION
    ]
    assert len(decided) == len(set(decided)), "exactly one record an exchange"
    for answer in answers:
        leaf = leaves[answer.receipt.record_index]
        assert hashes[answer.receipt.record_index] == answer.receipt.leaf_hash
        record = AccessRecord.parse(leaf)
        assert (record.exchange, record.decision) == (answer.exchange, "ALLOW")
        held = open_checkpoint(answer.receipt.checkpoint.encode(), ledger.verifier_key).checkpoint
        assert answer.receipt.record_index < held.size <= len(leaves)
        assert held.root == root_of(b"".join(hashes[: held.size]))


def check_batches(ledger: Ledger, batches: list[list[BatchQueryResponse]]) -> None:
    """The record of a batch was durable before the first word of it, and counts whom it answered."""
    with ledger.read() as connection:
        found = connection.execute(sa.select(records.c.leaf).where(records.c.mode == "BATCH")).scalars()
        kept = {record.exchange: record for record in map(AccessRecord.parse, found)}
    for told in batches:
        record = kept[told[0].exchange]
        allowed = sum(each.decision == DECISION_ALLOW for part in told for each in part.outcomes)
        assert record.decision == "ALLOW"
        assert record.subject_count == len(BATCH.subjects)
        assert allowed <= record.outcomes["ALLOW"]
