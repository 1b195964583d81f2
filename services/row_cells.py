"""Many rows at once, column by column: what a batch and a stream of typed rows are made of."""

from collections.abc import Callable, Sequence
from typing import Any

from services.answers import Rows, UnfitField
from services.columns import Column
from services.plan import ReleasedField, Shape
from services.values import UnfitValue
from services.wire import NULL, row_entry


class RowEncoder:
    """Encodes rows of one shape for one answer or stream."""

    def __init__(self, shape: Shape) -> None:
        self._fields = [(field, Column(field.cell)) for field in shape.fields]

    def entries(self, rows: Rows) -> list[bytes]:
        """Each row as its entry in a `RowSet` or a `SubjectRows`.

        Args:
            rows: values in the order of `Shape.needed`, and possibly more.

        Raises:
            UnfitField: a stored value is not of its declared type.
        """
        return self.entries_of(list(zip(*rows, strict=True)), len(rows)) if rows else []

    def entries_of(self, raws: Sequence[Sequence[Any]], count: int) -> list[bytes]:
        """The same, from the values of each column.

        Args:
            raws: the columns in the order of `Shape.needed`, and possibly more.
            count: how many rows there are.
        """
        cells = [
            [NULL] * count if field.index is None else converted(field, column.convert, raws)
            for field, column in self._fields
        ]
        return [row_entry(each) for each in map(b"".join, zip(*cells, strict=True))]


def converted(
    field: ReleasedField, convert: Callable[[Sequence[Any]], list[Any]], raws: Sequence[Sequence[Any]]
) -> list[Any]:
    """The values of one released field, which must not be omitted.

    Args:
        convert: from the stored values of its column to those of the answer.
        raws: the stored values, a sequence for each column.

    Raises:
        UnfitField: a stored value is not of its declared type.
    """
    assert field.index is not None
    try:
        return convert(raws[field.index])
    except (UnfitValue, UnicodeError):
        raise UnfitField(field.name) from None
