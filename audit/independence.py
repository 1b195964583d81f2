"""How far others vouch for the log: what a quorum of witnesses or a timestamp covers, and how long the rest has waited."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from audit.ledger.schema import checkpoints
from audit.timestamps.stored import newest_timestamped
from audit.tlog.cosignature import CosignerKey
from audit.witness.stored import newest_quorum


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one kind of outside witness covers.

    Attributes:
        size: number of records, from the first on.
        waiting_since: when the first record beyond them was logged, UTC; None when there is none.
    """

    size: int
    waiting_since: datetime | None

    def waited(self, now: datetime) -> float:
        """Seconds that the oldest record that is not covered has waited; 0 when all are."""
        if self.waiting_since is None:
            return 0.0
        return max(0.0, (now - self.waiting_since).total_seconds())


def covered_by_witnesses(
    connection: sa.Connection, required: int, *, keys: Collection[CosignerKey] | None = None
) -> Coverage:
    """What `required` witnesses vouch for, of those with one of `keys`, or of all that ever cosigned."""
    return _coverage(connection, newest_quorum(connection, required, keys=keys))


def covered_by_timestamps(connection: sa.Connection) -> Coverage:
    """What checkpoints with a timestamp cover."""
    return _coverage(connection, newest_timestamped(connection))


def _coverage(connection: sa.Connection, size: int) -> Coverage:
    query = (
        sa.select(checkpoints.c.at_ms).where(checkpoints.c.size > size).order_by(checkpoints.c.size).limit(1)
    )
    at_ms = connection.scalar(query)
    return Coverage(size, None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC))
