"""Serving a grant: verify, veto, look up, transform, sign, write the journal line, and only then answer."""

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from functools import partial

from isthmus.canonical import sha256_hex
from isthmus.errors import DeadlineExceeded, IsthmusError, PermissionDenied
from isthmus.identity import Identity
from isthmus.reasons import Reason
from isthmus.terms import rfc3339
from isthmus.traceparent import TraceParent
from isthmus.v1.common_pb2 import MODE_BATCH
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse
from services.answers import UnfitField, answer, refusal
from services.batch import answer_batch, known_subjects
from services.grant_items import GrantItem
from services.grants import Grant
from services.journal import Line
from services.limits import Budget
from services.parts import NodeParts, journal_line
from services.plan import ItemPlan
from services.receipts import Answered, answered, members_of, receipt_payload, sign_receipt
from services.source import Rows
from services.veto import Veto

_GroupKey = tuple[str, tuple[str, ...]]


class Fetcher:
    """Serves grants; safe to use from many threads."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts

    def fetch(self, token: str, *, caller: Identity, trace: TraceParent | None = None) -> FetchResponse:
        """Answers every item of a grant, in its order.

        Args:
            token: the grant, a JWS.
            caller: the identity at the other end of the connection.
            trace: the trace that the caller says this belongs to.

        Raises:
            PermissionDenied: GRANT_INVALID; nothing was served.
            Unavailable: the department's database or the journal does not work now; nothing was served.
            DeadlineExceeded: the database took too long; nothing was served.
        """
        telling = self._parts.telling("isthmus.node.fetch", trace, caller)
        try:
            grant = telling.grant = self._parts.grants.verify(token, caller=caller)
            answers = self._answer(grant)
            response = self._conclude(grant, answers)
        except IsthmusError as error:
            if isinstance(error, PermissionDenied):
                self._parts.metrics.grants_refused.inc()
            telling.ended(error)
            raise
        telling.vetoed(answers)
        telling.ended(None)
        return response

    def _answer(self, grant: Grant) -> list[Answered]:
        plans = [self._plan(item) for item in grant.items]
        singles = [each for each in plans if isinstance(each, ItemPlan) and each.item.mode != MODE_BATCH]
        found = self._look_up(singles)
        budget = Budget(self._parts.limits)
        return [
            answered(item, budget.spend(self._outcome(plan, found, budget)))
            for item, plan in zip(grant.items, plans, strict=True)
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
            subjects.update(dict.fromkeys(plan.item.subjects.ids))
        return {
            key: self._parts.look_up(key[0], partial(self._parts.source.fetch, *key, list(subjects)))
            for key, subjects in groups.items()
        }

    def _outcome(
        self, plan: ItemPlan | FetchOutcome, found: dict[_GroupKey, Rows], budget: Budget
    ) -> FetchOutcome:
        if isinstance(plan, FetchOutcome):
            return plan
        try:
            if plan.item.mode == MODE_BATCH:
                return self._batch(plan, budget)
            return self._single(plan, found[plan.dataset.id, plan.needed])
        except UnfitField as error:
            return refusal(str(error))

    def _single(self, plan: ItemPlan, rows: Rows) -> FetchOutcome:
        (subject,) = plan.item.subjects.ids
        if subject in rows.too_many:
            most = self._parts.limits.max_rows_per_subject
            return refusal(f"the subject has more rows than max_rows_per_subject = {most} of the node allows")
        return answer(plan, rows.rows.get(subject, ()))

    def _batch(self, plan: ItemPlan, budget: Budget) -> FetchOutcome:
        def look_up() -> FetchOutcome:
            key = plan.dataset.id, plan.needed
            with closing(self._parts.source.parts(*key, plan.item.subjects.ids)) as parts:
                return answer_batch(plan, parts, budget)

        try:
            return self._parts.look_up(plan.dataset.id, look_up)
        except DeadlineExceeded as error:
            # Many subjects take long without harm to the database; the other items have their answers already.
            return refusal(error.message, Reason.DEPARTMENT_TIMEOUT)

    def _conclude(self, grant: Grant, answers: Sequence[Answered]) -> FetchResponse:
        parts, served_at = self._parts, self._parts.clock()
        payload = receipt_payload(
            department=parts.department, grant=grant.id, served_at=served_at, members=members_of(answers)
        )
        receipt = sign_receipt(payload, parts.credentials)
        response = FetchResponse(outcomes=[each.outcome for each in answers], receipt=receipt)
        # Last, so that no line claims an answer that was never made; and before the answer leaves.
        parts.write_lines(journal_lines(grant, answers, served_at=served_at, receipt=receipt))
        for each in answers:
            parts.count(each.item, _by_label(each), each.outcome.row_count)
        return response


def _by_label(each: Answered) -> dict[str, int]:
    """How many subjects of an item came to what."""
    subjects, outcome = len(each.item.subjects.ids), each.outcome
    if outcome.refused:
        return {Reason(outcome.refused).name: subjects}
    known = known_subjects(outcome) if each.item.mode == MODE_BATCH else int(outcome.subject_known)
    counts = {"served": known, "unknown": subjects - known}
    return {label: count for label, count in counts.items() if count}


def journal_lines(
    grant: Grant, answers: Sequence[Answered], *, served_at: datetime, receipt: str
) -> list[Line]:
    """A line for each item of a grant, from its outcome; all of them share one receipt (JWS)."""
    digest = sha256_hex(receipt.encode())
    return [_line(grant, each, rfc3339(served_at), receipt_digest=digest) for each in answers]


def _line(grant: Grant, each: Answered, served_at: str, *, receipt_digest: str) -> Line:
    outcome, subjects = each.outcome, len(each.item.subjects.ids)
    return journal_line(
        grant,
        each.item,
        served_at=served_at,
        served=0 if outcome.refused else subjects,
        refused=subjects if outcome.refused else 0,
        refusals=(Reason(outcome.refused).name,) if outcome.refused else (),
        row_count=outcome.row_count,
        digest=sha256_hex(each.digest.encode("ascii")),
        receipt_digest=receipt_digest,
    )
