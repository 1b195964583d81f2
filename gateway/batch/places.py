"""How many batches run at once: in all, and of one department, so that queries keep their threads and their share."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from isthmus.errors import ResourceExhausted
from isthmus.reasons import Reason

_RETRY: Final = timedelta(milliseconds=500)


class Places:
    """Places for batches; safe to use from many threads.

    Args:
        each: batches to one department, and from one; twice as many run in all.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._lock = threading.Lock()
        self._taken: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def from_consumer(self, department: str) -> Iterator[None]:
        """Counts a batch while it runs.

        Raises:
            ResourceExhausted: OVERLOADED, as many as may run for this department, or in all, do already.
        """
        with (
            self._count(("all", ""), 2 * self._each, "in all"),
            self._count(("from", department), self._each, "for one department"),
        ):
            yield

    @contextmanager
    def to_provider(self, department: str) -> Iterator[None]:
        """Counts a batch as one that a department, `departments/{department}`, is asked for. Raises as above."""
        with self._count(("to", department), self._each, "to one department"):
            yield

    @contextmanager
    def _count(self, key: tuple[str, str], most: int, words: str) -> Iterator[None]:
        with self._lock:
            if self._taken[key] >= most:
                raise ResourceExhausted(
                    Reason.OVERLOADED,
                    f"this gateway works on {most} batches at once {words}; try again shortly",
                    retry_after=_RETRY,
                )
            self._taken[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]
