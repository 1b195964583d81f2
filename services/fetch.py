"""Serving a grant: verify, veto, look up, transform, sign, write the journal line, and only then answer."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from isthmus.canonical import sha256_hex
from isthmus.errors import DeadlineExceeded, PermissionDenied, Unavailable
from isthmus.identity import Identity
from isthmus.pki.credentials import Credentials
from isthmus.reasons import Reason
from isthmus.terms import rfc3339
from isthmus.v1.common_pb2 import Mode
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse
from services.answers import UnfitField, answer, refusal
from services.grant_items import GrantItem
from services.grants import Grant, GrantVerifier, refuse
from services.journal import Journal, JournalUnavailable, Line, Replayed
from services.manifest import ManifestError, SourceSettings
from services.metrics import OTHER, NodeMetrics
from services.plan import ItemPlan, Planner
from services.receipts import Answered, receipt_payload, sign_receipt
from services.source import Rows, Source, SourceTimeout, SourceUnavailable
from services.veto import Veto

_RETRY: Final = timedelta(seconds=2)
_NOTHING: Final = Rows()

_GroupKey = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """What a node is made of; `department` is `departments/{department}`, `clock` returns UTC-aware times."""

    department: str
    credentials: Credentials
    clock: Callable[[], datetime]
    grants: GrantVerifier
    planner: Planner
    source: Source
    limits: SourceSettings
    journal: Journal
    metrics: NodeMetrics
    log: structlog.typing.FilteringBoundLogger


class Fetcher:
    """Serves grants; safe to use from many threads."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts

    def fetch(self, token: str, *, caller: Identity) -> FetchResponse:
        """Answers every item of a grant, in its order; a BATCH has an outcome for each subject.

        Args:
            token: the grant, a JWS.
            caller: the identity at the other end of the connection.

        Raises:
            PermissionDenied: GRANT_INVALID; nothing was served.
            Unavailable: the department's database or the journal does not work now; nothing was served.
            DeadlineExceeded: the database took too long; nothing was served.
        """
        try:
            grant = self._parts.grants.verify(token, caller=caller)
            answers = _flatten(self._answer(grant))
            return self._conclude(grant, answers)
        except PermissionDenied:
            self._parts.metrics.grants_refused.inc()
            raise

    def _answer(self, grant: Grant) -> Iterator[list[Answered]]:
        plans = [self._plan(item) for item in grant.items]
        found = self._look_up([plan for plan in plans if isinstance(plan, ItemPlan)])
        budget = _Budget(self._parts.limits)
        for item, plan in zip(grant.items, plans, strict=True):
            yield [
                Answered(item.exchange, budget.spend(self._outcome(plan, subject.id, found)))
                for subject in item.subjects
            ]

    def _plan(self, item: GrantItem) -> ItemPlan | FetchOutcome:
        try:
            return self._parts.planner.plan(item)
        except Veto as veto:
            return refusal(str(veto))

    def _look_up(self, plans: Sequence[ItemPlan]) -> dict[_GroupKey, Rows]:
        """Runs one lookup for each combination of dataset and columns, for all subjects that need it."""
        groups: dict[_GroupKey, dict[str, None]] = {}
        for plan in plans:
            subjects = groups.setdefault((plan.dataset.id, plan.needed), {})
            subjects.update(dict.fromkeys(each.id for each in plan.item.subjects))
        return {key: self._timed(key, list(subjects)) for key, subjects in groups.items()}

    def _timed(self, key: _GroupKey, subjects: Sequence[str]) -> Rows:
        metrics, started = self._parts.metrics, time.perf_counter()
        try:
            rows = self._parts.source.fetch(*key, subjects)
        except (SourceUnavailable, ManifestError) as error:
            metrics.query_failures.labels(key[0]).inc()
            metrics.source_up.set(int(isinstance(error, SourceTimeout)))
            self._parts.log.warning("lookup failed", dataset=key[0], problem=str(error))
            if isinstance(error, SourceTimeout):
                raise DeadlineExceeded(Reason.DEPARTMENT_TIMEOUT, str(error)) from None
            raise Unavailable(
                Reason.DEPARTMENT_UNAVAILABLE,
                "the department's database does not answer; nothing was served, try again later",
                retry_after=_RETRY,
            ) from None
        metrics.source_up.set(1)
        metrics.query_seconds.labels(key[0]).observe(time.perf_counter() - started)
        return rows

    def _outcome(
        self, plan: ItemPlan | FetchOutcome, subject: str, found: dict[_GroupKey, Rows]
    ) -> FetchOutcome:
        if isinstance(plan, FetchOutcome):
            return plan
        rows = found.get((plan.dataset.id, plan.needed), _NOTHING)
        if subject in rows.too_many:
            most = self._parts.limits.max_rows_per_subject
            return refusal(f"the subject has more rows than max_rows_per_subject = {most} of the node allows")
        try:
            return answer(plan, rows.rows.get(subject, ()))
        except UnfitField as error:
            return refusal(str(error))

    def _conclude(self, grant: Grant, answers: Sequence[Answered]) -> FetchResponse:
        parts, served_at = self._parts, self._parts.clock()
        payload = receipt_payload(
            department=parts.department, grant=grant.id, served_at=served_at, answers=answers
        )
        response = FetchResponse(
            outcomes=[each.outcome for each in answers], receipt=sign_receipt(payload, parts.credentials)
        )
        # Last, so that no line claims an answer that was never made; and before the answer leaves.
        try:
            parts.journal.write(journal_lines(grant, answers, served_at=served_at))
        except Replayed:
            raise refuse("was used before; every exchange needs a grant of its own") from None
        except JournalUnavailable as error:
            parts.log.error("journal failed", problem=str(error))
            raise Unavailable(
                Reason.DEPARTMENT_UNAVAILABLE,
                "the department's journal cannot be written; nothing was served, try again later",
                retry_after=_RETRY,
            ) from None
        self._count(grant, answers)
        return response

    def _count(self, grant: Grant, answers: Sequence[Answered]) -> None:
        metrics, position = self._parts.metrics, 0
        for item in grant.items:
            mode = Mode.Name(item.mode).removeprefix("MODE_")
            known = self._parts.planner.knows(item.dataset)
            dataset = item.dataset.dataset if known else OTHER
            for each in answers[position : position + len(item.subjects)]:
                metrics.items.labels(dataset, mode, _label(each.outcome)).inc()
                metrics.rows.labels(dataset).inc(each.outcome.row_count)
            position += len(item.subjects)


class _Budget:
    """What one answer may still hold. An outcome that no longer fits is refused, and the others stay."""

    def __init__(self, limits: SourceSettings) -> None:
        self._limits = limits
        self._rows = limits.max_rows_per_answer
        self._bytes = limits.max_answer_bytes

    def spend(self, outcome: FetchOutcome) -> FetchOutcome:
        size = outcome.ByteSize()
        if size > self._limits.max_answer_bytes:
            most = self._limits.max_answer_bytes
            return refusal(f"the rows take {size} bytes; max_answer_bytes = {most} of the node allows fewer")
        if outcome.row_count > self._rows or size > self._bytes:
            name = "max_rows_per_answer" if outcome.row_count > self._rows else "max_answer_bytes"
            most = getattr(self._limits, name)
            # Another train, or fewer subjects at once, may have room: so this one is worth another try.
            return refusal(
                f"one answer may hold no more than {name} = {most}; ask again, or for fewer subjects at once",
                Reason.OVERLOADED,
            )
        self._rows -= outcome.row_count
        self._bytes -= size
        return outcome


def _flatten(parts: Iterator[list[Answered]]) -> list[Answered]:
    return [each for part in parts for each in part]


def _label(outcome: FetchOutcome) -> str:
    if outcome.refused:
        return Reason(outcome.refused).name
    return "served" if outcome.subject_known else "unknown"


def journal_lines(grant: Grant, answers: Sequence[Answered], *, served_at: datetime) -> list[Line]:
    """A line for each item of a grant, from the outcomes of its subjects."""
    lines, position = [], 0
    for item in grant.items:
        part = answers[position : position + len(item.subjects)]
        position += len(item.subjects)
        refused = [each for each in part if each.outcome.refused]
        digests = "".join(each.digest for each in part if not each.outcome.refused)
        lines.append(
            Line(
                exchange=item.exchange,
                grant_id=grant.id,
                served_at=rfc3339(served_at),
                gateway=grant.gateway.uri,
                consumer=item.consumer,
                system=item.system,
                contract=str(item.contract),
                terms_digest=item.terms_digest,
                dataset=str(item.dataset),
                purpose=item.purpose,
                mode=Mode.Name(item.mode).removeprefix("MODE_"),
                fields=tuple((each.name, str(each.transform)) for each in item.fields),
                subject_tokens=tuple(each.token for each in item.subjects),
                served=len(part) - len(refused),
                refused=len(refused),
                refusals=tuple(dict.fromkeys(Reason(each.outcome.refused).name for each in refused)),
                row_count=sum(each.outcome.row_count for each in part),
                digest=sha256_hex(digests.encode("ascii")),
            )
        )
    return lines
