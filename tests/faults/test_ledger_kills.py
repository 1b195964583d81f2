"""A process killed a hundred times under load: what it acknowledged stays, and the log goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.ledger import Ledger
from tests.faults.ledger_evidence import journalled, require_all, require_sound, seeded, told
from tests.faults.ledger_nursery import Nursery
from tests.unit.audit.ledger_world import append, failure, ledger_in

pytestmark = pytest.mark.fault

KILLS = 50
OPENING_S, COMMIT_S = 0.05, 0.006
"""How long it may take to open the ledger, and to commit once: the kills are spread over it."""


def end_at_random(nursery: Nursery, directory: Path, chance: random.Random) -> int:
    """Kills a child while it opens the ledger, or some answers later; returns how many it is known to have given."""
    pid = nursery.order(directory, "load")
    nursery.go()
    answers = 0 if chance.random() < 0.2 else chance.randint(1, 40)
    said = nursery.said()
    for _ in range(answers):
        assert "answered" in next(said)
    # Not a wait for something: the moment itself is what is tried.
    time.sleep(chance.uniform(0, COMMIT_S if answers else OPENING_S))
    os.kill(pid, signal.SIGKILL)
    *rest, end = said
    assert end == {"ended": -signal.SIGKILL}
    return answers + len(rest)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside-another-process"])
def test_nothing_acknowledged_is_lost_in_fifty_kills_under_load(tmp_path: Path, beside: bool) -> None:
    chance, given = seeded(), 0
    with Nursery() as nursery, ExitStack() as company:
        # Alone, each one's write-ahead log is recovered by the next; beside another, what it held is taken over.
        survivor = company.enter_context(ledger_in(tmp_path, clock=now)) if beside else None
        for _ in range(KILLS):
            given += end_at_random(nursery, tmp_path, chance)
            go_on(tmp_path, survivor)
            answers = told(journalled(tmp_path))
            assert len(answers.checkpoints) >= given, "somebody was told what the journal does not hold"
            size = require_all(tmp_path, answers)
    print(f"{KILLS} kills, {given} answers, {len(answers.hashes)} of {size} records acknowledged")
    assert len(answers.hashes) > 10 * KILLS and len(list(tmp_path.glob("journal-*"))) > KILLS // 2
    assert require_sound(tmp_path) == size + 1


def go_on(directory: Path, survivor: Ledger | None) -> None:
    """Appends a record, in a process that lives on or in one that begins."""
    with nullcontext(survivor) if survivor else ledger_in(directory, clock=now) as ledger:
        append(ledger, failure())


def now() -> datetime:
    return datetime.now(UTC)
