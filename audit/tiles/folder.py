"""A folder of static files in which every file is whole or absent, also after a crash: temporary file, fsync, rename.

One process at a time writes. What a killed run left behind is one temporary file, which the next overwrites.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_TEMPORARY: Final = ".export.new"


class FolderBusy(ValueError):
    """Another process is writing to the folder."""


class StaticFolder:
    """Files by their path below a root. Make it with `open_folder`, which lets nobody else write meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unsynced: set[Path] = set()

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is none."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        """How many bytes the file has; None when there is none."""
        try:
            return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes, *, mode: int = 0o666) -> None:
        """Put a file in its place at once, with all of `data` on the disk. Its name is durable after `sync`.

        Args:
            path: below the root.
            data: what it holds.
            mode: its permissions, of which the process's mask takes away.
        """
        target, temporary = self._root / path, self._root / _TEMPORARY
        target.parent.mkdir(parents=True, exist_ok=True)
        # What is there under this name is of a killed run, or a link that somebody put there: it is not followed.
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        self.touch(path)

    def touch(self, path: str) -> None:
        """Have `sync` make the file's name durable: a killed run may have written it and not come to that."""
        folder = (self._root / path).parent
        while folder not in self._unsynced:
            self._unsynced.add(folder)
            if folder == self._root:
                return
            folder = folder.parent

    def sync(self) -> None:
        """Make the names of all files touched since the last time durable."""
        for folder in self._unsynced:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self._unsynced.clear()

    def holds(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self._root / path).exists()

    def remove_superseded(self) -> int:
        """Remove the partial tiles (`067.p/8`) whose full tile (`067`) is there; returns of how many tiles."""
        removed = 0
        for folder, names, files in os.walk(self._root / "tile"):
            whole = set(files)
            for name in [name for name in names if name.endswith(".p")]:
                names.remove(name)
                if name.removesuffix(".p") in whole:
                    shutil.rmtree(Path(folder, name))
                    removed += 1
        return removed


@contextmanager
def open_folder(root: Path) -> Iterator[StaticFolder]:
    """The folder, made when it is missing, for this process alone.

    Raises:
        FolderBusy: another process is writing to it.
        OSError: it cannot be made or written.
    """
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(lock, root)
        try:
            yield StaticFolder(root)
        finally:
            with suppress(FileNotFoundError):
                (root / _TEMPORARY).unlink()
    finally:
        os.close(lock)


def _lock(directory: int, root: Path) -> None:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderBusy(f"another export is writing to {root}; wait for it, or end it") from None
