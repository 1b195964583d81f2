"""A process of its own that appends to a ledger and says on standard output what was acknowledged.

    python -m tests.faults.ledger_worker <directory> <trains> [limited | unprivileged | crowd | queue]

One JSON object a line: the positions and leaf hashes of a commit, or the error that refused it. A crowd is four
processes at once, a queue twenty, one after the other; each says its process id first.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

from audit.ledger import Ledger, LedgerUnavailable
from tests.unit.audit.ledger_world import failure, ledger_in

_ROOM = 200_000
_PATIENCE = 60


def say(**members: object) -> None:
    """One line, in one system call: those of several processes must not mix, nor a kill cut one off."""
    os.write(1, f"{json.dumps(members)}\n".encode())


def train(ledger: Ledger, number: int) -> bool:
    """Append a train of one to seven records; returns whether it was acknowledged."""
    size = 1 + number % 7
    try:
        commit = ledger.transact(lambda tx: [tx.append(failure()) for _ in range(size)])
    except LedgerUnavailable as error:
        say(refused=type(error).__name__, message=error.message)
        return False
    say(acknowledged={str(index): value.hex() for index, value in commit.leaf_hashes.items()})
    return True


def run(directory: Path, trains: int) -> None:
    """Append so many trains; what is refused is tried again, on a ledger opened anew if need be."""
    done = 0
    for _ in range(_PATIENCE + trains):
        if done == trains:
            return
        try:
            with ledger_in(directory, clock=lambda: datetime.now(UTC)) as ledger:
                while done < trains:
                    done += train(ledger, done) or reopen()
        except LedgerUnavailable as error:
            say(refused=type(error).__name__, message=error.message)
        except Reopen:
            continue
    raise SystemExit("the ledger did not recover")


class Reopen(Exception):
    """The ledger is opened anew."""


def reopen() -> int:
    """Leave the ledger."""
    raise Reopen


def limited(directory: Path) -> None:
    """Append until no file may grow any more, then once more when they may again, all with one ledger."""
    with ledger_in(directory, pin=None) as ledger:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = sum(file.stat().st_size for file in directory.glob("ledger.db-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + _ROOM, hard))
        number = 0
        while train(ledger, number):
            number += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert train(ledger, number)


def child(directory: Path, trains: int) -> int:
    """Begin a process of the crowd; returns its id."""
    pid = os.fork()
    if pid == 0:
        say(born=os.getpid())
        run(directory, trains)
        os._exit(0)
    return pid


def main(directory: str, trains: str, mode: str = "") -> None:
    """The command line."""
    if mode == "limited":
        limited(Path(directory))
        return
    if mode == "crowd":
        pids = [child(Path(directory), int(trains)) for _ in range(4)]
        sys.exit(any(os.waitpid(pid, 0)[1] for pid in pids))
    if mode == "queue":
        for _ in range(20):
            os.waitpid(child(Path(directory), int(trains)), 0)
        return
    if mode == "unprivileged":
        os.setgid(65534)
        os.setuid(65534)
    try:
        run(Path(directory), int(trains))
    except SystemExit as error:
        say(gave_up=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
