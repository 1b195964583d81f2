"""Ten times what the gateway can serve, for half a minute: it refuses what is too much and loses nothing of the rest."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from gateway.load import open_ledger
from isthmus.errors import Reason
from isthmus.pki import pinned_to
from isthmus.status import from_rpc_error
from isthmus.v1.exchange_service_pb2 import QueryResponse
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from tests.faults.test_gateway_sigkill import check, free_port, gateway_process, write_config
from tests.integration.exchange_parties import GATEWAY, SYSTEM, now, query
from tests.integration.exchange_world import World, world_in

pytestmark = [pytest.mark.fault, pytest.mark.e2e, pytest.mark.timeout(300)]

CALLERS, CALM_S, FLOOD_S, TIMES = 16, 3.0, 30.0, 10
TICK_S = 0.02
UNDER_WAY_AT_MOST = 3_000
"""Calls that this process keeps open, so that the test itself is bounded; far more than the gateway takes at once."""
RETRYABLE = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass
class Load:
    """What came of the calls of one phase: answers, and for each refusal its code and seconds."""

    answers: list[QueryResponse] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    refused: list[tuple[grpc.StatusCode, Reason, float]] = field(default_factory=list)


class Source:
    """Makes calls from one connection."""

    def __init__(self, world: World, port: int) -> None:
        options = (*pinned_to(GATEWAY), ("grpc.max_reconnect_backoff_ms", 200))
        credentials = world.credentials(SYSTEM).channel_credentials()
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        self._query: Any = ExchangeServiceStub(self._channel).Query  # type: ignore[arg-type]  # aio

    async def ask(self, load: Load, *, timeout: float = 10) -> None:
        started = time.monotonic()
        try:
            answer = await self._query(query(), timeout=timeout)
        except grpc.RpcError as error:
            took = time.monotonic() - started
            load.refused.append((error.code(), from_rpc_error(error).reason, took))
        else:
            load.answers.append(answer)
            load.answered_s.append(time.monotonic() - started)

    async def calm(self) -> Load:
        """A few callers, each waiting for its answer: what can be sustained."""
        load, end = Load(), time.monotonic() + CALM_S

        async def caller() -> None:
            while time.monotonic() < end:
                await self.ask(load)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return load

    async def flood(self, per_second: float) -> Load:
        """Calls at a steady rate, whoever waits for whatever."""
        load, open_calls = Load(), set[asyncio.Task[None]]()
        started = time.monotonic()
        begun = 0
        while (elapsed := time.monotonic() - started) < FLOOD_S:
            due = int(elapsed * per_second) - begun
            for _ in range(min(due, UNDER_WAY_AT_MOST - len(open_calls))):
                task = asyncio.create_task(self.ask(load))
                open_calls.add(task)
                task.add_done_callback(open_calls.discard)
            begun += due
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*open_calls)
        return load

    async def recovered(self) -> None:
        """Asks again and again, as one who was refused does, until a call is answered."""
        load = Load()
        async with asyncio.timeout(10):
            while not load.answers:
                await self.ask(load)

    async def connected(self) -> None:
        await asyncio.wait_for(self._channel.channel_ready(), timeout=30)

    async def close(self) -> None:
        await self._channel.close(None)


async def flooded(world: World, port: int, gateway: psutil.Process) -> tuple[Load, Load, Load, list[int]]:
    """Calm, flood, calm; and the gateway's memory in bytes, before the flood and while it lasts."""
    source = Source(world, port)
    await source.connected()
    before = await source.calm()
    sizes = [gateway.memory_info().rss]
    watching = asyncio.create_task(_watch(gateway, sizes))
    flood = await source.flood(TIMES * len(before.answers) / CALM_S)
    watching.cancel()
    await source.recovered()
    after = await source.calm()
    await source.close()
    return before, flood, after, sizes


async def _watch(gateway: psutil.Process, sizes: list[int]) -> None:
    while True:
        sizes.append(gateway.memory_info().rss)
        await asyncio.sleep(0.5)


def _halves(sizes: list[int]) -> Iterator[int]:
    middle = len(sizes) // 2
    yield max(sizes[:middle])
    yield max(sizes[middle:])


def test_a_flood_is_refused_quickly_and_costs_no_answer_and_no_memory(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.consent(world.agree())
        world.stop_gateway()
        port = free_port()
        with gateway_process(write_config(world, port), port) as process:
            gateway = psutil.Process(process.pid)
            before, flood, after, sizes = asyncio.run(flooded(world, port, gateway))
        ledger = open_ledger(world.config, clock=now)
        try:
            check(ledger, [*before.answers, *flood.answers, *after.answers])
        finally:
            ledger.close()
    assert not before.refused
    assert flood.answers
    assert len(flood.refused) > len(flood.answers)
    assert {code for code, _, _ in flood.refused} <= RETRYABLE
    overloaded = [took for _, reason, took in flood.refused if reason is Reason.OVERLOADED]
    assert statistics.median(overloaded) < statistics.median(flood.answered_s)
    first, second = _halves(sizes)
    assert second < 1.25 * first, "memory still grows in the second half of the flood"
    assert after.answers
    assert not after.refused
