"""What the columns do not say, asked of the ledger in one snapshot."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from audit.ledger.schema import record_subjects, records
from audit.search.query import by_exchange, has_end

_AT_ONCE: Final = 500


class LedgerFacts:
    """A `Facts` over a snapshot of the ledger.

    Args:
        connection: the snapshot.
        size: the number of its records.
    """

    def __init__(self, connection: sa.Connection, size: int) -> None:
        self._connection = connection
        self._size = size

    def since(self, at_ms: int) -> int:
        """The position of the first record logged at this time or later; the size where there is none."""
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            logged = self._connection.scalar(sa.select(records.c.at_ms).where(records.c.idx == middle))
            low, high = (middle + 1, high) if (logged or 0) < at_ms else (low, middle)
        return low

    def of_exchange(self, exchange: str) -> Sequence[int]:
        """The positions of an exchange's records, in order."""
        return sorted(self._connection.scalars(sa.select(records.c.idx).where(by_exchange(exchange))))

    def of_subject(self, tokens: Collection[str]) -> Sequence[int]:
        """The positions of the records about a person, in order; batches with that person in them too."""
        alone = sa.select(records.c.idx).where(records.c.subject_token.in_(list(tokens)))
        among = sa.select(record_subjects.c.idx).where(record_subjects.c.token.in_(list(tokens)))
        return sorted({*self._connection.scalars(alone), *self._connection.scalars(among)})

    def openings(self, positions: Sequence[int], *, ended: bool) -> Sequence[int]:
        """Of these openings of streams those that have an end, or those that have none."""
        return sorted(self._openings(positions, has_end() if ended else ~has_end()))

    def _openings(self, positions: Sequence[int], condition: sa.ColumnElement[bool]) -> Iterator[int]:
        for first in range(0, len(positions), _AT_ONCE):
            some = positions[first : first + _AT_ONCE]
            query = sa.select(records.c.idx).where(records.c.idx.in_(some), condition)
            yield from self._connection.scalars(query)
