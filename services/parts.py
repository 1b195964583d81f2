"""What serving a grant and serving a stream share: the node's parts, its database, its journal."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog

from isthmus.errors import DeadlineExceeded, Unavailable
from isthmus.identity import Identity
from isthmus.pki.credentials import Credentials
from isthmus.reasons import Reason
from isthmus.traceparent import TraceParent
from isthmus.tracing import Spans
from isthmus.v1.common_pb2 import Mode
from services.grant_items import GrantItem
from services.grants import Grant, GrantVerifier, refuse
from services.journal import Ending, Journal, JournalUnavailable, Line, Replayed
from services.manifest import ManifestError, SourceSettings
from services.metrics import OTHER, NodeMetrics
from services.plan import Planner
from services.resume import ResumeTokens
from services.source import Source, SourceTimeout, SourceUnavailable
from services.telling import Telling

RETRY: Final = timedelta(seconds=2)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What a node is made of; `department` is `departments/{department}`, `clock` returns UTC-aware times."""

    department: str
    credentials: Credentials
    clock: Callable[[], datetime]
    grants: GrantVerifier
    planner: Planner
    resume: ResumeTokens
    source: Source
    limits: SourceSettings
    journal: Journal
    metrics: NodeMetrics
    log: structlog.typing.FilteringBoundLogger
    spans: Spans | None = None

    def telling(self, name: str, trace: TraceParent | None, caller: Identity) -> Telling:
        """Begins to tell about a call of that name, by a gateway."""
        return Telling(self.log, self.spans, name, trace, caller.uri)

    def look_up(self, dataset: str, read: Callable[[], T]) -> T:
        """What `read` returns, timed and counted.

        Args:
            dataset: its id in the manifest.
            read: asks the department's database.

        Raises:
            Unavailable: the database does not work now.
            DeadlineExceeded: it took too long.
        """
        metrics, started = self.metrics, time.perf_counter()
        try:
            found = read()
        except (SourceUnavailable, ManifestError) as error:
            metrics.query_failures.labels(dataset).inc()
            metrics.source_up.set(int(isinstance(error, SourceTimeout)))
            self.log.warning("lookup failed", dataset=dataset, problem=str(error))
            if isinstance(error, SourceTimeout):
                raise DeadlineExceeded(Reason.DEPARTMENT_TIMEOUT, str(error)) from None
            raise Unavailable(
                Reason.DEPARTMENT_UNAVAILABLE,
                "the department's database does not answer; nothing more was served; try again later",
                retry_after=RETRY,
            ) from None
        metrics.source_up.set(1)
        metrics.query_seconds.labels(dataset).observe(time.perf_counter() - started)
        return found

    def write_lines(self, lines: Sequence[Line]) -> None:
        """Makes lines of the journal durable.

        Raises:
            PermissionDenied: GRANT_INVALID, an exchange has a line already.
            Unavailable: the journal cannot be written.
        """
        self._journal(lambda: self.journal.write(lines))

    def write_ending(self, ending: Ending) -> None:
        """Makes a stream's ending durable. Errors are those of `write_lines`."""
        self._journal(lambda: self.journal.end(ending))

    def _journal(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Replayed:
            raise refuse("was used before; every exchange needs a grant of its own") from None
        except JournalUnavailable as error:
            self.log.error("journal failed", problem=str(error))
            raise Unavailable(
                Reason.DEPARTMENT_UNAVAILABLE,
                "the department's journal cannot be written; nothing was served, try again later",
                retry_after=RETRY,
            ) from None

    def count(self, item: GrantItem, outcomes: dict[str, int], rows: int) -> None:
        """Counts what came of an item: how many subjects had each outcome, and how many rows left."""
        dataset = item.dataset.dataset if self.planner.knows(item.dataset) else OTHER
        mode = Mode.Name(item.mode).removeprefix("MODE_")
        for outcome, subjects in outcomes.items():
            self.metrics.items.labels(dataset, mode, outcome).inc(subjects)
        self.metrics.rows.labels(dataset).inc(rows)


def journal_line(grant: Grant, item: GrantItem, **came_of_it: Any) -> Line:
    """The journal's line about an item; `came_of_it` are the members of `Line` that the grant does not state."""
    return Line(
        exchange=item.exchange,
        grant_id=grant.id,
        gateway=grant.gateway.uri,
        consumer=item.consumer,
        system=item.system,
        contract=str(item.contract),
        terms_digest=item.terms_digest,
        dataset=str(item.dataset),
        purpose=item.purpose,
        mode=Mode.Name(item.mode).removeprefix("MODE_"),
        fields=tuple((each.name, str(each.transform)) for each in item.fields),
        subject_tokens=item.subjects.tokens,
        **came_of_it,
    )
