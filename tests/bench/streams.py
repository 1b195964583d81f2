"""Batches and streams: how fast rows go through the gateway, and how much memory that takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from isthmus.demo.parties import GATEWAY
from tests.bench import town
from tests.bench.plan import Plan
from tests.bench.processes import BenchError, Job, cpu_seconds, resident_bytes
from tests.bench.questions import BATCH_PATH, ROWS_PATH, STREAM_PATH
from tests.bench.results import Results
from tests.bench.site import NODE, Office, Site
from tests.bench.stats import Spread, paired

Report = Callable[[str], None]
_TIMEOUT_S: Final = 600.0
_MIB: Final = 1 << 20
_BATCHES: Final = 5
"""Batches in each round: one takes a few dozen milliseconds."""


class NotServed(Exception):
    """A method answered with an error. The message is its status and its words."""


class Streams:
    """Asks for server streams, and measures the processes meanwhile."""

    def __init__(self, site: Site, office: Office, caller: Job, plan: Plan) -> None:
        self._caller = caller
        self._plan = plan
        self._pids = {"gateway": office.pid, "node": site.node.process.pid}
        gateway = {
            "address": office.address,
            "server_name": site.name(GATEWAY),
            "credentials": site.files(town.SYSTEM),
        }
        straight = {
            "address": site.node_address,
            "server_name": site.name(NODE),
            "credentials": site.files(GATEWAY),
            "ask": office.terms[town.BULK].ask(),
        }
        subjects = min(plan.batch, plan.subjects)
        batch_ask = {"contract": town.CONSENTED, "subjects": subjects}
        self._commands: dict[str, dict[str, Any]] = {
            "batch": {**gateway, "path": BATCH_PATH, "ask": batch_ask},
            "gateway": {**gateway, "path": STREAM_PATH, "ask": {"contract": town.BULK}},
            "node": {**straight, "path": ROWS_PATH},
        }
        self.expected = {"batch": subjects, "gateway": plan.rows, "node": plan.rows}

    def once(self, kind: str, *, count_rows: bool = True) -> dict[str, Any]:
        """Takes a stream from end to end; `kind` is `batch`, `gateway` or `node`.

        Raises:
            NotServed: it ended with an error.
            BenchError: it ended well, with other rows than there are.
        """
        command = {"op": "stream", "kind": kind, "count_rows": count_rows, "timeout": _TIMEOUT_S}
        self._caller.tell(command | self._commands[kind])
        self._caller.hear()
        before = {name: cpu_seconds([pid]) for name, pid in self._pids.items()}
        self._caller.tell({"go": True})
        found: dict[str, Any] = self._caller.hear()
        if "error" in found:
            raise NotServed(f"{found['error']}: {found['last_words']}"[:200])
        if count_rows and found["rows"] != self.expected[kind]:
            raise BenchError(f"{kind} brought {found['rows']} rows where there are {self.expected[kind]}")
        rows = self.expected[kind]
        cpu = {name: (cpu_seconds([pid]) - before[name]) / rows * 1e6 for name, pid in self._pids.items()}
        return found | {"rows_per_s": rows / found["elapsed"], "cpu_us_per_row": cpu}


def batch(streams: Streams, results: Results, plan: Plan, report: Report) -> None:
    """How many subjects a second a BatchQuery answers, one batch after the other."""
    report("BatchQuery")
    try:
        streams.once("batch")
        found = [streams.once("batch") for _ in range(_BATCHES * plan.rounds)]
    except NotServed as error:
        results.reasons["batch_subjects_per_s"] = str(error)
        return
    results.spreads["batch_subjects_per_s"] = Spread(tuple(each["rows_per_s"] for each in found))
    results.raw["batch"] = {
        "subjects": streams.expected["batch"],
        "batches": [_plain(each) for each in found],
    }


def stream(streams: Streams, results: Results, plan: Plan, report: Report) -> None:
    """Rows a second through the gateway and straight from the node, in turns, after one stream that does not count."""
    found: dict[str, list[dict[str, Any]]] = {"gateway": [], "node": []}
    try:
        streams.once("gateway")
        for turn in range(plan.rounds):
            for kind, measured in found.items():
                report(f"Stream, round {turn + 1} of {plan.rounds}: {plan.rows:,} rows, {kind}")
                measured.append(streams.once(kind))
    except NotServed as error:
        results.reasons |= dict.fromkeys(("stream_rows_per_s", "stream_vs_direct"), f"{kind}: {error}")
        return
    through, straight = ([each["rows_per_s"] for each in found[kind]] for kind in ("gateway", "node"))
    results.spreads["stream_rows_per_s"] = Spread(tuple(through))
    results.spreads["stream_direct_rows_per_s"] = Spread(tuple(straight))
    results.spreads["stream_vs_direct"] = paired(through, straight)
    results.raw["stream"] = {
        "rows": plan.rows,
        **{kind: [_plain(each) for each in measured] for kind, measured in found.items()},
    }


def memory(streams: Streams, gateway: int, results: Results, plan: Plan, report: Report) -> None:
    """The most memory that a gateway holds while streams pass through it one after the other.

    Args:
        streams: where to ask.
        gateway: the process that is watched.
        results: what is found goes here.
        plan: how much passes through, and for how long at most.
        report: is told how far it is.
    """
    passed, number, started = 0, 0, time.monotonic()
    at_rest = resident_bytes([gateway])
    with _Watch(gateway) as watch:
        try:
            while passed < plan.stream_bytes and time.monotonic() - started < plan.stream_seconds:
                report(f"memory: {passed / _MIB:,.0f} MiB have passed")
                found = streams.once("gateway", count_rows=False)
                passed, number = passed + found["bytes"], number + 1
        except NotServed as error:
            results.reasons["stream_peak_mib"] = str(error)
            return
    results.spreads["stream_peak_mib"] = Spread((watch.peak / _MIB,))
    results.raw["memory"] = {
        "streamed_mib": round(passed / _MIB, 1),
        "streams": number,
        "at_rest_mib": round(at_rest / _MIB, 1),
        "peak_mib": round(watch.peak / _MIB, 1),
        "peak_of_each_tenth_mib": watch.tenths(),
    }


class _Watch:
    """Looks at a process's memory ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def peak(self) -> int:
        """The most that was seen, in bytes."""
        return max(self._seen, default=0)

    def tenths(self) -> list[float]:
        """The most of each tenth of the time, in MiB: a leak rises from one to the next."""
        length = max(1, len(self._seen) // 10)
        parts = (self._seen[start : start + length] for start in range(0, len(self._seen), length))
        return [round(max(part) / _MIB, 1) for part in parts][:10]

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self._seen.append(resident_bytes([self._pid]))

    def __enter__(self) -> Self:
        self._seen.append(resident_bytes([self._pid]))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("elapsed", "cpu", "parts", "bytes", "rows_per_s", "cpu_us_per_row")
    return {name: found[name] for name in names}
