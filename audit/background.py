"""A thread that does one thing again and again, survives its failures, and stops when told to."""

import threading
from collections.abc import Callable

from isthmus.log import logger


class Background:
    """Runs `work` at once and then every `interval` seconds. Nothing waits for it.

    Args:
        name: of the thread, and of its log lines.
        work: what to do; an exception ends this run of it, not the next.
        interval: seconds between the end of one run and the beginning of the next.
    """

    def __init__(self, name: str, work: Callable[[], object], interval: float) -> None:
        self._name = name
        self._work = work
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Begin no further run, and wait `timeout` seconds, or as long as it takes, for the one under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - one run must not keep the next from happening
                # The type alone: a message could quote what was being read.
                logger(self._name).warning("failed", error=type(error).__name__)
            self._stopping.wait(self._interval)
