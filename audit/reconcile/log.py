"""The log's side of the comparison: decisions in the order of their exchanges, each stream with its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from audit.batch.lines import read_line, split_lines
from audit.ledger.schema import batch_lines, is_decision, is_stream_end, records
from audit.record import AccessRecord
from isthmus.ids import earliest_exchange

_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log says about an exchange: its decision, and for a stream that has ended its end."""

    exchange: str
    index: int
    decision: str
    provider: str
    mode: str
    leaf: bytes
    end: bytes | None

    def record(self) -> AccessRecord:
        """The decision. Raises RecordError: the leaf is none."""
        return AccessRecord.parse(self.leaf)

    def ending(self) -> AccessRecord | None:
        """The end of the stream. Raises RecordError: the leaf is none."""
        return None if self.end is None else AccessRecord.parse(self.end)


class LogReader:
    """Reads decisions from a snapshot of a ledger, of exchanges that began in a time; keeps a few in memory.

    Args:
        connection: the snapshot.
        since: aware; from the beginning unless given.
        until: aware, left out itself; to the end unless given.
    """

    def __init__(
        self, connection: sa.Connection, *, since: datetime | None = None, until: datetime | None = None
    ) -> None:
        self._connection = connection
        self._bounds: list[sa.ColumnElement[bool]] = []
        if since is not None:
            self._bounds.append(records.c.exchange >= earliest_exchange(since))
        if until is not None:
            self._bounds.append(records.c.exchange < earliest_exchange(until))

    def count(self) -> int:
        """How many decisions there are."""
        query = sa.select(sa.func.count()).select_from(records).where(is_decision, *self._bounds)
        return self._connection.scalar(query) or 0

    def decisions(self) -> Iterator[Logged]:
        """Yields each, in the order of their exchanges."""
        columns = ("exchange", "idx", "decision", "provider", "mode", "leaf")
        query = sa.select(*(records.c[name] for name in columns)).where(is_decision, *self._bounds)
        ends = self._stream(sa.select(records.c.exchange, records.c.leaf).where(is_stream_end, *self._bounds))
        end = next(ends, None)
        for row in self._stream(query):
            while end is not None and end.exchange < row.exchange:
                end = next(ends, None)
            own = bytes(end.leaf) if end is not None and end.exchange == row.exchange else None
            yield Logged(row.exchange, row.idx, row.decision, row.provider, row.mode, bytes(row.leaf), own)

    def rows_of_batch(self, index: int) -> int | None:
        """How many rows a batch released, each person's counted once however often they were asked about; None where a
        line was erased.

        Raises:
            LineError: what is stored is no line.
        """
        rows = self._connection.execute(
            sa.select(batch_lines.c.lines).where(batch_lines.c.idx == index).order_by(batch_lines.c.part)
        )
        by_person: dict[str, int] = {}
        texts = [text for row in rows for text in split_lines(bytes(row.lines))]
        if not all(texts) or not texts:
            return None
        for text in texts:
            line = read_line(text)
            by_person[line.token] = line.rows
        return sum(by_person.values())

    def _stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        ordered = query.order_by(records.c.exchange)
        return iter(self._connection.execute(ordered, execution_options={"yield_per": _AT_ONCE}))
