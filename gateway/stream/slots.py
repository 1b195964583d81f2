"""How many streams run at once: in all, and of one department, so that queries keep their threads and their share."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from isthmus.errors import ResourceExhausted
from isthmus.reasons import Reason

_RETRY: Final = timedelta(seconds=5)


class Slots:
    """Places for streams; safe to use from many threads. A stream takes one for its consumer and one for its provider.

    Args:
        total: streams in all.
        each: streams of one department, `departments/{department}`, in one role.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._changed = threading.Condition()
        self._open = 0
        self._taken: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Counts a stream while it runs.

        Raises:
            ResourceExhausted: OVERLOADED, `total` streams run already.
        """
        with self._changed:
            if self._open >= self._total:
                raise _busy(f"this gateway serves {self._total} streams at once")
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    @contextmanager
    def share(self, role: str, department: str) -> Iterator[None]:
        """Counts a stream as one of a department while it runs.

        Raises:
            ResourceExhausted: OVERLOADED, `each` streams of it run already.
        """
        key = (role, department)
        with self._changed:
            if self._taken[key] >= self._each:
                raise _busy(f"this gateway serves {self._each} streams at once to or from one department")
            self._taken[key] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]

    def wait_until_idle(self, seconds: float) -> bool:
        """Waits until no stream runs; returns whether that came within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, timeout=seconds)


def _busy(words: str) -> ResourceExhausted:
    return ResourceExhausted(Reason.OVERLOADED, f"{words}; try again when one has ended", retry_after=_RETRY)
