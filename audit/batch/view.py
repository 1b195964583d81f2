"""One person's line of a batch, read from the ledger."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from audit.batch.lines import Line, prove_line, read_line, split_lines
from audit.ledger.schema import batch_lines

_PARTS: Final = (
    sa.select(batch_lines.c.hashes, batch_lines.c.lines)
    .where(batch_lines.c.idx == sa.bindparam("of_record"))
    .order_by(batch_lines.c.part)
)


@dataclass(frozen=True, slots=True)
class ProvenLine:
    """A line, its bytes, and the audit path from it to the `subjects_root` of its record."""

    line: Line
    text: bytes
    path: tuple[bytes, ...]


def lines_about(connection: sa.Connection, index: int, tokens: Collection[str]) -> list[Line]:
    """The lines about one person in the batch at a position of the log, in their order; none where they were erased.

    Args:
        connection: a snapshot of the ledger.
        index: of the record.
        tokens: of the person, in every key epoch.

    Raises:
        LineError: what is stored is no line.
    """
    wanted = [f'"token":"{token}"'.encode() for token in tokens]
    rows = connection.execute(_PARTS, {"of_record": index})
    texts = (text for row in rows for text in split_lines(row.lines))
    return [read_line(text) for text in texts if any(text[:-1].endswith(each) for each in wanted)]


def proven_line(connection: sa.Connection, index: int, number: int) -> ProvenLine | None:
    """A line of a batch with the proof that its record vouches for it; None where there is none, or it was erased.

    Args:
        connection: a snapshot of the ledger.
        index: of the record.
        number: of the line.

    Raises:
        LineError: what is stored is no line.
    """
    rows = connection.execute(_PARTS, {"of_record": index}).all()
    texts = [text for row in rows for text in split_lines(row.lines)]
    if not 0 <= number < len(texts) or not texts[number]:
        return None
    path = prove_line(b"".join(row.hashes for row in rows), number)
    return ProvenLine(read_line(texts[number]), texts[number], tuple(path))
