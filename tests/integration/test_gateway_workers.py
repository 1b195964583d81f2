"""Several gateway processes on one port: one ledger, exact quotas, right sums, and nothing left behind."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import sqlalchemy as sa

from audit.ledger import Ledger
from audit.ledger.schema import records
from audit.record import Kind
from audit.verifier.ledger import verify_ledger
from isthmus.v1.exchange_service_pb2 import QueryResponse
from tests.integration.exchange_nodes import Gate
from tests.integration.exchange_parties import query
from tests.integration.exchange_world import World, world_in
from tests.integration.gateway_workers_world import Gateways, gateways, scrape, with_ledger

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

OF_THE_AUDIT_SERVICE = (
    "isthmus_contracts",
    "isthmus_consents",
    "isthmus_ledger_records",
    "isthmus_checkpoint_age_seconds",
)
LIMIT, CALLERS, EACH = 20, 12, 4


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def decided(ledger: Ledger) -> int:
    """How many exchanges the log has a decision of."""
    count = sa.select(sa.func.count()).where(records.c.kind == Kind.DECISION.value)
    with ledger.read() as connection:
        return int(connection.execute(count).scalar_one())


def verified(world: World) -> int:
    """The size of a ledger in which nothing is wrong and which its pin covers to the end."""
    ledger: Any = with_ledger(world, lambda each: (each.verifier_key, each.newest().size))
    found = verify_ledger(
        str(world.folder / "ledger.db"), ledger[0], known=(world.folder / "pin").read_bytes()
    )
    assert found.size == ledger[1]
    return found.size


def gone(pids: list[int]) -> bool:
    """Waits until none of them runs any more; a zombie does not."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if not [pid for pid in pids if psutil.pid_exists(pid) and _runs(pid)]:
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_two_workers_share_a_port_a_quota_and_what_the_metrics_say(world: World) -> None:
    quota = {"window": "TOTAL", "scope": "CONTRACT", "calls": LIMIT, "rows": 0}
    world.agree(legal_basis="PUBLIC_TASK", quotas=[quota])
    with gateways(world, workers=2) as running:

        def ask(_: int) -> list[grpc.StatusCode | None]:
            found: list[grpc.StatusCode | None] = []
            with running.asking() as send:
                for _ in range(EACH):
                    try:
                        send(query(case="1"), timeout=30)
                        found.append(None)
                    except grpc.RpcError as error:
                        found.append(error.code())
            return found

        with ThreadPoolExecutor(CALLERS) as pool:
            answers = [code for codes in pool.map(ask, range(CALLERS)) for code in codes]
        assert answers.count(None) == LIMIT
        assert answers.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == CALLERS * EACH - LIMIT

        workers = running.workers()
        assert len({pid for pid, _ in workers.values()}) == len({port for _, port in workers.values()}) == 2
        scraped = {number: scrape(port) for number, (_, port) in workers.items()}
        asked = [each["isthmus_exchanges_total"] for each in scraped.values()]
        assert min(asked) > 0, f"one worker answered everything: {asked}"
        assert sum(asked) == CALLERS * EACH == with_ledger(world, decided)
        size = with_ledger(world, lambda ledger: ledger.newest().size)
        assert not [name for each in scraped.values() for name in OF_THE_AUDIT_SERVICE if name in each]
        released = [each["isthmus_ledger_batch_size_sum"] for each in scraped.values()]
        assert sum(released) == CALLERS * EACH and min(released) > 0
    assert verified(world) == size


class Caller:
    """Asks on a connection of its own until told to stop, and asks again whatever was answered UNAVAILABLE."""

    def __init__(self, running: Gateways, stop: threading.Event) -> None:
        self.answers: list[QueryResponse] = []
        self.failures: list[grpc.RpcError] = []
        self._running = running
        self._stop = stop

    def ask(self) -> None:
        with self._running.asking() as send:
            while not self._stop.is_set():
                try:
                    self.answers.append(send(query(case="1"), timeout=30))
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        self.failures.append(error)
                    self._stop.wait(0.05)


def test_a_killed_worker_is_replaced_and_callers_notice_nothing_but_unavailable(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    with gateways(world, workers=2) as running:
        running.await_said("serving")
        stop = threading.Event()
        callers = [Caller(running, stop) for _ in range(6)]
        with ThreadPoolExecutor(len(callers)) as pool:
            asking = [pool.submit(each.ask) for each in callers]
            try:
                running.until(lambda: all(each.answers for each in callers))
                for number in (0, 1):
                    pid, _ = running.workers()[number]
                    psutil.Process(pid).kill()
                    ended = running.await_said("worker ended; it will be replaced", times=number + 1)
                    assert (ended["worker"], ended["pid"], ended["status"]) == (number, pid, -signal.SIGKILL)
                    running.await_said("worker serving", times=3 + number)
                    answered = [len(each.answers) for each in callers]
                    running.until(
                        lambda before=answered: all(  # type: ignore[misc]
                            len(each.answers) > count for each, count in zip(callers, before, strict=True)
                        )
                    )
            finally:
                stop.set()
            for each in asking:
                each.result(timeout=60)
        assert not [error for each in callers for error in each.failures]
        ports = {number: port for number, (_, port) in running.workers().items()}
        scraped = {number: scrape(port) for number, port in ports.items()}
        assert [scraped[number]["isthmus_worker_restarts_total"] for number in (0, 1)] == [1, 1]
    size = verified(world)
    exchanges = {answer.exchange for each in callers for answer in each.answers}
    assert len(exchanges) == sum(len(each.answers) for each in callers) <= with_ledger(world, decided) <= size


def test_sigterm_lets_calls_under_way_end_and_leaves_nothing_behind(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    assert world.node is not None
    gate = Gate(world.node)
    with gateways(world, workers=2, more="grace_seconds = 60.0") as running, ExitStack() as stack:
        send = stack.enter_context(running.asking())
        pids = [each.pid for each in running.processes()]
        answer = send.future(query(case="1"), timeout=60)
        assert gate.arrived.wait(30)
        running.process.terminate()
        running.until(lambda: not listens(running.port))
        assert not answer.done()
        gate.opened.set()
        assert answer.result(timeout=30).subject_known
        assert running.process.wait(30) == 0
        assert len(pids) == 2 and gone(pids)
    verified(world)


def test_a_supervisor_that_was_killed_leaves_no_orphan(world: World) -> None:
    with gateways(world, workers=2, more="grace_seconds = 0.5") as running:
        port, pids = running.port, [each.pid for each in running.processes()]
        assert len(pids) == 2 and listens(port)
        running.process.kill()
        assert gone(pids)
        assert not listens(port)
    verified(world)


def test_workers_begin_a_new_log_together_and_end_at_ctrl_c(world: World) -> None:
    world.stop_gateway()
    for path in (*world.folder.glob("ledger.db*"), world.folder / "pin"):
        path.unlink()
    with gateways(world, workers=3) as running:
        running.await_said("serving")
        assert sorted(running.workers()) == [0, 1, 2]
        pids = [each.pid for each in running.processes()]
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0 and gone(pids)
    assert verified(world) == 0


def test_a_worker_that_cannot_start_stops_the_start_in_words(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics = taken.getsockname()[1] - 1
        with gateways(world, workers=2, metrics=metrics) as running:
            pids = [each.pid for each in running.processes()]
            assert running.process.wait(60) == 1
            assert f"refused: worker 1 cannot start: metrics cannot be served at 127.0.0.1:{metrics + 1}" in (
                running.log
            )
            assert gone(pids)


def test_a_port_that_another_gateway_serves_is_refused(world: World) -> None:
    port = world.gateway.port
    with socket.socket() as taken:
        world.stop_gateway()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with gateways(world, workers=2, port=port) as running:
            assert running.process.wait(60) == 1
            assert f"refused: 127.0.0.1:{port} cannot be bound: Address already in use" in running.log
