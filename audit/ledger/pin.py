"""The pin: the newest signed checkpoint, kept in a file outside the database.

A database that is put back from an old copy is consistent in itself; only something outside it can tell. The pin
is written after the commit it speaks of, so it is never ahead of a healthy database. Commits that follow each
other within `interval` share one write. After a crash the pin may therefore lack the commits of the last
`interval` (0.05 s unless set): a rollback of exactly those cannot be noticed, of anything older it is.

The file is replaced as a whole (temporary file, fsync, rename, fsync of the directory), so a crash leaves the old
pin or the new one. Processes that share a pin take turns, and none replaces a newer checkpoint by an older.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from audit.ledger.errors import LedgerRefused, LedgerUnavailable
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey

_MAX_BYTES = 1_000_000
_TURN_WITHIN_S = 5.0
_TURN_PAUSE_S = 0.002


class Pin:
    """The pin file and the thread that keeps it up to date.

    Args:
        path: the file; its directory must exist, and should not be on the database's volume or in its backup.
        key: the log's key.
        interval: seconds between two writes, at least.
    """

    def __init__(self, path: Path, key: VerifierKey, *, interval: float = 0.05) -> None:
        self._path = path
        self._key = key
        self._interval = interval
        self._wake = threading.Condition()
        self._wanted: tuple[int, bytes] = (-1, b"")
        self._written = -1
        self._mine: tuple[int, ...] | None = None
        self._failed = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-pin", daemon=True)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> Checkpoint | None:
        """The pinned checkpoint; None when nothing was pinned yet.

        Raises:
            LedgerRefused: the file cannot be read, or is not a checkpoint that this log signed.
        """
        try:
            with self._path.open("rb") as file:
                note = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerRefused(f"its pin {self._path} cannot be read: {error.strerror}") from error
        try:
            return open_checkpoint(note, self._key).checkpoint
        except TlogError as error:
            raise LedgerRefused(
                f"its pin {self._path} is not a checkpoint of {self._key.name} signed with the configured key "
                f"({error}). Keep the file as evidence, find out who changed it, and put back the true one"
            ) from error

    def start(self) -> None:
        """Begin to write what is offered."""
        self._thread.start()

    def offer(self, size: int, note: bytes) -> None:
        """Pin this checkpoint soon; returns at once."""
        with self._wake:
            if size > self._wanted[0]:
                self._wanted = (size, note)
                self._wake.notify()

    def require(self) -> None:
        """Return only if the last write succeeded, or succeeds now: an outdated pin must not go unnoticed.

        Raises:
            LedgerUnavailable: the pin cannot be written.
        """
        if self._failed:
            self.flush()

    def flush(self) -> None:
        """Write the newest checkpoint offered, now.

        Raises:
            LedgerUnavailable: the pin cannot be written.
        """
        with self._wake:
            size, note = self._wanted
        if size <= self._written and not self._failed:
            return
        try:
            self._write(size, note)
        except OSError as error:
            self._failed = True
            raise LedgerUnavailable(
                f"its checkpoint cannot be pinned to {self._path}: {error.strerror}. Free space or mend the volume"
            ) from error
        except LedgerUnavailable:
            self._failed = True
            raise
        self._written, self._failed = max(size, self._written), False

    def close(self) -> None:
        """Write what is left and stop. A pin that cannot be written stays behind; the next start goes on from it."""
        self._closed.set()
        with self._wake:
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(LedgerUnavailable):
            self.flush()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._wanted[0] > self._written or self._closed.is_set())
            with suppress(LedgerUnavailable):  # `require` stops the next transaction and tries again.
                self.flush()
            if self._closed.wait(self._interval):
                return

    def _write(self, size: int, note: bytes) -> None:
        with self._turn():
            if size <= self._size_on_disk():
                return
            temporary = self._path.with_name(f".{self._path.name}.new")
            with temporary.open("wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            self._mine = self._trace()
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _size_on_disk(self) -> int:
        # What this process wrote last and nobody has touched since needs no reading, and no verifying, again.
        if self._mine is not None and self._mine == self._trace():
            return self._written
        pinned = self.read()
        return -1 if pinned is None else pinned.size

    def _trace(self) -> tuple[int, ...] | None:
        """What tells the file from any that replaced it or was written over it."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._path.with_name(f".{self._path.name}.lock").open("ab") as lock:
            deadline = time.monotonic() + _TURN_WITHIN_S
            while not _locked(lock):
                if time.monotonic() > deadline:
                    # It was stopped, or its disk hangs: what it was about to pin is not, and must not go unnoticed.
                    raise LedgerUnavailable(
                        f"another process has held the lock of the pin {self._path} for {_TURN_WITHIN_S:.0f} s; "
                        "find the one that hangs and end it"
                    )
                time.sleep(_TURN_PAUSE_S)
            yield


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
