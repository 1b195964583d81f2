"""Cosignatures as the ledger's database keeps them, beside the checkpoints they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from audit.ledger import Head
from audit.ledger.schema import checkpoints, cosignatures
from audit.tlog.note import Signature


@dataclass(frozen=True, slots=True)
class Cosigned:
    """One cosignature: of which size, by which witness of the configuration, its line, and when it came (ms since 1970)."""

    size: int
    witness: str
    line: str
    at_ms: int


def put_cosignatures(
    connection: sa.Connection, size: int, lines: Mapping[str, Signature], *, at_ms: int
) -> None:
    """Keep what witnesses signed about the checkpoint of `size`; a witness's newer line replaces its older one."""
    for witness, signature in lines.items():
        same = (cosignatures.c.size == size) & (cosignatures.c.witness == witness)
        connection.execute(cosignatures.delete().where(same))
        values = {"size": size, "witness": witness, "line": signature.line(), "at_ms": at_ms}
        connection.execute(cosignatures.insert(), values)


def newest_of(connection: sa.Connection, witness: str) -> Cosigned | None:
    """What one witness cosigned last."""
    table = cosignatures.c
    query = sa.select(cosignatures).where(table.witness == witness).order_by(table.size.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Cosigned(*row)


def newest_of_all(connection: sa.Connection) -> list[Cosigned]:
    """What each witness cosigned last, in order of their names, those that are asked no more included."""
    names = sa.select(cosignatures.c.witness).distinct().order_by(cosignatures.c.witness)
    found = (newest_of(connection, name) for name in connection.scalars(names).all())
    return [each for each in found if each is not None]


def newest_quorum(connection: sa.Connection, required: int) -> int:
    """The size of the newest checkpoint that so many witnesses cosigned; 0 if there is none."""
    query = (
        sa.select(cosignatures.c.size)
        .group_by(cosignatures.c.size)
        .having(sa.func.count() >= required)
        .order_by(cosignatures.c.size.desc())
        .limit(1)
    )
    return connection.scalar(query) or 0


def cosigned_note(connection: sa.Connection, head: Head) -> bytes:
    """A checkpoint with the lines of all witnesses that cosigned it, in order of their names; alone if none did."""
    query = (
        sa.select(cosignatures.c.line)
        .where(cosignatures.c.size == head.size)
        .order_by(cosignatures.c.witness)
    )
    return head.note + "".join(connection.scalars(query)).encode()


def newest_cosigned(connection: sa.Connection, *, beyond: int = 0) -> Head | None:
    """The newest checkpoint that any witness cosigned, with their lines, if it covers more than `beyond` records.

    Args:
        connection: a snapshot.
        beyond: a size that it must exceed; the position of a record that it has to cover.
    """
    size = sa.select(sa.func.max(cosignatures.c.size)).scalar_subquery()
    columns = (checkpoints.c.size, checkpoints.c.root, checkpoints.c.note, checkpoints.c.at_ms)
    row = connection.execute(sa.select(*columns).where(checkpoints.c.size == size)).first()
    if row is None or row.size <= beyond:
        return None
    head = Head(*row)
    return Head(head.size, head.root, cosigned_note(connection, head), head.at_ms)
