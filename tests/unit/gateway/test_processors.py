"""Which processors a gateway process keeps to."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from gateway.load import GatewayError
from gateway.processors import keep_to

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="only Linux lets a process choose"
)


def after(processors: Sequence[int], worker: int) -> set[int]:
    """Where another process, and a thread that it starts afterwards, may run."""
    script = (
        "import os, sys, threading\n"
        "from gateway.processors import keep_to\n"
        f"keep_to({list(processors)}, {worker})\n"
        "thread = threading.Thread(target=lambda: print(*os.sched_getaffinity(0)))\n"
        "thread.start(); thread.join()\n"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return {int(each) for each in found.stdout.split()}


def test_workers_take_the_processors_in_turn() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert [after(allowed, worker) for worker in range(3)] == [
        {allowed[worker % len(allowed)]} for worker in range(3)
    ]


def test_none_leaves_the_choice_to_the_system() -> None:
    assert after([], 0) == os.sched_getaffinity(0)


def test_a_processor_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        GatewayError, match=rf"may not run on 4095; there are .*{max(os.sched_getaffinity(0))}"
    ):
        keep_to([4095])
