"""Writes the measured figures into docs/PERFORMANCE.md, between its two marks.

`python -m tests.bench.document` takes build/bench.json; a second argument names another document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.peers import COSTS, TITLES
from tests.bench.processes import ROOT
from tests.bench.stats import words

BEGIN: Final = "<!-- begin of the figures: written by `python -m tests.bench.document`, not by hand -->"
END: Final = "<!-- end of the figures -->"
_MOST_SHARES: Final = 30
_OTHER_FIGURES: Final = {
    "cpu_by_law_vs_bare_proxy": "the same as the first, under a contract that needs no consent",
    "cpu_vs_proxy_before_node": "gateway CPU per Query ÷ that of (b')",
    "cpu_vs_envoy": "gateway CPU per Query ÷ that of (c)",
    "added_p50_ms_over_fixed_answer": "added p50 at one caller over (b), which asks no department, ms",
    "scale_cost_ratio_same_questions": "Query cost, large ÷ small, asked the same hundred questions",
    "stream_direct_rows_per_s": "rows/s straight from the node",
    "two_workers_throughput_ratio": "throughput at 128 callers, two workers ÷ one",
}


def figures(found: Mapping[str, Any]) -> str:
    """The figures of a bench.json as Markdown."""
    parts = (_about(found), _goals(found), _others(found), _peers(found), _profile(found))
    return "\n\n".join(part for part in parts if part)


def insert(document: str, text: str) -> str:
    """A document with `text` between its marks instead of what is there.

    Raises:
        ValueError: the document lacks a mark.
    """
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    if BEGIN not in document or END not in rest:
        raise ValueError("the document lacks the marks between which the figures go")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(found: Mapping[str, Any]) -> str:
    machine, plan = found["machine"], found["plan"]
    states = " against ".join(
        f"{state['consents']:,} consents, {state['contracts']:,} contracts, {state['records']:,} records"
        for state in (plan["large"], plan["small"])
    )
    quick = " A quick run: it only hints at the figures." if found["quick"] else ""
    return (
        f"Measured {found['measured_at']} on {machine['cpus']} × {machine['cpu']}, {machine['system']}, Python "
        f"{machine['python']}, grpcio {machine['grpcio']}; {plan['rounds']} rounds of {plan['seconds']:g} s each."
        f" The states compared: {states}.{quick}"
    )


def _goals(found: Mapping[str, Any]) -> str:
    rows = (
        [
            goal["figure"],
            goal["goal"],
            words(goal["reached"]),
            _around(found, goal["key"]),
            _mark(goal, found),
        ]
        for goal in found["goals"]
    )
    return _table(["figure", "goal", "reached", "min … max", ""], rows)


def _mark(goal: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if goal["met"] is None:
        return str(found["missing"][goal["key"]])
    return "✓" if goal["met"] else "✗"


def _around(found: Mapping[str, Any], key: str) -> str:
    spread = found["spreads"].get(key, {"rounds": 0})
    return f"{words(spread['min'])} … {words(spread['max'])}" if spread["rounds"] > 1 else ""


def _others(found: Mapping[str, Any]) -> str:
    rows = [
        [name, words(found["spreads"][key]["median"]), _around(found, key)]
        for key, name in _OTHER_FIGURES.items()
        if key in found["spreads"]
    ]
    return _table(["besides", "reached", "min … max"], iter(rows)) if rows else ""


def _peers(found: Mapping[str, Any]) -> str:
    rows = [
        [TITLES[key], callers, *_peer(key, rounds)]
        for key, by_callers in found["raw"]["peers"].items()
        for callers, rounds in by_callers.items()
    ]
    head = ["peer", "callers", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "of each process, µs/call"]
    return _table(head, iter(rows)) if rows else ""


def _peer(key: str, rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    def of(name: str) -> float:
        return float(median(each[name] for each in rounds))

    each = {
        name: median(one["cpu_us_per_call"][name] for one in rounds) for name in rounds[0]["cpu_us_per_call"]
    }
    parts = each | {"callers": of("caller_cpu_us_per_call")}
    cost = sum(each[name] for name in COSTS[key])
    return [
        f"{of('throughput_per_s'):,.0f}",
        f"{of('p50_ms'):.2f}",
        f"{of('p99_ms'):.2f}",
        f"{cost:,.0f}",
        ", ".join(f"{name} {value:,.0f}" for name, value in parts.items()),
    ]


def _profile(found: Mapping[str, Any]) -> str:
    shares = found["raw"].get("profile", {}).get("with_what_it_calls", {})
    if not shares:
        return ""
    rows = ([f"{share:.1%}", f"`{name}`"] for name, share in list(shares.items())[:_MOST_SHARES])
    return _table(["of the time", "in, with what it calls"], rows)


def main(arguments: Sequence[str]) -> None:
    """Writes the figures of one file into another."""
    source = Path(arguments[0]) if arguments else ROOT / "build" / "bench.json"
    target = Path(arguments[1]) if len(arguments) > 1 else ROOT / "docs" / "PERFORMANCE.md"
    text = figures(json.loads(source.read_text(encoding="utf-8")))
    target.write_text(insert(target.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
