"""Cosignatures as the ledger's database keeps them, beside the checkpoints they belong to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from audit.ledger import Head
from audit.ledger.schema import checkpoints, cosignatures
from audit.tlog.cosignature import CosignerKey
from audit.tlog.note import Signature
from audit.tlog.text import decode_base64

_DASH: Final = "\u2014 "
_RECENT: Final = 256
_NEXT_NAME: Final = sa.select(sa.func.min(cosignatures.c.witness)).where(
    cosignatures.c.witness > sa.bindparam("after")
)


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
    found: list[Cosigned] = []
    name: str | None = ""
    # From name to name: `distinct` would read the entry of every cosignature.
    while name := connection.scalar(_NEXT_NAME, {"after": name}):
        newest = newest_of(connection, name)
        if newest is not None:
            found.append(newest)
    return found


def newest_quorum(
    connection: sa.Connection, required: int, *, keys: Collection[CosignerKey] | None = None
) -> int:
    """How many records so many witnesses vouch for; 0 if so many do not.

    A witness that cosigned a checkpoint has seen proof that all before it belong to the same log, so a larger one covers a
    smaller. A witness is a key: whatever names it has or had in the configuration, it counts once.

    Args:
        connection: a snapshot.
        required: how many, at least 1.
        keys: only these count; all that ever cosigned, unless given.
    """
    known = None if keys is None else {(key.name, key.key_id) for key in keys}
    sizes: dict[tuple[str, bytes], int] = {}
    for each in newest_of_all(connection):
        key = _key_in(each.line)
        if key is not None and (known is None or key in known):
            sizes[key] = max(each.size, sizes.get(key, 0))
    largest = sorted(sizes.values(), reverse=True)
    return largest[required - 1] if len(largest) >= required else 0


def cosigned_note(connection: sa.Connection, head: Head) -> bytes:
    """A checkpoint with the lines of all witnesses that cosigned it, in order of their names; alone if none did."""
    query = (
        sa.select(cosignatures.c.line)
        .where(cosignatures.c.size == head.size)
        .order_by(cosignatures.c.witness)
    )
    return head.note + "".join(connection.scalars(query)).encode()


def newest_cosigned(connection: sa.Connection, *, beyond: int = 0, required: int = 1) -> Head | None:
    """The newest checkpoint that so many witnesses cosigned, else that any did, with their lines.

    Args:
        connection: a snapshot.
        beyond: a size that it must exceed; the position of a record that it has to cover.
        required: how many witnesses it should have; looked for among the newest 256 cosignatures.

    Returns:
        None if no checkpoint that covers more than `beyond` records is cosigned.
    """
    newest = cosignatures.c.size.desc()
    query = sa.select(cosignatures.c.size, cosignatures.c.line).where(cosignatures.c.size > beyond)
    keys: dict[int, set[tuple[str, bytes] | None]] = {}
    for size, line in connection.execute(query.order_by(newest).limit(_RECENT)):
        keys.setdefault(size, set()).add(_key_in(line))
        if len(keys[size]) >= required:
            return _with_lines(connection, size)
    return _with_lines(connection, max(keys)) if keys else None


def _with_lines(connection: sa.Connection, size: int) -> Head | None:
    columns = (checkpoints.c.size, checkpoints.c.root, checkpoints.c.note, checkpoints.c.at_ms)
    row = connection.execute(sa.select(*columns).where(checkpoints.c.size == size)).first()
    if row is None:
        return None
    head = Head(*row)
    return Head(head.size, head.root, cosigned_note(connection, head), head.at_ms)


def _key_in(line: str) -> tuple[str, bytes] | None:
    """The name and id of the key that a stored line names; None if it is none."""
    name, _, value = line.removeprefix(_DASH).rstrip("\n").partition(" ")
    try:
        return name, decode_base64(value)[:4]
    except ValueError:
        return None
