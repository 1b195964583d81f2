"""The clerk's thread: runs its jobs at an interval, survives their failures, and stops when told to."""

import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter

from gateway.clerk.job import Job
from gateway.state.change import Call, Control
from isthmus.identity import Identity
from isthmus.log import logger

METHOD = "Clock"
"""The action of the clerk's records: nobody called anything, time passed."""


class Clerk:
    """Runs jobs in the background. No exchange ever waits for it, and nothing it does is relied on.

    Where a contract stands is derived from the time whenever somebody asks; the clerk only writes down that it came to
    pass, so that the events and records say so even when nobody asks.

    Args:
        control: runs the changes.
        identity: this gateway, which writes on the clock's behalf.
        thumbprint: of its certificate, hex.
        jobs: what to do, in order.
        interval: seconds between two rounds.
        registry: receives `isthmus_clerk_changes_total{duty}` and `isthmus_clerk_failures_total{duty}`.
    """

    def __init__(
        self,
        control: Control,
        *,
        identity: Identity,
        thumbprint: str,
        jobs: Sequence[Job],
        interval: float,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._control = control
        self._identity = identity
        self._thumbprint = thumbprint
        self._jobs = tuple(jobs)
        self._interval = interval
        self._log = logger("clerk")
        self._changes = Counter(
            "isthmus_clerk_changes", "What the clerk wrote down.", labelnames=["duty"], registry=registry
        )
        self._failures = Counter(
            "isthmus_clerk_failures", "Rounds of a job that failed.", labelnames=["duty"], registry=registry
        )
        for job in self._jobs:
            self._changes.labels(job.name)
            self._failures.labels(job.name)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins, with a first round at once."""
        self._thread = threading.Thread(target=self._work, name="clerk", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Lets the change under way end, and returns when the clerk is done."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def round(self) -> int:
        """Runs every job once; returns how much was written. A job that fails does not keep the next from running."""
        return sum(self._run(job) for job in self._jobs if not self._stopping.is_set())

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.round()
            self._stopping.wait(self._interval)

    def _run(self, job: Job) -> int:
        try:
            written = job.run(self._control, self._call)
        except Exception as error:  # noqa: BLE001 - one job must not keep the next from running
            # The type alone: a message could quote what a job was reading.
            self._log.warning("clerk failed", job=job.name, error=type(error).__name__)
            self._failures.labels(job.name).inc()
            return 0
        self._changes.labels(job.name).inc(written)
        return written

    def _call(self) -> Call:
        return self._control.call(self._identity, self._thumbprint, METHOD)
