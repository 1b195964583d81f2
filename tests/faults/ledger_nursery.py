"""Processes that come to harm: one that has imported everything begets the others, so that each costs milliseconds.

    python -m tests.faults.ledger_nursery

Each line on standard input orders a child: a directory, and what it does there to the ledger. The child says its process
id, waits for a second line, so that somebody may attach to it first, and begins. `Nursery` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from audit.ledger import Commit, Ledger, LedgerUnavailable, Transaction
from tests.faults.ledger_worker import say
from tests.unit.audit.ledger_world import failure, ledger_in

ROOT = Path(__file__).resolve().parents[2]
THREADS, TRAINS, TRIES = 4, 3, 3
WAL_PAGES = 30
"""Between two checkpoints of the write-ahead log: few, so that harm is done in the middle of these too."""
_TRACED_BY_ANYBODY = (0x59616D61, ctypes.c_ulong(-1))  # prctl(2): PR_SET_PTRACER, PR_SET_PTRACER_ANY


class Nursery:
    """The process that begets the others, and what these say."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.ledger_nursery"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def order(self, directory: Path, course: str) -> int:
        """Beget a child; returns its process id. It waits for `go`."""
        self._write(json.dumps([str(directory), course]))
        (pid,) = self._read().values()
        return int(pid)

    def go(self) -> None:
        """Let the child begin; returns when it does."""
        self._write("go")
        # Killed before it has read that, it would leave it to the next, as if it were an order.
        assert self._read() == {"begun": True}

    def said(self) -> Iterator[dict[str, Any]]:
        """What it says, up to and including how it ended."""
        while True:
            line = self._read()
            yield line
            if "ended" in line:
                return

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, "the nursery ended"
        line: dict[str, Any] = json.loads(said)
        return line


def append(ledger: Ledger, number: int) -> Commit[list[int]]:
    """Append a train of one to seven records."""

    def work(transaction: Transaction) -> list[int]:
        transaction.connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        return [transaction.append(failure()) for _ in range(1 + number % 7)]

    return ledger.transact(work)


def answer(commit: Commit[Any]) -> dict[str, Any]:
    """What somebody who waited for the commit is told, and may keep."""
    hashes = {str(index): value.hex() for index, value in commit.leaf_hashes.items()}
    return {"acknowledged": hashes, "size": commit.size, "checkpoint": commit.checkpoint}


def load(directory: Path) -> None:
    """Threads append until the process is killed; each answer is in the journal, and synced, before anything else."""
    file = os.open(directory / f"journal-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def appender(number: int) -> None:
        while True:
            number += 1
            os.write(file, f"{json.dumps(answer(append(ledger, number)))}\n".encode())
            os.fdatasync(file)
            say(answered=number)

    with ledger_in(directory, clock=lambda: datetime.now(UTC)) as ledger:
        threads = [threading.Thread(target=appender, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def persist(directory: Path) -> None:
    """Append a few trains. What is refused is tried again, at first with the same ledger, then with one opened anew."""
    done = 0
    for _ in range(TRIES):
        try:
            with ledger_in(directory, clock=lambda: datetime.now(UTC)) as ledger:
                say(opened=done)
                while done < TRAINS:
                    insist(ledger, done)
                    done += 1
            return
        except LedgerUnavailable as error:
            say(refused=type(error).__name__, message=error.message)
    say(gave_up=done)


def insist(ledger: Ledger, number: int) -> None:
    """Append a train, and try again when it is refused."""
    for left in reversed(range(TRIES)):
        try:
            say(**answer(append(ledger, number)))
            return
        except LedgerUnavailable as error:
            if not left:
                raise
            say(refused=type(error).__name__, message=error.message)


COURSES: dict[str, Callable[[Path], object]] = {"load": load, "persist": persist, "nothing": str}


def beget(directory: str, course: str) -> None:
    """Let a child do it, and say how it ended: the number of the signal that killed it, negative, or its exit status."""
    pid = os.fork()
    if pid:
        say(ended=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return
    status = 1
    try:
        ctypes.CDLL(None).prctl(*_TRACED_BY_ANYBODY)  # Or else some systems let only parents trace.
        say(born=os.getpid())
        sys.stdin.readline()
        say(begun=True)
        COURSES[course](Path(directory))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)  # It must not go on as if it were its parent.


def main() -> None:
    """Beget whatever is ordered."""
    while order := sys.stdin.readline():
        beget(*json.loads(order))


if __name__ == "__main__":
    main()
