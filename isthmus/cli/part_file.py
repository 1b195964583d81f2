"""A file that appears only when it is whole: until then it grows as `NAME.part`, and `NAME.part.json` says where to go on."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

_NOTE_EVERY_S: Final = 1.0


class PartFileError(ValueError):
    """The file cannot be written, or gone on with. The message says what would let it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a part file is good: a whole number of parts, so many bytes and rows, and the token that goes on there.

    `asked` is the digest of what was asked: nothing else may be appended.
    """

    asked: str
    token: str = ""
    size: int = 0
    rows: int = 0


class PartFile:
    """A file under way. Leaving it without `finish` keeps what can be gone on with, and removes what cannot.

    Args:
        out: where the file is to appear; it MUST NOT exist.
        asked: the digest of what is asked.
        resume: whether to go on with what an earlier attempt kept.

    Raises:
        PartFileError: the file exists; or there is something to go on with and `resume` is not said, or the reverse; or
            what was kept is of another request.
        OSError: it cannot be opened.
    """

    def __init__(self, out: Path, *, asked: str, resume: bool) -> None:
        self._out = out
        self.path = out.with_name(f"{out.name}.part")
        self._marks = out.with_name(f"{out.name}.part.json")
        if out.exists():
            raise PartFileError(f"{out} exists already; remove it, or choose another name")
        self.mark = self._kept(asked) if resume else Mark(asked)
        if not resume and self.path.exists():
            words = (
                f"{self.path} holds an interrupted stream; go on with --resume, or remove it to begin anew"
            )
            raise PartFileError(words)
        # Only the owner: rows of a department's data.
        flags = os.O_RDWR | os.O_CREAT | (0 if resume else os.O_EXCL)
        self._file = os.fdopen(os.open(self.path, flags, 0o600), "r+b")
        self._file.truncate(self.mark.size)
        self._file.seek(self.mark.size)
        self._noted = time.monotonic()
        self._done = False
        self._size, self.rows = self.mark.size, self.mark.rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._done:
            return
        if self.mark.token:
            self._note()
        else:
            self.path.unlink(missing_ok=True)
            self._marks.unlink(missing_ok=True)

    @property
    def kept(self) -> str:
        """What is left after an interruption, in words; empty when it is nothing."""
        if not self.mark.token:
            return ""
        return f"{self.mark.rows} rows are kept in {self.path}; the same command with --resume goes on after them"

    def head(self, size: int) -> bytes:
        """The first bytes of what was kept."""
        self._file.seek(0)
        head = self._file.read(size)
        self._file.seek(self._size)
        return head

    def append(self, data: bytes, *, token: str, rows: int) -> None:
        """Appends a part: `rows` rows, after which `token` goes on; where it is empty, what was marked before stays."""
        self._file.write(data)
        self._size, self.rows = self._size + len(data), self.rows + rows
        if token or not self.rows:
            self.mark = Mark(self.mark.asked, token, self._size, self.rows)
        if time.monotonic() - self._noted > _NOTE_EVERY_S:
            self._file.flush()
            self._note()

    def finish(self, convert: Callable[[Path, Path], None] | None = None) -> None:
        """Puts the file in its place, whole.

        Args:
            convert: writes the file from the part file, where they are of different forms.
        """
        self._file.flush()
        whole = self.path
        if convert is not None:
            whole = self._out.with_name(f"{self._out.name}.part.out")
            os.close(os.open(whole, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
            try:
                convert(self.path, whole)
            except BaseException:
                whole.unlink(missing_ok=True)
                raise
        with whole.open("rb") as written:
            os.fsync(written.fileno())
        try:
            # Unlike `replace`, `link` never overwrites what somebody else has put there meanwhile.
            os.link(whole, self._out)
        except FileExistsError:
            if whole != self.path:
                whole.unlink()
            raise PartFileError(f"{self._out} has appeared meanwhile; remove it, and use --resume") from None
        except OSError:
            whole.replace(self._out)  # A file system without links.
        for each in {whole, self.path, self._marks}:
            each.unlink(missing_ok=True)
        self._done = True

    def _kept(self, asked: str) -> Mark:
        try:
            members: Any = json.loads(self._marks.read_text(encoding="utf-8"))
            mark = Mark(**members)
        except FileNotFoundError:
            raise PartFileError(f"there is nothing to go on with: {self._marks} does not exist") from None
        except (ValueError, TypeError):
            raise PartFileError(f"{self._marks} cannot be read; remove it and begin anew") from None
        if mark.asked != asked:
            raise PartFileError(f"{self.path} holds a stream of another request; ask the same, or remove it")
        if not self.path.exists() or self.path.stat().st_size < mark.size:
            raise PartFileError(f"{self.path} is shorter than {self._marks} says; remove both and begin anew")
        return mark

    def _note(self) -> None:
        self._noted = time.monotonic()
        new = self._marks.with_name(f"{self._marks.name}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self.mark), file)
        new.replace(self._marks)
