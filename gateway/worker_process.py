"""One worker as its supervisor sees it: a fresh interpreter, and a pair of sockets between the two.

The worker's end is its standard input. Down it goes the assignment; up comes one line, that it serves or why it cannot.
Each notices by the end of the pair that the other is gone, however it ended.
"""

import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.config import Config

END_MARGIN_S: Final = 10.0
"""How much longer than `grace_seconds` a worker may take to end before it is killed."""

_WORKER: Final = ("-P", "-m", "gateway.worker")
_LENGTH: Final = struct.Struct("!I")
_MAX_LINE: Final = 1 << 16
_TELL_WITHIN_S: Final = 30.0
_GONE_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is to be: its number from 0, its configuration, and how many came before it under this number."""

    number: int
    config: Config
    log_level: str
    restarts: int

    @property
    def tends(self) -> bool:
        """Whether it runs the clerk and reports what the ledger holds: one does, so that sums over all are right."""
        return self.number == 0


def receive_assignment(channel: socket.socket) -> Assignment:
    """Reads the assignment at the worker's end.

    Raises:
        EOFError: the supervisor is gone.
    """
    with channel.makefile("rb", buffering=0) as source:
        length = _LENGTH.unpack(_exactly(source, _LENGTH.size))[0]
        # It comes from the process that started this one, down a socket that nobody else holds.
        assignment = pickle.loads(_exactly(source, length))
    assert isinstance(assignment, Assignment)
    return assignment


def _exactly(source: socket.SocketIO, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = source.read(length - len(parts))
        if not part:
            raise EOFError("the supervisor is gone")
        parts += part
    return bytes(parts)


def report(channel: socket.socket, **said: object) -> None:
    """Tells the supervisor `metrics_port` once the worker serves, or the `error` that keeps it from serving."""
    with suppress(OSError):  # A supervisor that is gone ends this worker by other means.
        channel.sendall(json.dumps(said).encode()[: _MAX_LINE - 1] + b"\n")


class WorkerProcess:
    """A worker that was started. `look` says how it fares.

    Args:
        assignment: what it is to be.
        program: the interpreter's arguments; a worker's unless given.
    """

    def __init__(self, assignment: Assignment, *, program: Sequence[str] = _WORKER) -> None:
        self.number = assignment.number
        self.started = time.monotonic()
        self.metrics_port: int | None = None
        self.error = ""
        self._said = b""
        self.channel, theirs = socket.socketpair()
        with theirs:
            # A group of its own: Ctrl-C reaches the supervisor alone, which then ends its workers in order.
            self._process = subprocess.Popen(
                [sys.executable, *program],
                stdin=theirs.fileno(),
                env=_environment(os.environ),
                process_group=0,
            )
        self._tell(pickle.dumps(assignment))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def serves(self) -> bool:
        """Whether it has said that it serves."""
        return self.metrics_port is not None

    def look(self) -> int | None:
        """Takes in what it has said; returns its exit status once it has ended, negative for a signal."""
        with suppress(BlockingIOError):
            self.channel.setblocking(False)
            try:
                said = self.channel.recv(_MAX_LINE)
            except ConnectionError:
                said = b""
            if not said:
                return self._gone()
            self._hear(said)
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def end(self, deadline: float) -> bool:
        """Waits until it has ended, and kills it at `deadline`, of the monotonic clock; returns whether it ended itself."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
            return False
        finally:
            self.channel.close()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()

    def _tell(self, message: bytes) -> None:
        self.channel.settimeout(_TELL_WITHIN_S)
        with suppress(OSError):  # One that ended already is found out by `look`.
            self.channel.sendall(_LENGTH.pack(len(message)) + message)

    def _hear(self, said: bytes) -> None:
        self._said = (self._said + said)[:_MAX_LINE]
        line, ended, _ = self._said.partition(b"\n")
        if ended and not self.serves:
            told = json.loads(line)
            self.metrics_port, self.error = told.get("metrics_port"), str(told.get("error", ""))

    def _gone(self) -> int:
        try:
            return self._process.wait(_GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with which a worker imports from the same places as this process, and from nowhere else."""
    return {**environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path)}
