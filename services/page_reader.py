"""The pages of one stream: from where it begins, without the rows that its filters leave out, and none too large."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

from services.answers import UnfitField
from services.pages import MAX_PAGE, Page
from services.plan import Condition, ItemPlan
from services.resume import Position
from services.source import Source
from services.values import UnfitValue

CHUNK_BYTES: Final = 1 << 20
"""How large a chunk should become."""

_FIRST_PAGE: Final = 1_024
_GROWTH: Final = 4
_SAMPLE: Final = 64
_FIXED: Final = 8
"""Bytes of a number, and of what stands around text."""
_WIDE: Final = 3
"""Bytes of a Chinese character in UTF-8."""


@dataclass(frozen=True, slots=True)
class Visible:
    """The rows of a page that the filters leave.

    Args:
        columns: their values, column by column.
        rows: where each of them stands in the page.
        page: all of it.
    """

    columns: Sequence[Sequence[Any]]
    rows: Sequence[int]
    page: Page

    def position_after(self, count: int) -> Position | None:
        """The position after the first `count` of these rows; None where a stream cannot go on.

        After all of them it is the page's end, so that what follows is not read again.
        """
        if count == len(self.rows):
            return self.page.position(self.page.count - 1)
        return self.page.position(self.rows[count - 1]) if self.page.whole else None


class PageReader:
    """Reads the pages of one stream.

    Args:
        source: the department's database.
        plan: the admitted item.
        after: where to go on, or None.

    Raises:
        SourceUnavailable, ManifestError, PageError: as `Source.pager`.
    """

    def __init__(self, source: Source, plan: ItemPlan, after: Position | None) -> None:
        self._source = source
        self._filters = plan.filters
        self._after = after
        self._size = _FIRST_PAGE
        self._done = False
        self._pager = source.pager(plan.dataset.id, plan.needed)

    def read(self) -> Visible | None:
        """The next page, or None after the last one.

        Raises:
            SourceUnavailable, PageError: as `Source.page`.
            UnfitField, UnfitValue: a stored value is not of its type.
        """
        if self._done:
            return None
        page = self._source.page(self._pager, self._after, self._size)
        self._done = page.last
        if not page.count:
            return None
        self._after = page.position(page.count - 1)
        # By what was read, not by what is left of it: what the filters hide takes memory too.
        wanted = CHUNK_BYTES * page.count // _weight(page)
        self._size = max(1, min(wanted, self._size * _GROWTH, MAX_PAGE))
        return _visible(page, self._filters)


def _weight(page: Page) -> int:
    """About how many bytes a page's values have, from some of its rows."""
    step = -(-page.count // _SAMPLE)
    values = [value for column in page.columns for value in column[::step]]
    bytes_of_text = sum(
        len(value) * (1 if type(value) is bytes or value.isascii() else _WIDE)
        for value in values
        if isinstance(value, str | bytes)
    )
    return max(1, (bytes_of_text + _FIXED * len(values)) * page.count // len(range(0, page.count, step)))


def _visible(page: Page, filters: Sequence[Condition]) -> Visible:
    columns, rows = page.columns, range(page.count)
    kept: Sequence[int] = rows
    for each in filters:
        try:
            holds = [bool(each.holds(value)) for value in columns[each.index]]
        except UnfitValue:
            raise UnfitField(each.field) from None
        if not all(holds):
            columns = [list(compress(column, holds)) for column in columns]
            kept = list(compress(kept, holds))
    return Visible(columns, kept, page)
