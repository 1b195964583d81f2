"""The benchmark: `python -m tests.bench.run`, `make bench`, `make bench-quick`.

Prints a table on standard output, progress on standard error, and writes build/bench.json. Exit codes: 0 everything
asked for was measured; 1 something could not be; 2 wrong command line; 130 Ctrl-C. A goal that is missed is a
finding, not a failure.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from isthmus.demo.errors import DemoError
from isthmus.errors import IsthmusError
from tests.bench import plan as plans
from tests.bench.plan import FULL, QUICK, Plan
from tests.bench.processes import ROOT, BenchError
from tests.bench.progress import progress
from tests.bench.results import Results
from tests.bench.scenarios import measure_all
from tests.bench.table import show

_EXIT_FAILED, _EXIT_INTERRUPTED = 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints, writes. Returns the exit code; whatever was started has ended."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    # SIGINT too: whoever is started in the background inherits that it is ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    results = Results(plan)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder, progress() as report:
            measure_all(plan, Path(folder), results, report)
    except (BenchError, DemoError, IsthmusError, OSError) as error:
        print(f"the benchmark failed: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        print("stopped; everything that was started has ended", file=sys.stderr)
        return _EXIT_INTERRUPTED
    results.write(options.out)
    show(results)
    print(f"\nwritten to {options.out}", file=sys.stderr)
    return _EXIT_FAILED if results.failed else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    known = (*plans.PEERS, *plans.SCENARIOS)
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
    return names


def _callers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    parser.add_argument(
        "--only", type=_names, help="what to measure, comma-separated; everything unless given"
    )
    parser.add_argument("--callers", type=_callers, help="how many ask at once, comma-separated")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, in turns")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--consents", type=int, help="of the large state")
    parser.add_argument("--records", type=int, help="of the large state")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json", help="the JSON document")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build",
        help="where ledgers are kept meanwhile; its disk counts",
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    given = {name: getattr(options, name) for name in ("only", "callers", "rounds", "seconds")}
    changes = {name: value for name, value in given.items() if value is not None}
    plan = replace(QUICK if options.quick else FULL, **changes)
    sizes = {name: value for name in ("consents", "records") if (value := getattr(options, name)) is not None}
    return replace(plan, large=replace(plan.large, **sizes))


if __name__ == "__main__":
    sys.exit(main())
