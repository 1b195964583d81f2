"""System calls that are watched, made to fail, or not survived: strace(1) attached to a child of a `Nursery`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ledger_nursery import Nursery

PATIENCE_S = 30.0
READS = ("pread64",)
WRITES = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
)
"""All by which a ledger changes what is on a disk; a processor has not all of them."""
_WATCHED = ",".join(f"?{call}" for call in (*READS, *WRITES, "writev"))
_LINE = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Harm:
    """What happens at the n-th of a thread's calls of a kind, or from there on.

    Attributes:
        call: the system call.
        when: which one, counted from one.
        what: `error=` and a name, or `signal=` and a name, as strace takes them.
        lasting: whether all that follow meet the same.
    """

    call: str
    when: int
    what: str
    lasting: bool = False

    @property
    def expression(self) -> str:
        """For strace."""
        return f"inject={self.call}:{self.what}:when={self.when}{'+' if self.lasting else ''}"


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that was made: the thread, its name, its arguments (files by path), and what it returned."""

    thread: int
    name: str
    arguments: str
    result: str


@dataclass(frozen=True, slots=True)
class Course:
    """What a child said, how it ended, and which system calls it made."""

    said: list[dict[str, Any]]
    ended: int
    trace: str

    @property
    def met(self) -> bool:
        """Whether any harm was done."""
        return "(INJECTED)" in self.trace or self.ended == -signal.SIGKILL

    def calls(self) -> Iterator[Call]:
        """The calls, each when it returned."""
        begun = dict[int, str]()
        for line in self.trace.splitlines():
            if found := _LINE.match(line) or _RESUMED.match(line):
                thread, rest = int(found["thread"]), begun.pop(int(found["thread"]), "") + found["rest"]
                if rest.endswith("<unfinished ...>"):
                    begun[thread] = rest.removesuffix("<unfinished ...>")
                    continue
                arguments, _, result = rest.rpartition(" = ")
                yield Call(thread, found["call"], arguments, result)

    def most(self) -> dict[str, int]:
        """The most calls of each kind that one thread made."""
        counts = Counter((call.name, call.thread) for call in self.calls() if call.name in READS + WRITES)
        return {name: max(n for (each, _), n in counts.items() if each == name) for name, _ in counts}


def require_right_to_trace(nursery: Nursery) -> None:
    """Skips the test where system calls cannot be watched."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    pid = nursery.order(Path("."), "nothing")
    tracer = subprocess.Popen(
        ["strace", "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    nursery.go()
    list(nursery.said())
    tracer.communicate(timeout=PATIENCE_S)
    if "attached" not in said:
        pytest.skip(f"needs the right to trace other processes: {said.strip()}")


def watch(nursery: Nursery, directory: Path, harm: Harm | None = None) -> Course:
    """Lets a child append to the ledger in a directory while its system calls are watched, and harm done."""
    pid, trace = nursery.order(directory, "persist"), directory / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={_WATCHED}", "-e", "signal=none"]
    command += ["-e", harm.expression] if harm else []
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        assert "attached" in (said := tracer.stderr.readline()), said
        nursery.go()
        *lines, end = nursery.said()
        tracer.communicate(timeout=PATIENCE_S)
    finally:
        tracer.kill()
        tracer.wait()
    return Course(lines, end["ended"], trace.read_text(errors="replace"))
