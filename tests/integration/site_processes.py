"""Gateway, node and audit service as processes of their own, over what a world has set up, and all that they wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from isthmus.client import Client
from isthmus.identity import Identity, Role
from isthmus.pki import file_stem
from isthmus.v1.contract_service_pb2 import Contract
from tests.integration.exchange_parties import NODE, REGISTRY, SYSTEM, party
from tests.integration.exchange_world import World

COMMAND = "from isthmus.cli.main import main; main()"
PATIENCE_S = 60.0


class Process:
    """A process of Isthmus, and all that it wrote."""

    def __init__(self, kind: str, config: Path) -> None:
        self._path = config.parent / f"{kind}-{config.stem}.log"
        with self._path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, kind, "--config", str(config), "--log-level", "DEBUG"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[2],
            )

    @property
    def log(self) -> str:
        return self._path.read_text(encoding="utf-8")

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Its lines, or those about an event. Every line is JSON."""
        found = [json.loads(each) for each in self.log.splitlines()]
        return [each for each in found if not event or each["event"] == event]

    def said(self, event: str, **members: Any) -> dict[str, Any]:
        """The last line about an event with these members, once there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = [each for each in self.lines(event) if members.items() <= each.items()]
            if found:
                return found[-1]
            assert self._process.poll() is None and time.monotonic() < deadline, (event, members, self.log)
            time.sleep(0.02)

    @property
    def port(self) -> int:
        return int(self.said("serving")["port"])

    def end(self) -> None:
        """Asks it to end, so that it writes what it writes then."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        self._process.kill()


class Site:
    """The three processes, over what a world has set up."""

    def __init__(self, world: World, contract: Contract, stack: ExitStack) -> None:
        self.world, self.contract = world, contract
        self._stack = stack
        self._logs: list[Process] = []
        world.stop_gateway()
        world.stop_node()
        self.department = self._start("department", world.folder / "department.toml")
        self.gateway = self.gateway_for(self.department.port)
        self.audit = self._start("audit", _audit_config(world))

    def gateway_for(self, node: int) -> Process:
        """A gateway whose node is at that port; the calls of the world go there from now on."""
        for channel in self.world._channels.values():
            channel.close()
        self.world._channels.clear()
        started = self._start("gateway", _gateway_config(self.world, node))
        self.world.gateway = SimpleNamespace(port=started.port)  # type: ignore[assignment]
        return started

    def _start(self, kind: str, config: Path) -> Process:
        process = Process(kind, config)
        self._logs.append(process)
        self._stack.callback(process.end)
        return process

    def everything(self) -> str:
        return "\n".join(each.log for each in self._logs)

    def sdk(self, identity: Identity = SYSTEM, server: str = "gateway/main", port: int = 0) -> Client:
        self.world.credentials(identity)
        pki, stem = self.world.folder / "pki", file_stem(identity)
        return Client(
            f"127.0.0.1:{port or self.world.gateway.port}",
            cert=pki / f"{stem}.pem",
            key=pki / f"{stem}.key",
            ca=pki / "ca.pem",
            server=server,
        )


def _gateway_config(world: World, node: int) -> Path:
    path = world.folder / f"gateway-{node}.toml"
    path.write_text(
        f"""
        [server]
        address = "127.0.0.1:0"
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
        [exchange]
        fetch_timeout_seconds = 20
        slow_seconds = 0.000001
        [departments.{REGISTRY}]
        address = "127.0.0.1:{node}"
        node = "{NODE.name}"
        [departments.veterans]
        """,
        encoding="utf-8",
    )
    return path


def _audit_config(world: World) -> Path:
    identity = party(Role.AUDIT, name="main")
    world.credentials(identity)
    shutil.copy(world.folder / "pin", world.folder / "audit.pin")
    path, stem = world.folder / "audit.toml", file_stem(identity)
    path.write_text(
        f"""
        [server]
        address = "127.0.0.1:0"
        trust_domain = "data.example"
        certificate = "pki/{stem}.pem"
        key = "pki/{stem}.key"
        ca = "pki/ca.pem"
        [ledger]
        url = "sqlite:///{world.folder / "ledger.db"}"
        log_key = "secrets/log.key"
        pin = "audit.pin"
        [subjects]
        current = 1
        keys = {{ 1 = "secrets/subject-1.key" }}
        schemes = {{ "cn.resident-id" = ["strip-quotes", "upper"] }}
        """,
        encoding="utf-8",
    )
    return path
