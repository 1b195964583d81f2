"""However many ask a witness at once, and whenever it is killed: all it ever cosigned is one history."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audit.http import HttpPost, Unreachable
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.keys import SignerKey
from audit.witness.protocol import PATH, SIZE_TYPE, AddCheckpoint, parse_size
from tests.faults.witness_process import WitnessHere
from tests.unit.audit.witness_world import LOG, SIGNER, History, leaves

pytestmark = pytest.mark.fault

MOST, RACES = 40, 60
TRUE, FORK = History(leaves(MOST)), History(leaves(MOST, fork_at=1))


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessHere]:
    here = WitnessHere(tmp_path / "witness", SIGNER, LOG.verifier.encode())
    assert here.command("init").returncode == 0
    yield here
    here.end()


def send(url: str, body: bytes) -> tuple[int, bytes, str]:
    """Status, body and type of an answer."""
    answer = HttpPost(10.0)(url + PATH, body, kind="text/plain", most=10_000)
    return answer.status, answer.body, answer.kind


class Pushers:
    """Threads that push two histories of one log to a witness, and remember all that it cosigned."""

    def __init__(self, urls: list[str], *, threads: int = 4) -> None:
        self.cosigned: list[tuple[int, bytes]] = []
        self._lock, self._stopping = threading.Lock(), threading.Event()
        histories = (TRUE, FORK)
        self._threads = [
            threading.Thread(target=self._push, args=(urls[number % len(urls)], histories[number % 2]))
            for number in range(threads)
        ]

    def run(self, seconds: float) -> None:
        """Push for so long, or until everybody has come to an end."""
        for thread in self._threads:
            thread.start()
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _push(self, url: str, history: History) -> None:
        old, chance = 0, random.Random(threading.get_ident())
        while not self._stopping.is_set():
            size = min(MOST, max(1, old + chance.randint(0, 3)))
            try:
                status, body, kind = send(
                    url, AddCheckpoint(old, history.proof(old, size), history.note(size)).encode()
                )
            except Unreachable:
                return
            if status == 200:
                signed = open_checkpoint(history.note(size) + body, LOG.verifier, witnesses=[SIGNER.verifier])
                assert signed.note.signed_by(SIGNER.verifier)
                with self._lock:
                    self.cosigned.append((size, history.root(size)))
                old = size
            elif kind == SIZE_TYPE:
                old = parse_size(body)


def require_one_history(cosigned: list[tuple[int, bytes]]) -> None:
    """All of it belongs to one of the two histories; from size 2 on they differ."""
    assert cosigned
    both = [{(size, history.root(size)) for size, _ in cosigned} for history in (TRUE, FORK)]
    assert set(cosigned) <= both[0] or set(cosigned) <= both[1]


@pytest.mark.parametrize("processes", [1, 2])
def test_of_two_forks_that_come_at_once_one_is_cosigned(tmp_path: Path, processes: int) -> None:
    # Until a log's second record both are possible, so each log can be raced for once: many logs, one race each.
    keys = [
        SignerKey.from_seed(f"log.example/{number}", (1000 + number).to_bytes(32, "big"))
        for number in range(RACES)
    ]
    here = WitnessHere(tmp_path / "many", SIGNER, *(key.verifier.encode() for key in keys))
    assert here.command("init").returncode == 0
    try:
        urls = [here.start()[1] for _ in range(processes)]
        with ThreadPoolExecutor(2) as pool:
            for key in keys:
                histories = [History(leaves(3, fork_at=fork), key) for fork in (None, 1)]
                assert send(urls[0], histories[0].request(0, 1))[0] == 200
                together = threading.Barrier(2)

                def race(history: History, url: str, together: threading.Barrier = together) -> int:
                    body = history.request(1, 3)
                    together.wait(10)
                    return send(url, body)[0]

                found = sorted(pool.map(race, histories, (urls[0], urls[-1])))
                assert found == [200, 409]
    finally:
        here.end()


def test_a_witness_killed_before_its_answer_remembers_what_it_was_about_to_say(witness: WitnessHere) -> None:
    process, url = witness.start(deadly=True)
    with pytest.raises(Unreachable):
        send(url, TRUE.request(0, 5))
    assert process.wait(10) == -signal.SIGKILL
    _, url = witness.start()
    assert send(url, FORK.request(0, 5))[:2] == (409, b"5\n")
    assert send(url, FORK.request(5, 5))[0] == 409
    assert send(url, FORK.request(5, 9))[0] == 422
    assert send(url, TRUE.request(5, 5))[0] == 200
    assert send(url, TRUE.request(5, 9))[0] == 200


def test_a_witness_killed_again_and_again_never_cosigns_a_second_history(witness: WitnessHere) -> None:
    cosigned: list[tuple[int, bytes]] = []
    for number in range(8):
        process, url = witness.start()
        pushers = Pushers([url])
        killer = threading.Timer(0.05 + 0.04 * number, process.kill)
        killer.start()
        pushers.run(5.0)
        killer.join()
        cosigned += pushers.cosigned
    require_one_history([each for each in cosigned if each[0] > 1])


def test_a_witness_without_its_memory_does_not_start(witness: WitnessHere) -> None:
    (witness.config.parent / "memory" / "witness.db").unlink()
    refused = witness.command()
    assert refused.returncode == 1 and "no memory of this witness" in refused.stderr
