"""Work that needs no order, done by several processes, and handed on in order."""

import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 2
"""How many results a process may be ahead of whoever takes them: what bounds the memory."""


def in_order(work: Callable[[T], R], tasks: Iterable[T], *, jobs: int) -> Iterator[tuple[T, R]]:
    """Each task and its result, in the order of the tasks.

    Args:
        work: a function of a module, which needs nothing but its argument.
        tasks: taken one by one, a few ahead of the results.
        jobs: how many processes; with 1 everything happens in this one.

    Raises:
        OSError: a process died.
    """
    if jobs == 1:
        yield from ((task, work(task)) for task in tasks)
        return
    # Not forked: this process has threads and an open database, neither of which survives that.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_initialise)
    try:
        yield from _through(pool, work, tasks, ahead=_AHEAD * jobs)
    except BrokenProcessPool as error:
        raise OSError(
            "a process that helped with the verification was ended from outside; run it again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _through(
    pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Iterable[T], *, ahead: int
) -> Iterator[tuple[T, R]]:
    waiting: deque[tuple[T, Future[R]]] = deque()
    following = iter(tasks)
    while True:
        try:
            task = next(following)
        except StopIteration:
            break
        except Exception:
            # That the next task cannot be made is known too early: what comes before it is judged first.
            while waiting:
                yield _taken(waiting)
            raise
        waiting.append((task, pool.submit(work, task)))
        if len(waiting) >= ahead:
            yield _taken(waiting)
    while waiting:
        yield _taken(waiting)


def _taken(waiting: deque[tuple[T, Future[R]]]) -> tuple[T, R]:
    task, future = waiting.popleft()
    return task, future.result()


def _initialise() -> None:
    # Ctrl-C is for the process that started this one; when that dies, however it dies, so does this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
