"""A gateway of several processes beside the parties of the exchange tests, started as an operator starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
from prometheus_client.parser import text_string_to_metric_families

from gateway.load import open_ledger
from isthmus.pki import pinned_to
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.integration.exchange_parties import GATEWAY, NODE, REGISTRY, SYSTEM, now
from tests.integration.exchange_world import World

COMMAND = "from isthmus.cli.main import main; main()"
PATIENCE_S = 60.0


def write_config(world: World, *, workers: int, metrics: int = 0, port: int = 0, more: str = "") -> Path:
    """gateway.toml of a gateway with the world's keys, ledger and node."""
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
        workers = {workers}
        threads = 32
        {more}
        [ledger]
        url = "sqlite:///ledger.db"
        log_key = "secrets/log.key"
        pin = "pin"
        [subjects]
        keys = {{ 1 = "secrets/subject-1.key" }}
        [metrics]
        port = {metrics}
        [exchange]
        fetch_timeout_seconds = {PATIENCE_S}
        [departments.{REGISTRY}]
        address = "127.0.0.1:{world.node.port}"
        node = "{NODE.name}"
        """,
        encoding="utf-8",
    )
    return path


class Gateways:
    """The supervisor's process, and what it says about itself and its workers."""

    def __init__(self, world: World, config: Path) -> None:
        self._world = world
        self._log = config.parent / "gateway.log"
        # Nobody imports from where the gateway happens to be started, the workers neither.
        (config.parent / "gateway").mkdir(exist_ok=True)
        (config.parent / "gateway" / "__init__.py").write_text("raise SystemExit('decoy')", encoding="utf-8")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND, "gateway", "--config", str(config)],
                stderr=log,
                cwd=config.parent,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        self._started: set[int] = set()

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log.read_text(encoding="utf-8")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines about an event."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def await_said(self, event: str, *, times: int = 1) -> dict[str, Any]:
        """The last line about an event, once it was logged so often."""
        self.until(lambda: len(self.said(event)) >= times)
        return self.said(event)[-1]

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.02)

    @property
    def port(self) -> int:
        return int(self.await_said("serving")["port"])

    def workers(self) -> dict[int, tuple[int, int]]:
        """The process id and the metrics port of each worker by its number, the newest of each."""
        return {each["worker"]: (each["pid"], each["metrics_port"]) for each in self.said("worker serving")}

    def processes(self) -> list[psutil.Process]:
        """Every process that the supervisor has under it now."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        self._started |= {each.pid for each in found}
        return found

    @contextmanager
    def asking(self) -> Iterator[Any]:
        """Query on a connection of its own, which ends up at one of the workers."""
        options = (
            *pinned_to(GATEWAY),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 200),
        )
        credentials = self._world.credentials(SYSTEM).channel_credentials()
        with grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options) as channel:
            yield ExchangeServiceStub(channel).Query

    def end(self) -> None:
        """Leaves nothing behind, whatever the test did."""
        if self.process.poll() is None:
            self.processes()
            self.process.kill()
        self.process.wait()
        for pid in self._started:
            try:
                psutil.Process(pid).kill()
            except psutil.NoSuchProcess:
                continue


@contextmanager
def gateways(world: World, **options: Any) -> Iterator[Gateways]:
    """A gateway that is ended with the test; the world's own stops first, since both would serve the ledger."""
    world.stop_gateway()
    running = Gateways(world, write_config(world, **options))
    try:
        yield running
    finally:
        running.end()


def scrape(port: int) -> dict[str, float]:
    """The samples at `/metrics`, those of one name added up."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def with_ledger(world: World, work: Callable[[Any], Any]) -> Any:
    """What `work` finds in the ledger, opened as a further process opens it."""
    ledger = open_ledger(world.config, clock=now)
    try:
        return work(ledger)
    finally:
        ledger.close()
