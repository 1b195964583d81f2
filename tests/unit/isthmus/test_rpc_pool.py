"""The threads of a server: every job runs, whoever waits is told, and no more threads start than are allowed."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from isthmus.rpc.pool import WorkerPool


def test_every_job_runs_and_its_end_is_told_once_whoever_asks_first() -> None:
    pool, ran = WorkerPool(4, "test"), threading.Semaphore(0)
    told: list[int] = []
    tasks = [pool.submit(ran.release) for _ in range(200)]
    for number, task in enumerate(tasks):
        task.add_done_callback(partial(_tell, told, number))
    assert all(ran.acquire(timeout=10) for _ in tasks)
    pool.shutdown()
    assert sorted(told) == list(range(200))


def _tell(told: list[int], number: int, _task: object) -> None:
    told.append(number)


def test_a_callback_that_comes_after_the_end_is_called_at_once() -> None:
    pool, told = WorkerPool(1, "test"), threading.Event()
    task = pool.submit(lambda: None)
    pool.shutdown()
    task.add_done_callback(lambda _task: told.set())
    assert told.is_set()


def test_no_more_threads_start_than_are_allowed_nor_than_are_needed() -> None:
    pool, free = WorkerPool(3, "test"), threading.Event()
    names: set[str] = set()

    def job() -> None:
        names.add(threading.current_thread().name)
        begun.release()
        assert free.wait(10)

    begun, done = threading.Semaphore(0), threading.Semaphore(0)
    for _ in range(9):
        pool.submit(job).add_done_callback(lambda _task: done.release())
    assert all(begun.acquire(timeout=10) for _ in range(3))
    free.set()
    assert all(done.acquire(timeout=10) for _ in range(9))
    pool.shutdown()
    assert names == {"test-0", "test-1", "test-2"}


def test_a_thread_that_is_idle_is_used_again() -> None:
    pool, names = WorkerPool(8, "test"), set[str]()
    ended = threading.Semaphore(0)
    for _ in range(5):
        task = pool.submit(lambda: names.add(threading.current_thread().name))
        task.add_done_callback(lambda _task: ended.release())
        assert ended.acquire(timeout=10)
        # The end is told before the thread counts as idle again.
        _await_idle(pool)
    pool.shutdown()
    assert names == {"test-0"}


def _await_idle(pool: WorkerPool, threads: int = 1) -> None:
    ended = threading.Event()
    deadline = threading.Timer(10, ended.set)
    deadline.start()
    while pool.idle < threads and not ended.is_set():
        ended.wait(0.001)
    deadline.cancel()


def test_after_more_jobs_than_threads_no_more_threads_count_as_idle_than_there_are() -> None:
    pool, done = WorkerPool(2, "test"), threading.Semaphore(0)
    for _ in range(20):
        pool.submit(lambda: None).add_done_callback(lambda _task: done.release())
    assert all(done.acquire(timeout=10) for _ in range(20))
    _await_idle(pool, 2)
    assert pool.idle == 2
    pool.shutdown()


@pytest.mark.parametrize("fault", [RuntimeError, SystemExit])
def test_a_job_that_fails_costs_no_thread_and_is_over(fault: type[BaseException]) -> None:
    pool, over, ended = WorkerPool(1, "test"), threading.Event(), threading.Event()

    def fail() -> None:
        raise fault

    pool.submit(fail).add_done_callback(lambda _task: over.set())
    assert over.wait(10)
    pool.submit(lambda: None).add_done_callback(lambda _task: ended.set())
    assert ended.wait(10)
    pool.shutdown()
