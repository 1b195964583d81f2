"""The demonstration's child processes: started together, watched, and ended whatever happens."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from isthmus.demo.errors import DemoError
from isthmus.identity import Identity
from isthmus.pki import Credentials, pinned_to

_PORTS: Final = range(20_000, 32_768)
"""Below those that Linux and others hand out by themselves."""
_READY_WITHIN_S: Final = 60.0
_CHECK_EVERY_S: Final = 0.05
_END_WITHIN_S: Final = 10.0
_LAST_LINES: Final = 15
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING


class ChildFailed(DemoError):
    """A process ended, or never became ready. The message ends with the last lines of its log."""


def free_addresses(count: int) -> list[str]:
    """Returns addresses on loopback that nothing listens on now, all different.

    None of them is a port that systems hand out to callers: one of those could be taken until its process listens.
    """
    found: list[str] = []
    with ExitStack() as stack:
        while len(found) < count:
            each, port = stack.enter_context(socket.socket()), secrets.choice(_PORTS)
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(f"127.0.0.1:{port}")
    return found


@dataclass(frozen=True, slots=True)
class Child:
    """A process, who it is, where it listens and where it writes its log."""

    identity: Identity
    address: str
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def failure(self) -> str:
        """What to tell when it fails: who, how it ended, and its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        ended = "" if self.process.poll() is None else f" (exit status {self.process.returncode})"
        return f"{self.identity.resource} failed{ended}; its last words:\n  " + "\n  ".join(
            lines or ["(none)"]
        )


class Children:
    """Every process that was started; leaving the context ends them all.

    Args:
        logs: the directory of their logs.
        credentials: any certificate of the trust domain, to ask for health with.
    """

    def __init__(self, logs: Path, credentials: Credentials) -> None:
        self._logs = logs
        self._credentials = credentials
        self._children: list[Child] = []

    def start(self, identity: Identity, address: str, arguments: Sequence[str]) -> Child:
        """Starts a process that serves as `identity` at `address`; `isthmus.demo.child` takes the arguments."""
        log = self._logs / f"{identity.resource.replace('/', '.')}.log"
        command = [sys.executable, "-m", "isthmus.demo.child", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        with log.open("ab") as file:
            # A session of its own: Ctrl-C reaches the demonstration alone, which then ends its children in order.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=environment | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        child = Child(identity, address, log, process)
        self._children.append(child)
        return child

    def await_ready(self, children: Sequence[Child]) -> None:
        """Returns when all of them answer SERVING. Raises ChildFailed when one ends or takes too long."""
        deadline = time.monotonic() + _READY_WITHIN_S
        for child in children:
            self._await_one(child, deadline)

    def _await_one(self, child: Child, deadline: float) -> None:
        options = [*pinned_to(child.identity), ("grpc.initial_reconnect_backoff_ms", 100)]
        options += [("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.secure_channel(
            child.address, self._credentials.channel_credentials(), options=options
        ) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not _serving(stub):
                if child.process.poll() is not None or time.monotonic() > deadline:
                    raise ChildFailed(child.failure)
                time.sleep(_CHECK_EVERY_S)

    def require_alive(self) -> None:
        """Raises ChildFailed when a process has ended by itself."""
        for child in self._children:
            if child.process.poll() is not None:
                raise ChildFailed(child.failure)

    def pids(self) -> dict[str, int]:
        """The process id of each, by resource name."""
        return {child.identity.resource: child.process.pid for child in self._children}

    def stop(self) -> None:
        """Asks every process to end, in reverse order; kills what has not after ten seconds."""
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_WITHIN_S
        for child in self._children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(reply.status == _SERVING)
