"""The comparison: log and journals are read side by side in the order of their exchanges, so memory stays small.

An exchange's name holds when it began (UUIDv7), and both sides know it by that name. So a time cuts both at the same
exchanges, and nothing falls between them.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from audit.reconcile.finding import ALARMING, Difference, Finding
from audit.reconcile.journal import JournalLine
from audit.reconcile.judge import compare, unrecorded, unserved
from audit.reconcile.log import Logged, LogReader
from isthmus.ids import begun_at

MAX_PARTS: Final = 10_000
"""A batch has at most as many parts as subjects; each part is journalled by the batch's number counted up."""
_BATCH: Final = "BATCH"

Progress = Callable[[int], None]


@dataclass(slots=True)
class Report:
    """What was compared and found. `findings` holds the first of each kind, `counts` counts all.

    Args:
        keep: how many findings of each kind are kept.
    """

    keep: int
    decisions: int = 0
    lines: int = 0
    agreed: int = 0
    elsewhere: int = 0
    """Releases of departments of which no journal was given."""
    counts: Counter[Difference] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def alarming(self) -> int:
        """How many findings no ordinary cause explains."""
        return sum(count for kind, count in self.counts.items() if kind in ALARMING)

    def add(self, finding: Finding) -> None:
        """Counts a finding, and keeps it if there is room."""
        self.counts[finding.difference] += 1
        if self.counts[finding.difference] <= self.keep:
            self.findings.append(finding)


def reconcile(
    log: LogReader,
    journals: Mapping[str, Iterable[JournalLine]],
    *,
    settled: datetime,
    keep: int,
    progress: Progress = lambda done: None,
) -> Report:
    """Compares a log with departments' journals.

    Args:
        log: reads decisions in order.
        journals: lines in order by `departments/{department}`, cut to the log's time.
        settled: aware; exchanges that began later may still be under way in one of the copies, and are not judged
            where one side is missing.
        keep: how many findings of each kind the report lists; all are counted.
        progress: told after some decisions how many more are done.

    Raises:
        JournalError: a journal cannot be read.
        RecordError, LineError: what the log holds is damaged; verify it first.
    """
    report = Report(keep)
    lines = _Lines(heapq.merge(*journals.values(), key=attrgetter("exchange")), report)
    done = 0
    for logged in log.decisions():
        for group in lines.before(logged):
            report.add(unrecorded(group, young=group[0].begun >= settled))
        _decide(logged, lines.of(logged), log, report, known=journals.keys(), settled=settled)
        report.decisions += 1
        if report.decisions - done >= 256:
            progress(report.decisions - done)
            done = report.decisions
    for group in lines.rest():
        report.add(unrecorded(group, young=group[0].begun >= settled))
    progress(report.decisions - done)
    return report


def _decide(
    logged: Logged,
    lines: list[JournalLine],
    log: LogReader,
    report: Report,
    *,
    known: Iterable[str],
    settled: datetime,
) -> None:
    if not lines:
        if logged.decision == "ALLOW" and logged.provider not in known:
            report.elsewhere += 1
        elif logged.decision == "ALLOW":
            report.add(unserved(logged, young=begun_at(logged.exchange) >= settled))
        return
    young, found = begun_at(logged.exchange) >= settled, False
    for finding in compare(logged, lines, log.rows_of_batch, young=young):
        report.add(finding)
        found = True
    report.agreed += not found


class _Lines:
    """The lines of all journals in order, taken exchange by exchange."""

    def __init__(self, lines: Iterator[JournalLine], report: Report) -> None:
        self._lines = lines
        self._report = report
        self._next = next(lines, None)

    def before(self, logged: Logged) -> Iterator[list[JournalLine]]:
        """Those of exchanges that come before one of the log, a batch's parts together."""
        while self._next is not None and self._next.exchange < logged.exchange:
            yield self._group(self._next)

    def of(self, logged: Logged) -> list[JournalLine]:
        """Those of an exchange of the log; of a batch the lines of all its parts, of which the first may be missing."""
        found = []
        while self._next is not None and _same(logged.exchange, self._next, batch=logged.mode == _BATCH):
            found.append(self._take())
        return found

    def rest(self) -> Iterator[list[JournalLine]]:
        """All that are left."""
        while self._next is not None:
            yield self._group(self._next)

    def _group(self, first: JournalLine) -> list[JournalLine]:
        found = [self._take()]
        while self._next is not None and _same(first.exchange, self._next, batch=first.mode == _BATCH):
            found.append(self._take())
        return found

    def _take(self) -> JournalLine:
        taken = self._next
        assert taken is not None
        self._next = next(self._lines, None)
        self._report.lines += 1
        return taken


def _same(exchange: str, line: JournalLine, *, batch: bool) -> bool:
    if exchange == line.exchange or not batch or line.mode != _BATCH:
        return exchange == line.exchange
    return 0 <= _number(line.exchange) - _number(exchange) < MAX_PARTS


def _number(exchange: str) -> int:
    return UUID(exchange.removeprefix("exchanges/")).int


def by_kind(findings: Iterable[Finding]) -> list[Finding]:
    """Findings with the alarming ones first, each kind together."""
    order = list(Difference)
    return sorted(findings, key=lambda each: order.index(each.difference))
