"""The outcome of an item of mode BATCH: the rows of each of its subjects, in the order of the grant."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final

from isthmus.v1.department_service_pb2 import FetchOutcome
from services.answers import Rows as SeenRows
from services.answers import refusal, visible
from services.limits import Budget
from services.plan import ItemPlan
from services.row_cells import RowEncoder
from services.source import Rows

_KNOWN: Final = b"\x08\x01"
"""`SubjectRows.subject_known`, when it is true."""


def answer_batch(plan: ItemPlan, parts: Iterable[Rows], budget: Budget) -> FetchOutcome:
    """The outcome of one item.

    SubjectRows has no place for a refusal, so a subject that cannot be answered refuses the item: nobody may take
    "too many rows" for "no rows".

    Args:
        plan: the admitted item.
        parts: what the database holds about its subjects; each subject is in one part at most. Not read further
            than `budget` allows.
        budget: what the answer may still hold.

    Raises:
        UnfitField: a stored value is not of its declared type.
    """
    encoder = RowEncoder(plan.shape)
    entries: dict[str, bytes] = {}
    row_count, size = 0, 0
    for part in parts:
        if part.too_many:
            return _too_many(len(part.too_many), budget.limits.max_rows_per_subject)
        seen: Mapping[str, SeenRows] = part.rows
        if plan.filters:
            seen = {subject: rows for subject, own in seen.items() if (rows := visible(plan.filters, own))}
        cells = iter(encoder.entries(list(chain.from_iterable(seen.values()))))
        for subject, rows in seen.items():
            entry = _KNOWN + (next(cells) if len(rows) == 1 else b"".join([next(cells) for _ in rows]))
            entries[subject] = entry
            size += len(entry)
            row_count += len(rows)
        if (refused := budget.refuses(row_count, size)) is not None:
            return refused
    return FetchOutcome(
        subject_known=bool(entries),
        columns=plan.shape.columns,
        row_count=row_count,
        subject_rows=[entries.get(subject, b"") for subject in plan.item.subjects.ids],
    )


def _too_many(subjects: int, most: int) -> FetchOutcome:
    who = "a subject of the batch has" if subjects == 1 else f"{subjects} subjects of the batch have"
    return refusal(f"{who} more rows than max_rows_per_subject = {most} of the node allows")


def known_subjects(outcome: FetchOutcome) -> int:
    """How many subjects of a batch the node knows."""
    return sum(map(bool, outcome.subject_rows))
