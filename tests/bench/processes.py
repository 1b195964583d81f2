"""The benchmark's own processes: started, asked, measured, and ended whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

ROOT: Final = Path(__file__).resolve().parents[2]
_END_WITHIN_S: Final = 5.0
_LAST_LINES: Final = 12


class BenchError(Exception):
    """The benchmark cannot go on. The message says why."""


class Job:
    """A process that reads one JSON document a line from standard input and answers in the same way.

    It says `{"ready": true}` first, and ends when its standard input does.
    """

    def __init__(self, module: str, settings: Any, log: Path) -> None:
        self._name = module
        self._log = log
        with log.open("ab") as file:
            # A session of its own: Ctrl-C reaches the benchmark alone, which then ends its processes.
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "ERROR"},
                start_new_session=True,
            )
        self.tell(settings)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def tell(self, document: Any) -> None:
        """Sends a document."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise BenchError(self.failure) from None

    def hear(self) -> Any:
        """Returns the next document it sends. Raises BenchError when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(_END_WITHIN_S)
            raise BenchError(self.failure)
        return json.loads(line)

    @property
    def failure(self) -> str:
        """Which process failed, with its last words."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return f"{self._name} failed; its last words:\n  " + "\n  ".join(lines or ["(none)"])

    def stop(self) -> None:
        """Ends it, and kills it if it does not."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            # Its group: Envoy is a child of the process that watches over it.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Jobs:
    """Every job that was started; leaving the context ends them all."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._jobs: list[Job] = []

    def start(self, module: str, settings: Any) -> Job:
        """Starts `python -m module`, gives it its settings, and returns when it is ready."""
        job = Job(module, settings, self._logs / f"{module}.log")
        self._jobs.append(job)
        job.hear()
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in reversed(self._jobs):
            job.stop()
        self._jobs.clear()


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes, their threads and their living children, in seconds."""
    total = 0.0
    for pid in pids:
        own = psutil.Process(pid)
        for each in (own, *own.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def resident_bytes(pids: Sequence[int]) -> int:
    """Memory that processes and their living children hold in RAM."""
    return sum(
        each.memory_info().rss
        for pid in pids
        for own in [psutil.Process(pid)]
        for each in (own, *own.children(recursive=True))
    )
