"""The supervisor of workers, with processes that are up in a moment and do as they are told."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gateway.workers
from gateway.config import Config, ServerSection, load_config
from gateway.held_port import hold_port
from gateway.load import GatewayError
from gateway.worker_process import Assignment, WorkerProcess
from gateway.workers import Supervisor

EXAMPLE = Path(__file__).parents[3] / "deploy" / "gateway.toml"
SERVE = "import os, time; os.write(0, b'{\"metrics_port\": 1}\\n'); os.read(0, 1 << 20); "
UNTIL_ASKED = SERVE + "time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + UNTIL_ASKED
SHORT = SERVE + "time.sleep(0.1)"
NEVER = "raise SystemExit(3)"
SILENT = "import time; time.sleep(60)"


def config(**server: Any) -> Config:
    loaded = load_config(EXAMPLE, environ={})
    changes = {"workers": 2, "grace_seconds": 0.1, "address": "127.0.0.1:8443", **server}
    return replace(loaded, server=replace(loaded.server, **changes))


class Workers:
    """Starts processes that run the program of their turn, the last one over and over."""

    def __init__(self, *programs: str) -> None:
        self._programs = list(programs)
        self.assignments: list[Assignment] = []
        self.started: list[WorkerProcess] = []
        self.moments: list[float] = []
        self.enough = threading.Event()
        self.until = 10**6

    def __call__(self, assignment: Assignment) -> WorkerProcess:
        turn = min(len(self.started), len(self._programs) - 1)
        made = WorkerProcess(assignment, program=["-S", "-E", "-c", self._programs[turn]])
        self.assignments.append(assignment)
        self.started.append(made)
        self.moments.append(time.monotonic())
        if len(self.started) >= self.until:
            self.enough.set()
        return made


@pytest.fixture
def asked() -> Iterator[tuple[socket.socket, socket.socket]]:
    told, tells = socket.socketpair()
    with told, tells:
        yield told, tells


Asked = tuple[socket.socket, socket.socket]


def run_until(programs: Workers, starts: int, asked: Asked, *, serving: bool = False, **server: Any) -> None:
    """Runs a supervisor until so many processes were started, and serve if that is asked, then asks it to end."""
    programs.until = starts
    supervisor = Supervisor(config(**server), asked[0], log_level="INFO", start=programs)
    runner = threading.Thread(target=supervisor.run)
    runner.start()
    assert programs.enough.wait(30)
    deadline = time.monotonic() + 30
    while serving and not all(each.serves for each in programs.started):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    asked[1].send(b"x")
    runner.join(30)
    assert not runner.is_alive()


def test_a_worker_that_ends_is_replaced_under_its_number_and_counted(asked: Asked) -> None:
    workers = Workers(UNTIL_ASKED, SHORT, UNTIL_ASKED)
    run_until(workers, 3, asked)
    assert [(each.number, each.restarts, each.tends) for each in workers.assignments] == [
        (0, 0, True),
        (1, 0, False),
        (1, 1, False),
    ]
    ports = [each.config.metrics.port for each in workers.assignments]
    assert ports == [9464, 9465, 9465]
    for each in workers.started:
        with pytest.raises(ProcessLookupError):
            os.kill(each.pid, 0)


def test_the_pauses_before_replacements_grow_to_a_bound(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.workers, "_LONGEST_PAUSE_S", 0.5)
    workers = Workers(SHORT)
    run_until(workers, 6, asked, workers=1)
    pauses = [after - before for before, after in zip(workers.moments, workers.moments[1:], strict=False)]
    assert pauses[0] >= 0.2 and pauses[1] >= 0.4 and min(pauses[2:]) >= 0.5


def test_one_that_cannot_start_at_first_ends_the_others_and_the_start(asked: Asked) -> None:
    workers = Workers(UNTIL_ASKED, NEVER)
    with pytest.raises(GatewayError, match="worker 1 cannot start: it ended with status 3"):
        Supervisor(config(), asked[0], log_level="INFO", start=workers).run()
    assert len(workers.started) == 2


def test_it_gives_up_when_none_serves_and_none_can_be_replaced(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.workers, "_LONGEST_PAUSE_S", 0.01)
    workers = Workers(SHORT, SHORT, NEVER)
    with pytest.raises(GatewayError, match="cannot start"):
        Supervisor(config(), asked[0], log_level="INFO", start=workers).run()
    assert 6 <= len(workers.started) <= 10


def test_it_goes_on_as_long_as_one_serves(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.workers, "_LONGEST_PAUSE_S", 0.01)
    workers = Workers(UNTIL_ASKED, SHORT, NEVER)
    run_until(workers, 12, asked)


def test_one_that_never_says_that_it_serves_is_ended(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.workers, "_SERVES_WITHIN_S", 0.3)
    monkeypatch.setattr(gateway.workers, "_LOOK_EVERY_S", 0.05)
    with pytest.raises(GatewayError, match=f"status -{int(signal.SIGKILL)} before it served"):
        Supervisor(config(workers=1), asked[0], log_level="INFO", start=Workers(SILENT)).run()


def test_one_that_does_not_end_when_asked_is_killed(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.workers, "END_MARGIN_S", 0.3)
    workers = Workers(DEAF)
    run_until(workers, 2, asked, serving=True)
    assert [each.end(0) for each in workers.started] == [True, True], "they ended before"


# ---- The port


def section(address: str, **changes: Any) -> ServerSection:
    return replace(config().server, address=address, **changes)


def listening(port: int) -> socket.socket:
    """A listener as gRPC makes one that shares its port."""
    made = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


def test_port_0_is_one_port_for_all_workers_and_takes_no_connection_itself() -> None:
    held, chosen = hold_port(section("127.0.0.1:0"))
    with held:
        port = int(chosen.address.rpartition(":")[2])
        assert chosen.reuse_port and port
        for _ in range(2):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        with listening(port), listening(port):
            for _ in range(20):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_port_that_is_served_can_be_shared_only_on_purpose() -> None:
    with listening(0) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(GatewayError, match="Address already in use"):
            hold_port(section(address))
        held, chosen = hold_port(section(address, reuse_port=True))
        held.close()
        assert chosen.address == address


@pytest.mark.parametrize(
    "address", ["unix:/run/gateway", "gateway", "127.0.0.1:70000", "127.0.0.1:x", "192.0.2.1:1"]
)
def test_an_address_that_cannot_be_shared_is_refused_in_words(address: str) -> None:
    with pytest.raises(GatewayError, match="host:port|cannot be bound"):
        hold_port(section(address))


def test_ipv6_addresses_keep_their_brackets() -> None:
    try:
        held, chosen = hold_port(section("[::1]:0"))
    except GatewayError:
        pytest.skip("this machine has no IPv6")
    held.close()
    assert chosen.address.startswith("[::1]:")
