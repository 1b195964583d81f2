"""A dry run: every decision of the recorded past, newest first, decided once more."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from gateway.dryrun.past import MOST, Past, Read, read_past
from gateway.dryrun.report import UNDECIDED, Report, Tried
from gateway.dryrun.state import Archive


class Trial(Protocol):
    """What is tried."""

    def decide(self, past: Past, recorded: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Tried:
        """Returns how a past exchange would be decided."""
        ...


def replay(
    read: Read,
    trial: Trial,
    *,
    contract: str = "",
    since: datetime | None = None,
    most: int = MOST,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Tries something on the recorded past; writes nothing.

    Args:
        read: opens a read snapshot of the ledger.
        trial: decides.
        contract: only exchanges of `contracts/{contract}`; all when empty.
        since: only those recorded at that time or later.
        most: at most so many, the newest.
        progress: is told after every batch how many it held; an exception of its ends the run.
    """
    report, archive = Report(), Archive()
    for conn, batch in read_past(read, contract=contract, since=since, most=most):
        for past in batch:
            recorded = archive.terms(conn, past)
            if recorded is None:
                report.add(past, Tried(UNDECIDED))
            else:
                report.add(past, trial.decide(past, recorded, archive.entry(conn, past)))
        progress(len(batch))
    return report
