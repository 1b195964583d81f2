"""Timestamps as the ledger's database keeps them, beside the checkpoints they are of."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from audit.ledger.schema import checkpoints, timestamps


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One timestamp, of which nothing is verified.

    Attributes:
        size: of the checkpoint.
        authority: what the deployment calls the authority.
        response: the authority's whole answer, DER.
        note: the checkpoint as the ledger holds it; None if it holds none of this size.
    """

    size: int
    authority: str
    response: bytes
    note: bytes | None


def put_timestamp(
    connection: sa.Connection, size: int, authority: str, *, response: bytes, at_ms: int
) -> None:
    """Keep a timestamp of the checkpoint of `size`, unless this authority gave one before: the older is the better."""
    same = (timestamps.c.size == size) & (timestamps.c.authority == authority)
    if connection.scalar(sa.select(sa.func.count()).select_from(timestamps).where(same)) == 0:
        values = {"size": size, "authority": authority, "response": response, "at_ms": at_ms}
        connection.execute(timestamps.insert(), values)


def newest_timestamped(connection: sa.Connection) -> int:
    """The size of the newest checkpoint that has a timestamp; 0 if none has."""
    return connection.scalar(sa.select(sa.func.max(timestamps.c.size))) or 0


def newest_at_ms(connection: sa.Connection) -> int | None:
    """When the newest timestamp came, milliseconds since 1970."""
    query = sa.select(timestamps.c.at_ms).order_by(timestamps.c.size.desc()).limit(1)
    found: int | None = connection.scalar(query)
    return found


def stored_tokens(connection: sa.Connection, *, beyond: int = -1) -> Iterator[StoredToken]:
    """The timestamps, oldest checkpoint first.

    Args:
        connection: a snapshot.
        beyond: only those of checkpoints larger than this.
    """
    query = (
        sa.select(timestamps.c.size, timestamps.c.authority, timestamps.c.response, checkpoints.c.note)
        .join(checkpoints, checkpoints.c.size == timestamps.c.size, isouter=True)
        .where(timestamps.c.size > beyond)
        .order_by(timestamps.c.size, timestamps.c.authority)
    )
    for row in connection.execute(query):
        yield StoredToken(*row)
