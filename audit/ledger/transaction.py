"""What a caller does inside a serialised transaction, and what is left when it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from audit.batch.lines import BatchLines
from audit.ledger.errors import DuplicateDecision, LedgerDamaged
from audit.ledger.schema import index_values, records
from audit.record import AccessRecord, Kind, milliseconds
from audit.tlog.merkle import hash_leaf
from isthmus.canonical import canonical_json

T = TypeVar("T")
ONCE: Final = frozenset({Kind.DECISION, Kind.STREAM_END})
"""The kinds of which an exchange has at most one record."""


@dataclass(frozen=True, slots=True)
class Commit(Generic[T]):
    """What a transaction left behind, durable when this exists.

    Attributes:
        value: what the work returned.
        size: number of records in the log.
        checkpoint: the newest signed checkpoint; it covers all of them.
        leaf_hashes: the RFC 6962 leaf hash of each record appended, by position.
    """

    value: T
    size: int
    checkpoint: str
    leaf_hashes: dict[int, bytes]


class Transaction:
    """A serialised transaction under way. Use it inside the work only.

    Attributes:
        connection: for reading and writing control tables; never commit or roll it back.
        now: when the transaction began, UTC; every record appended is logged at this time.
        base: number of records when it began.
    """

    def __init__(self, connection: sa.Connection, now: datetime, base: int) -> None:
        self.connection = connection
        self.now = now
        self.base = base
        self._at_ms = milliseconds(now)
        self._once: set[tuple[Kind, str]] = set()
        self.rows: list[tuple[Any, ...]] = []
        self.reasons: list[tuple[int, str]] = []
        self.details: list[tuple[int, bytes]] = []
        self.subjects: list[tuple[str, int]] = []
        self.lines: list[tuple[int, int, bytes, bytes]] = []

    def contradiction(self) -> Exception:
        """What it means that the database refuses these records: an exchange had its one of a kind before, or worse."""
        once = [(row[4], row[3]) for row in self.rows if row[4] in ONCE]
        same = sa.tuple_(records.c.kind, records.c.exchange).in_(once)
        query = sa.select(records.c.exchange).where(same, records.c.idx < self.base)
        found: str | None = self.connection.scalar(query)
        return DuplicateDecision(found) if found else LedgerDamaged("a position of its log is taken")

    def append(
        self,
        record: AccessRecord,
        *,
        detail: Mapping[str, str] | None = None,
        batch: BatchLines | None = None,
    ) -> int:
        """Append a record; it becomes durable together with everything else of the transaction, or not at all.

        Args:
            record: the record; the ledger adds `at["logged"]` and `base`.
            detail: erasable text that belongs to it, such as nonces.
            batch: of a batch, what was decided about each subject; the record holds the root of it.

        Returns:
            Its position in the log, counted from zero.

        Raises:
            LeafTooLarge: over 65,535 bytes.
            DuplicateDecision: a second decision about one exchange in this transaction, or a second end of one
                stream. About an exchange decided or ended earlier, the transaction as a whole raises it.
        """
        leaf = record.leaf(logged=self.now, base=self.base)
        position = self.base + len(self.rows)
        if record.kind in ONCE:
            if (record.kind, record.exchange) in self._once:
                raise DuplicateDecision(record.exchange)
            self._once.add((record.kind, record.exchange))
        self.rows.append((position, leaf, hash_leaf(leaf), *index_values(record, self._at_ms)))
        if record.reasons:
            self.reasons += [(position, reason) for reason in dict.fromkeys(record.reasons)]
        if detail:
            self.details.append((position, canonical_json(dict(detail))))
        if batch is not None:
            self.subjects += [(token, position) for token in sorted(batch.tokens)]
            self.lines += [(position, part, *each) for part, each in enumerate(batch.parts())]
        return position
