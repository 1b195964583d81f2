"""The threads of a server. What `concurrent.futures` adds to each call (a future with a condition of its own, and a
semaphore of idle threads) costs as much as the call's own hand-over, and nobody waits for these futures."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

Job = tuple["Task", Callable[..., Any], tuple[Any, ...]]


class Task:
    """What a job leaves its caller with: a place for those who want to know when it is over. It keeps no result."""

    __slots__ = ("_over", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[Any], object]] = deque()
        self._over = False

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Calls `callback` with this task once its job is over, or now if it is."""
        self._waiting.append(callback)
        if self._over:
            self._tell()

    def end(self) -> None:
        """The job is over."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        # Both sides may come here at once; `pop` gives each callback to one of them.
        while self._waiting:
            try:
                callback = self._waiting.pop()
            except IndexError:
                return
            callback(self)


class WorkerPool(Executor):
    """A fixed number of threads that start as they are needed.

    It does what a gRPC server asks of its pool: `submit`, of which it uses `add_done_callback`, and `shutdown`.

    Args:
        workers: at most so many threads.
        name: their names begin with it.
    """

    def __init__(self, workers: int, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._most: Final = workers
        self._name: Final = name
        self._started: list[threading.Thread] = []
        # Threads less jobs that are not over: what is below zero waits.
        self._free = 0
        self._lock = threading.Lock()

    @property
    def idle(self) -> int:
        """How many threads wait for a job."""
        return max(0, self._free)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Runs `fn` on a thread, and returns a task that says when it is over."""
        task = Task()
        with self._lock:
            self._free -= 1
            if self._free < 0 and len(self._started) < self._most:
                self._start()
        self._jobs.put((task, fn, args))
        return task  # type: ignore[return-value]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads once the jobs before them are over."""
        with self._lock:
            threads, self._started = self._started, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads if wait else ():
            thread.join()

    def _start(self) -> None:
        name = f"{self._name}-{len(self._started)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started.append(thread)
        self._free += 1
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            task, function, arguments = job
            # As in the standard library, whose futures would keep the fault for nobody: gRPC answers for its own. A job
            # that ended its thread would leave its task open for ever.
            with suppress(BaseException):
                function(*arguments)
            with suppress(BaseException):
                task.end()
            del job, task, function, arguments
            with self._lock:
                self._free += 1
