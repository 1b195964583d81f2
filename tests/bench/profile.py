"""Where the gateway's time goes, by py-spy, from outside and without changing the process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from tests.bench import town
from tests.bench.load import measure, query_target
from tests.bench.processes import Job
from tests.bench.results import CALLERS, Results
from tests.bench.site import Office, Site

Report = Callable[[str], None]
_PER_SECOND: Final = 250
_MOST: Final = 25
_SECONDS: Final = 10.0


def profile(site: Site, office: Office, caller: Job, results: Results, report: Report) -> None:
    """Samples the threads that hold the interpreter's lock while 32 callers ask."""
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if found is None:
        results.raw["profile"] = {"missing": "py-spy is not installed; `make bench` installs it"}
        return
    report("profile of the gateway")
    out = site.folder / "profile.txt"
    ask = {"contract": town.CONSENTED, "subjects": results.plan.subjects}
    target = query_target(site, office, ask, title="Isthmus Query")
    command = [found, "record", "--gil", "--format", "raw", "--rate", str(_PER_SECOND)]
    command += ["--duration", str(int(_SECONDS)), "--pid", str(office.pid), "--output", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
        try:
            measure(caller, target, callers=CALLERS, seconds=_SECONDS, warm=1.0)
            spy.wait(3 * _SECONDS)
        finally:
            spy.kill()
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    results.raw["profile"] = shares(lines) or {
        "missing": "py-spy saw nothing; it may not trace processes here"
    }


def shares(lines: Iterable[str]) -> dict[str, Any]:
    """Of stacks as py-spy writes them, `outer;inner 12`: the share of each function, with and without what it calls.

    Functions are named as py-spy does, without their line numbers. Empty when there are no stacks.
    """
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" if ":" in frame else frame for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            cumulative[frame] += int(count)
    total = own.total()
    if not total:
        return {}
    return {
        "samples": total,
        "own": {name: round(count / total, 4) for name, count in own.most_common(_MOST)},
        "with_what_it_calls": {
            name: round(count / total, 4) for name, count in cumulative.most_common(2 * _MOST)
        },
    }
