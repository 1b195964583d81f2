"""Several gateway processes on one port, and the supervisor that starts them, replaces those that end and ends them all.

The supervisor serves nothing and makes nothing of gRPC. Its workers are fresh interpreters, which share the port, the
ledger and the pin and nothing else. A worker that ends by itself is replaced; those that start with the gateway must all
come to serve, so that a mistake in the configuration is not hidden by restarts. When the supervisor itself is killed, its
workers notice and end.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from gateway.config import Config
from gateway.held_port import hold_port
from gateway.load import GatewayError
from gateway.worker_process import END_MARGIN_S, Assignment, WorkerProcess
from isthmus.log import logger

_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_PROVEN_AFTER_S: Final = 60.0
"""A worker that has served so long and then ends is replaced without a pause worth the name."""
_SERVES_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 1.0
_TRIES: Final = 5


def supervise(config: Config, *, log_level: str) -> None:
    """Serves in `[server] workers` processes until SIGTERM or SIGINT, then lets calls under way end.

    Args:
        config: the configuration; each worker gets it as it is now, and the files it names as they are at its start.
        log_level: of the workers.

    Raises:
        GatewayError: the port cannot be had, a worker cannot start, or none that ended can be replaced.
    """
    held, section = hold_port(config.server)
    with held, _asked_to_end() as asked:
        Supervisor(replace(config, server=section), asked, log_level=log_level).run()


@dataclass(slots=True)
class _Place:
    """A worker's number, who fills it, and when the next is due if nobody does (monotonic seconds)."""

    number: int
    worker: WorkerProcess | None = None
    starts: int = 0
    failures: int = 0
    due: float = 0.0


class Supervisor:
    """Keeps the workers' places filled.

    Args:
        config: of every worker, with the port they share in its address.
        asked: becomes readable when everything is to end.
        log_level: of the workers.
        start: starts a worker's process.
    """

    def __init__(
        self,
        config: Config,
        asked: socket.socket,
        *,
        log_level: str,
        start: Callable[[Assignment], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._config = config
        self._asked = asked
        self._log_level = log_level
        self._start_process = start
        self._places = [_Place(number) for number in range(config.server.workers)]
        self._complete = False
        self._log = logger("gateway")

    def run(self) -> None:
        """Returns once it was asked to end and every worker has.

        Raises:
            GatewayError: it cannot go on; every worker has ended.
        """
        processors = os.cpu_count() or 1
        if len(self._places) > processors:
            self._log.warning(
                "more workers than processors", workers=len(self._places), processors=processors
            )
        try:
            while not self._wait():
                for place in self._places:
                    self._look_after(place)
                self._say_when_complete()
        finally:
            self._end()

    def _wait(self) -> bool:
        """Waits until something has happened or is due; returns whether everything is to end."""
        now = time.monotonic()
        due = [place.due - now for place in self._places if place.worker is None]
        with selectors.DefaultSelector() as selector:
            selector.register(self._asked, selectors.EVENT_READ)
            for worker in self._workers():
                selector.register(worker.channel, selectors.EVENT_READ)
            found = selector.select(max(0.0, min([_LOOK_EVERY_S, *due])))
        return any(key.fileobj is self._asked for key, _ in found)

    def _workers(self) -> list[WorkerProcess]:
        return [place.worker for place in self._places if place.worker is not None]

    def _look_after(self, place: _Place) -> None:
        worker, now = place.worker, time.monotonic()
        if worker is None:
            if now >= place.due:
                self._start(place)
            return
        served = worker.serves
        status = worker.look()
        if worker.serves and not served:
            self._log.info(
                "worker serving", worker=worker.number, pid=worker.pid, metrics_port=worker.metrics_port
            )
        if status is not None:
            self._ended(place, worker, status)
        elif not worker.serves and now > worker.started + _SERVES_WITHIN_S:
            worker.kill()

    def _start(self, place: _Place) -> None:
        number, config = place.number, self._config
        config = replace(config, metrics=config.metrics.of_worker(number))
        assignment = Assignment(number, config, log_level=self._log_level, restarts=place.starts)
        place.worker = self._start_process(assignment)
        place.starts += 1

    def _ended(self, place: _Place, worker: WorkerProcess, status: int) -> None:
        now = time.monotonic()
        worker.end(now)
        place.worker = None
        proven = worker.serves and now - worker.started > _PROVEN_AFTER_S
        place.failures = 0 if proven else place.failures + 1
        self._require_hope(place, worker, status)
        pause = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2**place.failures)
        place.due = now + pause
        self._log.error(
            "worker ended; it will be replaced",
            worker=worker.number,
            pid=worker.pid,
            status=status,
            error=worker.error,
            seconds=round(now - worker.started, 1),
            pause_seconds=pause,
        )

    def _require_hope(self, place: _Place, worker: WorkerProcess, status: int) -> None:
        if worker.serves:
            return
        alone = not any(each.serves for each in self._workers())
        if not self._complete or (alone and place.failures >= _TRIES):
            why = worker.error or f"it ended with status {status} before it served"
            raise GatewayError(f"worker {worker.number} cannot start: {why}")

    def _say_when_complete(self) -> None:
        workers = self._workers()
        if self._complete or len(workers) < len(self._places) or not all(each.serves for each in workers):
            return
        self._complete = True
        self._log.info(
            "serving",
            port=int(self._config.server.address.rpartition(":")[2]),
            workers=len(workers),
            metrics_ports=[each.metrics_port for each in workers],
        )

    def _end(self) -> None:
        deadline = time.monotonic() + self._config.server.grace_seconds + END_MARGIN_S
        workers = self._workers()
        for worker in workers:
            worker.ask_to_end()
        for worker in workers:
            if not worker.end(deadline):
                self._log.error(
                    "worker did not end in time and was killed", worker=worker.number, pid=worker.pid
                )


@contextmanager
def _asked_to_end() -> Iterator[socket.socket]:
    """A socket that becomes readable at SIGTERM or SIGINT."""
    told, tells = socket.socketpair()
    tells.setblocking(False)
    names = (signal.SIGTERM, signal.SIGINT)
    with told, tells:
        wakeup = signal.set_wakeup_fd(tells.fileno())
        handlers = [signal.signal(name, lambda *_: None) for name in names]
        try:
            yield told
        finally:
            for name, handler in zip(names, handlers, strict=True):
                signal.signal(name, handler)
            signal.set_wakeup_fd(wakeup)
