"""How commands write keys: whole, durable, with the right permissions from the first moment, and never over another."""

import os
from pathlib import Path


def write_new(path: Path, text: str, mode: int) -> None:
    """Writes a line to a file that must not be there yet.

    Args:
        path: the file.
        text: without its newline.
        mode: the permissions.

    Raises:
        OSError: there is such a file or link, or it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
