"""A progress bar on a terminal, and nothing elsewhere."""

from typing import Self


class Bar:
    """Counts on standard error while it is open.

    Args:
        words: what is done.
        total: how many there are; None while nobody knows.
    """

    def __init__(self, words: str, *, total: int | None) -> None:
        # Rich takes its time to be imported, which nobody who pipes waits for.
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task(words, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._bar.update(self._task, advance=count)

    def reach(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._bar.update(self._task, completed=done, total=total)
