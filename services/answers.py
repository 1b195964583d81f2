"""From the rows of one subject to what leaves the department: a row set, a verdict, or a refusal in words."""

from collections.abc import Sequence
from typing import Any

from isthmus.reasons import Reason
from isthmus.v1.department_service_pb2 import FetchOutcome
from isthmus.v1.exchange_service_pb2 import VERDICT_NO, VERDICT_UNKNOWN, VERDICT_YES, Verdict
from services.plan import Condition, ItemPlan, Shape
from services.tables import quoted
from services.values import UnfitValue
from services.wire import NULL, row_entry

Rows = Sequence[Sequence[Any]]


class UnfitField(Exception):
    """A stored value of a field is not of the type that the manifest declares. The message names the field."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"the department's own data do not fit its manifest: the field {quoted(field)} holds a value that is "
            "not of the declared type; the department must correct the value or the type"
        )


def refusal(explanation: str, reason: Reason = Reason.PROVIDER_VETO) -> FetchOutcome:
    """An outcome that refuses, with words that hold nothing personal."""
    return FetchOutcome(refused=reason.value, explanation=explanation)  # type: ignore[arg-type]


def answer(plan: ItemPlan, rows: Rows) -> FetchOutcome:
    """The outcome for one subject.

    Args:
        plan: the admitted item.
        rows: what the database holds about the subject, in the order of `plan.needed`.

    Raises:
        UnfitField: a stored value is not of its declared type.
    """
    seen = visible(plan.filters, rows)
    if plan.question is not None:
        return FetchOutcome(subject_known=bool(seen), verdict=verdict(plan.question, seen))
    return FetchOutcome(
        subject_known=bool(seen),
        columns=plan.shape.columns,
        row_set=plan.shape.head + b"".join([_row(plan.shape, row) for row in seen]),
        row_count=len(seen),
    )


def visible(filters: Sequence[Condition], rows: Rows) -> Rows:
    """The rows of which every filter holds. Another row is as if it were not there: not even its existence is told.

    Raises:
        UnfitField: a stored value is not of its declared type.
    """
    for each in filters:
        rows = [row for row in rows if _holds(each, row)]
    return rows


def verdict(question: Condition, rows: Rows) -> Verdict.ValueType:
    """YES when the question holds for a row, NO when it holds for none, UNKNOWN without a value to compare."""
    findings = [_holds(question, row) for row in rows]
    if any(findings):
        return VERDICT_YES
    return VERDICT_NO if any(each is False for each in findings) else VERDICT_UNKNOWN


def _holds(condition: Condition, row: Sequence[Any]) -> bool | None:
    try:
        return condition.holds(row[condition.index])
    except UnfitValue:
        raise UnfitField(condition.field) from None


def _row(shape: Shape, row: Sequence[Any]) -> bytes:
    cells = []
    for field in shape.fields:
        try:
            cells.append(NULL if field.index is None else field.cell(row[field.index]))
        except (UnfitValue, UnicodeError):
            raise UnfitField(field.name) from None
    return row_entry(b"".join(cells))
