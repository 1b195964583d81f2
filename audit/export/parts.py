"""An export in parts: so many records as fit, and where the next part goes on. A part is all that is in memory.

The end is fixed when the export begins, before its own record is there. The log is append-only and positions never
change, so whoever goes on with a token gets exactly the records that are left, each once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from audit.export.lines import csv_header, csv_lines, json_lines
from audit.export.ocsf import ocsf_lines
from audit.export.parquet import ParquetMissing, ParquetWriter, require_parquet
from audit.export.token import Span
from audit.search.query import Condition, Found, oldest_first
from isthmus.errors import InvalidArgument
from isthmus.v1 import audit_service_pb2 as pb

PART_RECORDS: Final = 1000
PART_BYTES: Final = 1 << 19
"""Leaves in one part: OCSF says them in up to five times as many bytes, and a message holds 4 MiB."""
_WINDOW: Final = 2048
"""Positions that one statement looks through, so that none of them takes long however rare the records are."""
_PATIENCE: Final = 64 * _WINDOW
"""Positions after which a part is sent even if it holds no record, so that an interruption loses no more than that."""

Read = Callable[[], AbstractContextManager[sa.Connection]]
Write = Callable[[Sequence[Found]], bytes]


@dataclass(frozen=True, slots=True)
class Part:
    """The next bytes, how many records they hold, and what is left after them; None where nothing can go on there."""

    data: bytes
    count: int
    left: Span | None


def require_format(export_format: "pb.ExportFormat.ValueType", *, resumed: bool) -> None:
    """Return only if an export of this form can be begun, or gone on with.

    Raises:
        InvalidArgument: Parquet without pyarrow, or Parquet in the middle.
    """
    if export_format != pb.EXPORT_FORMAT_PARQUET:
        return
    if resumed:
        words = (
            "does not go on with Parquet, whose index stands at its end: begin again, or export JSON Lines"
        )
        raise InvalidArgument("resume_token", words)
    try:
        require_parquet()
    except ParquetMissing as error:
        words = f"cannot be written by this server: {error}. Export JSON Lines; `isthmus audit export` makes it of them"
        raise InvalidArgument("format", words) from None


def parts(
    read: Read,
    conditions: Sequence[Condition],
    span: Span,
    *,
    export_format: "pb.ExportFormat.ValueType",
    log: str,
) -> Iterator[Part]:
    """Yields the parts of an export.

    Args:
        read: opens a snapshot; one a part, so that a slow receiver holds none.
        conditions: which records.
        span: which positions.
        export_format: the form.
        log: the log's name.
    """
    if export_format == pb.EXPORT_FORMAT_PARQUET:
        yield from _parquet(_chunks(read, conditions, span))
        return
    # The header goes with the first records: by itself it would come again to whoever goes on right after it.
    head = csv_header() if export_format == pb.EXPORT_FORMAT_CSV and span.next == 0 else b""
    if head and span.end == 0:
        yield Part(head, 0, None)
    write = _writer(export_format, log)
    for found, left in _chunks(read, conditions, span):
        yield Part(head + write(found), len(found), left)
        head = b""


def _writer(export_format: "pb.ExportFormat.ValueType", log: str) -> Write:
    if export_format == pb.EXPORT_FORMAT_CSV:
        return csv_lines
    if export_format == pb.EXPORT_FORMAT_OCSF:
        return lambda found: ocsf_lines(found, log=log)
    return json_lines


def _parquet(chunks: Iterator[tuple[list[Found], Span]]) -> Iterator[Part]:
    writer = ParquetWriter()
    count = 0
    for found, _ in chunks:
        count += len(found)
        if data := writer.write(found):
            yield Part(data, count, None)
            count = 0
    yield Part(writer.close(), count, None)


@dataclass(slots=True)
class _Chunk:
    """Records until they are as many as fit into one part."""

    found: list[Found] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return len(self.found) >= PART_RECORDS or self.size >= PART_BYTES

    def fill(
        self, connection: sa.Connection, conditions: Sequence[Condition], between: tuple[int, int]
    ) -> int:
        """Takes records from a range; returns the position to go on at."""
        for each in oldest_first(connection, conditions, between=between, limit=PART_RECORDS):
            self.found.append(each)
            self.size += len(each.leaf)
            if self.full:
                return each.index + 1
        return between[1]


def _chunks(read: Read, conditions: Sequence[Condition], span: Span) -> Iterator[tuple[list[Found], Span]]:
    """Records that fit into one part, and what is left after them; where records are rare, a chunk may hold none."""
    at = span.next
    while at < span.end:
        chunk, begun = _Chunk(), at
        with read() as connection:
            while at < span.end and at - begun < _PATIENCE and not chunk.full:
                at = chunk.fill(connection, conditions, (at, min(at + _WINDOW, span.end)))
        yield chunk.found, Span(at, span.end)
