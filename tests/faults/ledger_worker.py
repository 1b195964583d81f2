"""A process of its own that appends to a ledger and says on standard output what was acknowledged.

    python -m tests.faults.ledger_worker <directory> <trains> [limited | unprivileged | crowd | volume | pin-volume]

One JSON object a line: the positions and leaf hashes of a commit, or the error that refused it. A crowd is four
processes at once. A volume is mounted, so that needs a namespace of its own; it has so many KiB.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from audit.ledger import Ledger, LedgerUnavailable
from tests.unit.audit.ledger_world import failure, ledger_in

_ROOM = 200_000
_MANY = 1000
_PATIENCE = 60


def say(**members: object) -> None:
    """One line, in one system call: those of several processes must not mix, nor a kill cut one off."""
    # Not `write`, which is what tests make fail.
    os.writev(1, [f"{json.dumps(members)}\n".encode()])


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


def on_full_volume(directory: Path, size: int, *, pin_only: bool) -> None:
    """Append until a small volume is full, and when there is room again, all with one ledger; keep its files."""
    volume = directory / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(volume)], check=True)
    ballast = volume / "ballast"
    ballast.write_bytes(bytes(_ROOM))
    with ledger_in(directory if pin_only else volume, pin=volume / "pin") as ledger:
        number = 0
        while number < _MANY and train(ledger, number):
            number += 1
            if pin_only:
                fill(volume / "more")
        assert not any(train(ledger, number) for _ in range(3))
        assert not restarted(directory if pin_only else volume, volume / "pin", number)
        say(readable=ledger.newest().size)
        ballast.unlink()
        assert all(train(ledger, more) for more in range(number, number + 3))
    for file in volume.glob("[!bmv]*"):
        shutil.copy(file, directory)


def restarted(directory: Path, pin: Path, number: int) -> bool:
    """Whether a ledger that is opened now, beside the other, acknowledges a train."""
    try:
        with ledger_in(directory, pin=pin) as ledger:
            return train(ledger, number)
    except LedgerUnavailable as error:
        say(refused=type(error).__name__, message=error.message)
        return False


def fill(path: Path) -> None:
    """Leave no room on the volume."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def child(directory: Path, trains: int) -> int:
    """Begin a process of the crowd; returns its id."""
    pid = os.fork()
    if pid == 0:
        run(directory, trains)
        os._exit(0)
    return pid


def main(directory: str, trains: str, mode: str = "") -> None:
    """The command line."""
    if mode == "limited":
        limited(Path(directory))
        return
    if mode in ("volume", "pin-volume"):
        on_full_volume(Path(directory), int(trains), pin_only=mode == "pin-volume")
        return
    if mode == "crowd":
        pids = [child(Path(directory), int(trains)) for _ in range(4)]
        sys.exit(any(os.waitpid(pid, 0)[1] for pid in pids))
    if mode == "unprivileged":
        os.setgid(65534)
        os.setuid(65534)
    try:
        run(Path(directory), int(trains))
    except SystemExit as error:
        say(gave_up=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
