"""From the rows of one subject to what leaves the department: a row set, a verdict, or a refusal in words."""

from collections.abc import Sequence
from typing import Any

from isthmus.reasons import Reason
from isthmus.v1 import common_pb2
from isthmus.v1.department_service_pb2 import FetchOutcome
from isthmus.v1.exchange_service_pb2 import VERDICT_NO, VERDICT_UNKNOWN, VERDICT_YES, Verdict
from services.plan import Condition, ItemPlan, Shape
from services.tables import quoted
from services.values import UnfitValue

Rows = Sequence[Sequence[Any]]

_NULL = common_pb2.Value()


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
    # A row that the contract's filters leave out is as if it were not there: not even its existence is told.
    visible = [row for row in rows if all(_holds(each, row) for each in plan.filters)]
    if plan.question is not None:
        return FetchOutcome(subject_known=bool(visible), verdict=verdict(plan.question, visible))
    row_set = common_pb2.RowSet(columns=plan.shape.columns, rows=[_row(plan.shape, row) for row in visible])
    return FetchOutcome(
        subject_known=bool(visible),
        columns=plan.shape.columns,
        row_set=row_set.SerializeToString(),
        row_count=len(visible),
    )


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


def _row(shape: Shape, row: Sequence[Any]) -> common_pb2.Row:
    values = []
    for field in shape.fields:
        try:
            values.append(_NULL if field.index is None else field.release(row[field.index]))
        except UnfitValue:
            raise UnfitField(field.name) from None
    return common_pb2.Row(values=values)
