"""Every system call by which a ledger writes fails once, fails from there on, or is not survived: nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.ledger_evidence import journalled, require_all, require_sound, seeded, told
from tests.faults.ledger_nursery import TRAINS, Nursery
from tests.faults.ledger_strace import READS, Course, Harm, require_right_to_trace, watch

pytestmark = pytest.mark.fault

KILL = "signal=KILL"
HARMS = ("error=EIO", "error=ENOSPC", KILL)
SAMPLE = 10_000 if os.environ.get("FAULT_SYSCALLS") == "all" else 18
"""Of the hundred and more calls of one kind, how many are harmed in each way; of rarer kinds each one is."""
LASTING = 2
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """What a child finds, and the calls that it then makes when nothing happens to it."""

    found: Path
    unharmed: Course

    def harms(self, chance: random.Random) -> list[Harm]:
        """What is to happen, in any order."""
        plan = list[Harm]()
        for call, count in self.unharmed.most().items():
            step = max(1, count // SAMPLE)
            for harm in HARMS[:1] if call in READS else HARMS:
                plan += [Harm(call, when, harm) for when in range(chance.randint(1, step), count + 1, step)]
                if harm != KILL:
                    plan += [Harm(call, chance.randint(1, count), harm, lasting=True) for _ in range(LASTING)]
        chance.shuffle(plan)
        return plan


@pytest.fixture(scope="module", params=["new", "left by a killed process"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """An empty directory, or one whose write-ahead log the next process recovers."""
    found = tmp_path_factory.mktemp("found")
    unharmed = found.with_name(f"{found.name}-unharmed")
    with Nursery() as nursery:
        require_right_to_trace(nursery)
        if request.param != "new":
            pid = nursery.order(found, "load")
            nursery.go()
            said = nursery.said()
            assert all("answered" in next(said) for _ in range(5))
            os.kill(pid, signal.SIGKILL)
            list(said)
        shutil.copytree(found, unharmed)
        return Scene(found, watch(nursery, unharmed))


def test_every_answer_waits_until_its_records_and_the_pin_until_its_bytes_are_synced(scene: Scene) -> None:
    assert require_synced(scene.unharmed) == TRAINS
    calls = list(scene.unharmed.calls())
    for thread in {call.thread for call in calls}:
        pins = [
            call
            for call in calls
            if call.thread == thread and (call.name in ("write", "fsync") or "/pin" in call.arguments)
        ]
        steps = [call.name.removesuffix("2").removesuffix("at") for call in pins]
        assert steps == ["write", "fsync", "rename", "fsync"] * (len(pins) // 4)
        assert all(".pin.new>" in call.arguments for call in pins[0::4] + pins[1::4])


def require_synced(course: Course) -> int:
    """No answer before the write-ahead log was synced behind what was written to it. Returns the number of answers.

    What a process that is killed cannot show: the kernel keeps for it what only a loss of power would take.
    """
    answers, synced, written = 0, True, False
    for call in course.calls():
        if "acknowledged" in call.arguments:
            assert synced, "answered before it was synced"
            answers += 1
        elif "ledger.db-wal>" in call.arguments and call.name == "pwrite64":
            synced, written = False, True
        elif "ledger.db-wal>" in call.arguments and call.name == "fdatasync":
            # What a failed sync may have dropped is not there for the next one: it has to be written again.
            synced, written = synced or (written and call.result == "0"), False
    return answers


@pytest.mark.timeout(300)
def test_no_failed_call_and_no_death_at_one_loses_or_invents_anything(scene: Scene, tmp_path: Path) -> None:
    plan = scene.harms(seeded())

    def work(number: int) -> Counter[str]:
        met = Counter[str]()
        with Nursery() as nursery:
            for each, harm in enumerate(plan[number::WORKERS]):
                directory = tmp_path / f"{number}-{each}"
                shutil.copytree(scene.found, directory)
                course = watch(nursery, directory, harm)
                try:
                    judge(directory, harm, course)
                except AssertionError as error:
                    raise AssertionError(f"{harm} in {directory}: {error}; said {course.said}") from error
                met[f"{harm.call} {harm.what}{' and so on' * harm.lasting}"] += course.met
                shutil.rmtree(directory)
        return met

    with ThreadPoolExecutor(WORKERS) as pool:
        met = sum(pool.map(work, range(WORKERS)), Counter[str]())
    print(f"{len(plan)} courses, harm met in {met.total()}: {dict(sorted(met.items()))}")
    # How often the pin is written depends on the time it takes.
    assert met.total() > 0.9 * len(plan)


def judge(directory: Path, harm: Harm, course: Course) -> None:
    """Whatever was acknowledged is there, refusals said that trying again helps, and it did."""
    killed = harm.what == KILL and course.met
    assert course.ended == (-signal.SIGKILL if killed else 0)
    assert require_synced(course) == sum("acknowledged" in line for line in course.said)
    assert {line["refused"] for line in course.said if "refused" in line} <= {"LedgerUnavailable"}
    answers = told([*journalled(directory), *course.said])
    if not killed and not harm.lasting:
        assert sum("acknowledged" in line for line in course.said) == TRAINS
        assert sum("opened" in line for line in course.said) == 1, "it did not go on by itself"
    if (directory / "pin").exists():
        require_all(directory, answers)
        assert require_sound(directory) > len(answers.hashes)
    else:
        assert not answers.hashes
