"""The callers, in a process of their own: the same client code for every peer, bytes out and bytes in."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any, Final

import grpc

from isthmus.pki import Credentials
from tests.bench import job, questions

_AHEAD: Final = 100
_TIMEOUT_S: Final = 20.0


class _Grants:
    """Requests of a Fetch, signed before the measurement begins: a grant lives 30 s, and serves once."""

    def __init__(self, settings: dict[str, Any], credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._numbers = count()
        self._ready: list[bytes] = []

    def prepare(self, number: int) -> None:
        """Signs so many."""
        self._ready = [self._make() for _ in range(number)]

    def __next__(self) -> bytes:
        return self._ready.pop() if self._ready else self._make()

    def _make(self) -> bytes:
        number = next(self._numbers) % self._settings["subjects"]
        return questions.fetch_request(self._settings, number, self._credentials, datetime.now(UTC))


class _Load:
    """So many callers, each asking again as soon as it is answered, until the time is up."""

    def __init__(self, calls: Sequence[Callable[..., Any]], requests: Iterator[bytes] | _Grants) -> None:
        self._calls = calls
        self._requests = requests
        self.latencies: list[float] = []
        self.errors: Counter[str] = Counter()
        self.last_words = ""
        self.answer = b""

    async def run(self, callers: int, seconds: float) -> float:
        """Returns how long it took until the last was answered, in seconds."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(self._caller(self._calls[number % len(self._calls)], started + seconds))
        return time.perf_counter() - started

    async def _caller(self, call: Callable[..., Any], until: float) -> None:
        while (begun := time.perf_counter()) < until:
            try:
                self.answer = await call(next(self._requests), timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                self.errors[error.code().name] += 1
                self.last_words = error.details() or ""
            else:
                self.latencies.append(time.perf_counter() - begun)


async def load(command: dict[str, Any], inbox: job.Inbox) -> dict[str, Any]:
    """Measures one peer: warms up, waits for the word, measures."""
    credentials = job.credentials(command["credentials"])
    async with AsyncExitStack() as closing:
        calls = []
        for _ in range(command["channels"]):
            channel = job.channel(command["address"], command["server_name"], credentials)
            calls.append(job.unary(await closing.enter_async_context(channel), command["path"]))
        requests: Iterator[bytes] | _Grants
        if command["kind"] == "fetch":
            requests = _Grants(command["ask"], credentials)
        else:
            requests = cycle(questions.query_requests(command["ask"]))
        warm = _Load(calls, requests)
        elapsed = await warm.run(command["callers"], command["warm"])
        if isinstance(requests, _Grants):
            # Half as many again as the warm-up promises; what is missing then is signed on the way.
            per_second = len(warm.latencies) / elapsed
            requests.prepare(int(per_second * command["seconds"] * 1.5) + _AHEAD)
        job.write({"warm": len(warm.latencies)})
        inbox.read()
        measured = _Load(calls, requests)
        before = _own_cpu()
        elapsed = await measured.run(command["callers"], command["seconds"])
        return {
            "elapsed": elapsed,
            "cpu": _own_cpu() - before,
            "latencies": measured.latencies,
            "errors": dict(measured.errors),
            "last_words": measured.last_words,
            "answer": measured.answer.hex() if command.get("keep_answer") else "",
        }


async def stream(command: dict[str, Any], inbox: job.Inbox) -> dict[str, Any]:
    """Takes a server stream from end to end, once; counts parts and bytes, and rows afterwards.

    The parts are not read before the clock has stopped: what is measured is not the caller's own parsing.
    """
    credentials = job.credentials(command["credentials"])
    async with job.channel(command["address"], command["server_name"], credentials) as channel:
        await channel.channel_ready()
        untyped: Any = channel
        call = untyped.unary_stream(command["path"])
        request = questions.stream_request(command, credentials, datetime.now(UTC))
        parts: list[bytes] = []
        size = number = 0
        job.write({"warm": 0})
        inbox.read()
        started = time.perf_counter()
        before = _own_cpu()
        try:
            async for part in call(request, timeout=command["timeout"]):
                number, size = number + 1, size + len(part)
                if command["count_rows"]:
                    parts.append(part)
        except grpc.aio.AioRpcError as error:
            return {"error": error.code().name, "last_words": error.details() or ""}
        elapsed = time.perf_counter() - started
        cpu = _own_cpu() - before
        rows = questions.rows_in(command["kind"], parts) if command["count_rows"] else 0
    return {"elapsed": elapsed, "cpu": cpu, "parts": number, "bytes": size, "rows": rows}


def _own_cpu() -> float:
    times = os.times()
    return times.user + times.system


_COMMANDS = {"load": load, "stream": stream}


def main() -> None:
    """Obeys until the parent is gone."""
    inbox = job.Inbox()
    inbox.read()
    job.write({"ready": True})
    with asyncio.Runner() as runner:
        while True:
            command = inbox.read()
            job.write(runner.run(_COMMANDS[command["op"]](command, inbox)))


if __name__ == "__main__":
    main()
