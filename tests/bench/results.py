"""What was found: the figures of issue 4, their goals, and everything they were made of."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from isthmus.demo.errors import DemoError
from isthmus.errors import IsthmusError
from tests.bench.peers import COSTS, Samples
from tests.bench.plan import Plan
from tests.bench.processes import BenchError
from tests.bench.stats import Spread, differences, paired, rounded

CALLERS: Final = 32
"""At how many callers the goals are set."""
ALONE: Final = 1


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: the figure, its key in bench.json, and the limit that it must not pass."""

    key: str
    figure: str
    limit: float
    at_least: bool
    unit: str = ""
    strict: bool = False

    @property
    def words(self) -> str:
        """The limit for people."""
        sign = "≥" if self.at_least else "<" if self.strict else "≤"
        return f"{sign} {self.limit:,g}{self.unit}"

    def reached(self, value: float) -> bool:
        """Whether a value meets it."""
        if value == self.limit:
            return not self.strict
        return (value > self.limit) == self.at_least


GOALS: Final = (
    Goal("cpu_vs_bare_proxy", "gateway CPU per Query at 32 callers, everything on ÷ (b)'s", 1.0, False),
    Goal("throughput_vs_direct", "throughput at 32 callers ÷ direct call (a)", 0.6, True),
    Goal(
        "cpu_vs_envoy_ext_authz", "gateway CPU per Query ÷ (d)'s Envoy + ext_authz CPU together", 1.0, False
    ),
    Goal("added_p50_ms", "added p50 at one caller over (b), durable commit included", 2.0, False, " ms"),
    Goal("batch_subjects_per_s", "BatchQuery of 1,000 subjects", 30_000, True, " subjects/s"),
    Goal("stream_vs_direct", "Stream, Arrow ÷ the same rows straight from the node", 0.8, True),
    Goal("stream_rows_per_s", "Stream, Arrow", 500_000, True, " rows/s"),
    Goal("scale_cost_ratio", "Query cost with the large state ÷ with the small one", 1.2, False),
    Goal(
        "stream_peak_mib", "memory of a gateway worker during a long stream", 250, False, " MiB", strict=True
    ),
)
KEYS: Final = tuple(goal.key for goal in GOALS)


class Results:
    """Collects; `document()` is what bench.json holds."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.samples: Samples = {}
        self.spreads: dict[str, Spread] = {}
        self.reasons: dict[str, str] = {}
        self.raw: dict[str, Any] = {}
        self.failed = False

    def value(self, key: str) -> float | None:
        """A figure; None when it was not measured, and `reason` says why."""
        spread = self.spreads.get(key, Spread())
        return rounded(spread.median)

    @contextmanager
    def going_on(self, *keys: str) -> Iterator[None]:
        """Notes a failure inside as the reason why `keys` are missing, so that the rest is measured all the same."""
        try:
            yield
        except (BenchError, DemoError, IsthmusError, OSError, sqlite3.Error) as error:
            self.failed = True
            self.raw.setdefault("failures", []).append(str(error))
            self.reasons |= dict.fromkeys(keys, str(error))

    def reason(self, key: str) -> str:
        """Why a figure is missing."""
        return self.reasons.get(key, "not asked for in this run")

    def take_samples(self, samples: Samples) -> None:
        """Takes what the peers needed, and makes the ratios of it."""
        self.samples = samples
        cpu, per_second, p50 = self._cpu, self._throughput, self._p50
        found = {
            "cpu_vs_bare_proxy": paired(cpu("gateway"), cpu("proxy")),
            "cpu_vs_proxy_before_node": paired(cpu("gateway"), cpu("proxy_node")),
            "cpu_vs_envoy": paired(cpu("gateway"), cpu("envoy")),
            "cpu_vs_envoy_ext_authz": paired(cpu("gateway"), cpu("envoy_authz")),
            "cpu_by_law_vs_bare_proxy": paired(cpu("statute"), cpu("proxy")),
            "throughput_vs_direct": paired(per_second("gateway"), per_second("direct")),
            "added_p50_ms": differences(p50("gateway"), p50("proxy_node")),
            "added_p50_ms_over_fixed_answer": differences(p50("gateway"), p50("proxy")),
        }
        self.spreads |= {name: spread for name, spread in found.items() if spread.values}

    def _at(self, key: str, callers: int) -> list[Any]:
        return self.samples.get(key, {}).get(callers, [])

    def _cpu(self, key: str) -> list[float]:
        return [each.cpu_us(COSTS[key]) for each in self._at(key, CALLERS)]

    def _throughput(self, key: str) -> list[float]:
        return [each.throughput for each in self._at(key, CALLERS)]

    def _p50(self, key: str) -> list[float]:
        return [each.p50 for each in self._at(key, ALONE)]

    def document(self) -> dict[str, Any]:
        """Everything, for JSON: every key of the goals at the top, null with a reason when not measured."""
        values = {key: self.value(key) for key in KEYS}
        return {
            **values,
            "missing": {key: self.reason(key) for key, value in values.items() if value is None},
            "goals": [self._goal(goal, values[goal.key]) for goal in GOALS],
            "spreads": {name: spread.document() for name, spread in sorted(self.spreads.items())},
            "raw": {"peers": self._peers(), **self.raw},
            "quick": self.plan.quick,
            "plan": asdict(self.plan),
            "machine": machine(),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _goal(self, goal: Goal, value: float | None) -> dict[str, Any]:
        met = None if value is None else goal.reached(value)
        return {"key": goal.key, "figure": goal.figure, "goal": goal.words, "reached": value, "met": met}

    def _peers(self) -> Mapping[str, Any]:
        return {
            key: {str(callers): [each.document() for each in found] for callers, found in by_callers.items()}
            for key, by_callers in self.samples.items()
        }

    def write(self, path: Path) -> None:
        """Writes the document."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document(), ensure_ascii=False, indent=2)
        path.write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "load_average": os.getloadavg(),
    }
