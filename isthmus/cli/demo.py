"""`isthmus demo`: every part on this machine, and a story whose every exchange states the decision it expects.

Data goes to standard output, progress and errors to standard error. Exit codes: 0 everything came as expected and
the log verifies; 1 something did not, and the table or standard error says what; 2 wrong command line; 130 Ctrl-C.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from isthmus.demo import keep as keeping
from isthmus.demo import show, sources
from isthmus.demo.errors import DemoError
from isthmus.demo.run import evidence, play, running
from isthmus.demo.story import story
from services.csv_load import LoadError
from services.manifest import ManifestError

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130
_PIPED_WIDTH = 150
# Besides one for each step and each department: gateway, audit service, preparation, who looked, verification.
_OTHER_REPORTS = 5


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A folder of CSV files that the demo knows; invented data unless given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, and print how to use it.")
    ] = False,
    workdir: Annotated[
        Path | None,
        typer.Option(
            "--workdir", help="A new or empty folder to work in and to leave behind.", file_okay=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the invented data.", min=0)] = 2026,
) -> None:
    """Run every part on this machine and play a story of allowed and refused exchanges."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    try:
        with _folder(workdir) as folder:
            good = _run(folder, data, seed=seed, as_json=as_json, keep=keep)
    except (DemoError, LoadError, ManifestError, OSError) as error:
        typer.echo(f"the demonstration failed: {error}", err=True)
        raise typer.Exit(EXIT_UNEXPECTED) from error
    except KeyboardInterrupt:
        typer.echo("stopped; everything that was started has ended", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if not good:
        raise typer.Exit(EXIT_UNEXPECTED)


def _run(folder: Path, data: Path | None, *, seed: int, as_json: bool, keep: bool) -> bool:
    today = datetime.now(UTC).date()
    scenario = sources.load(data, folder / "invented", seed=seed, today=today)
    steps = story(scenario)
    total = len(steps) + len(scenario.departments) + _OTHER_REPORTS
    with _progress(total) as report, running(scenario, folder, report=report) as world:
        played = play(world, steps, report=report)
        found = evidence(world, report=report)
        report("")
        good = show.as_expected(played) and found.verified
        if as_json:
            _print_json(show.document(scenario, played, found))
        else:
            show.show(_console(), scenario, played, found)
        if keep:
            keeping.wait(world, _console(stderr=as_json))
    return good


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False))
    sys.stdout.flush()


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    # Rich takes 80 columns for a pipe, too few for this table.
    return console if console.is_terminal else Console(stderr=stderr, width=_PIPED_WIDTH)


@contextmanager
def _folder(workdir: Path | None) -> Iterator[Path]:
    """The folder to work in: private, and gone afterwards unless it was asked for."""
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="isthmus-demo-") as name:
            yield Path(name)
        return
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(workdir.iterdir()):
        raise DemoError(f"{workdir} is not empty; --workdir takes a new or empty folder")
    yield workdir.absolute()


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Shows how far the demonstration is, on a terminal; an empty report ends the showing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _text: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def report(text: str) -> None:
            bar.update(task, description=text, advance=1)
            if not text:
                bar.stop()

        yield report


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
