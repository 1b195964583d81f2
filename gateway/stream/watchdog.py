"""Ends waits that take too long: a node that falls silent in the middle of a stream must not hold its place for hours."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_TICK_S: Final = 0.25


class Watchdog:
    """Calls back when something takes too long; safe to use from many threads, between `start` and `stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, tuple[float, Callable[[], None]]] = {}
        self._number = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stream-watchdog", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; does nothing if it was never started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def within(self, seconds: float, late: Callable[[], None]) -> Iterator[None]:
        """Calls `late`, once, if what is inside takes longer than `seconds`."""
        with self._lock:
            self._number += 1
            number = self._number
            self._due[number] = (time.monotonic() + seconds, late)
        try:
            yield
        finally:
            with self._lock:
                self._due.pop(number, None)

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK_S):
            now = time.monotonic()
            with self._lock:
                late = [number for number, (due, _) in self._due.items() if due <= now]
                calls = [self._due.pop(number)[1] for number in late]
            for call in calls:
                call()
