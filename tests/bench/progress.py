"""Progress on standard error: a line that is rewritten on a terminal, lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_EVERY_S = 1.0


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yields a function that is told what is done now."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda text: bar.update(task, description=text)


def _lines() -> Callable[[str], None]:
    started, last = time.monotonic(), [-_EVERY_S]

    def report(text: str) -> None:
        elapsed = time.monotonic() - started
        if elapsed - last[0] >= _EVERY_S:
            last[0] = elapsed
            print(f"{elapsed:6.0f} s  {text}", file=sys.stderr, flush=True)

    return report
