"""The tables: rich on a terminal, plain when piped."""

from __future__ import annotations

from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.peers import COSTS, TITLES
from tests.bench.results import GOALS, Goal, Results
from tests.bench.stats import Sample, words

_PIPED_WIDTH = 160
_MOST_SHARES = 30


def show(results: Results, console: Console | None = None) -> None:
    """Prints what was found."""
    target = console or _console()
    # Boxes are for people; what is piped is searched and compared.
    edges = box.SIMPLE_HEAD if target.is_terminal else None
    tables = [_peers(results)] if results.samples else []
    for table in (*tables, _goals(results)):
        table.box = edges
        target.print(table)
        target.print()
    if shares := results.raw.get("profile", {}).get("with_what_it_calls"):
        target.print("Where the gateway's threads hold the interpreter's lock, at 32 callers:")
        for name, share in list(shares.items())[:_MOST_SHARES]:
            target.print(f"{share:6.1%}  {name}", markup=False, highlight=False)
        target.print()
    if "growth" in results.raw:
        target.print(f"The states compared: {results.plan.large.words} against {results.plan.small.words}.")
    for goal in GOALS:
        if results.value(goal.key) is None:
            target.print(f"– {goal.figure}: {results.reason(goal.key)}", markup=False)
    if results.plan.quick:
        target.print(
            "A quick run: short, and over less state than the goals speak of. It only hints at the figures."
        )


def _console() -> Console:
    console = Console()
    # Rich takes 80 columns for a pipe, too few for these tables.
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)


def _peers(results: Results) -> Table:
    table = Table(title="One Query: median of the rounds", title_justify="left")
    table.add_column("peer")
    for name in ("callers", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "of each process, µs/call"):
        table.add_column(name, justify="left" if name.startswith("of") else "right")
    for key, by_callers in results.samples.items():
        for callers, found in by_callers.items():
            table.add_row(TITLES[key], str(callers), *_figures(key, found))
        table.add_section()
    return table


def _figures(key: str, found: list[Sample]) -> list[str]:
    parts = {name: median(each.cpu_us([name]) for each in found) for name in found[0].cpu}
    parts["callers"] = median(each.caller_cpu / each.calls * 1e6 for each in found)
    return [
        f"{median(each.throughput for each in found):,.0f}",
        f"{median(each.p50 for each in found):.2f}",
        f"{median(each.p99 for each in found):.2f}",
        f"{median(each.cpu_us(COSTS[key]) for each in found):,.0f}",
        ", ".join(f"{name} {value:,.0f}" for name, value in parts.items()),
    ]


def _goals(results: Results) -> Table:
    table = Table(title="Goals", title_justify="left")
    table.add_column("figure")
    for name in ("goal", "reached", "min … max"):
        table.add_column(name, justify="right")
    table.add_column("")
    for goal in GOALS:
        table.add_row(goal.figure, goal.words, *_reached(results, goal))
    return table


def _reached(results: Results, goal: Goal) -> tuple[str, str, str]:
    value = results.value(goal.key)
    if value is None:
        return "–", "", ""
    values = results.spreads[goal.key].values
    around = f"{words(min(values))} … {words(max(values))}" if len(values) > 1 else ""
    return f"{words(value)}{goal.unit}", around, "✓" if goal.reached(value) else "✗"
