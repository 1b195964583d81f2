"""The policy dry run: reads the gateway's ledger beside it, and shows how far it is on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from audit.ledger.offline import open_offline
from gateway.config import Config
from gateway.dryrun.past import count_past
from gateway.dryrun.policy import PolicyTrial
from gateway.dryrun.replay import replay
from gateway.policy.engine import load_additions
from isthmus.cli.dryrun import print_report, since_time


def dry_run_policy(config: Config, additions: Path, *, since: str, as_json: bool) -> None:
    """Tries the rules in `additions`, in place of those configured, on the recorded past, and prints the report.

    Args:
        config: the gateway's; names the ledger, the rules in force and the offset from UTC.
        additions: the folder of `*.cedar` files to try.
        since: only exchanges recorded since then, RFC 3339; empty for all.
        as_json: whether to print one JSON document.

    Raises:
        PolicyInvalid: a policy file cannot be used.
        InvalidArgument: `since` is no time.
        OSError, ValueError: the ledger is no SQLite file that can be read.
    """
    begin, folder = since_time(since), config.policy.additions
    current = load_additions(folder) if folder is not None else ()
    trial = PolicyTrial(current, load_additions(additions), offset=config.policy.offset)

    @contextmanager
    def read() -> Iterator[sa.Connection]:
        with open_offline(config.ledger.url) as connection:
            yield connection

    with read() as connection:
        total = count_past(connection, since=begin)
    with _progress(total) as advance:
        report = replay(read, trial, since=begin, progress=advance)
    print_report(report.message(), as_json=as_json)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("exchanges", total=total)
        yield lambda count: bar.advance(task, count)
