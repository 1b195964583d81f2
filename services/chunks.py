"""The chunks of a stream, as typed rows or as Apache Arrow."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from services.plan import Shape
from services.row_cells import RowEncoder

MAX_CHUNK_BYTES: Final = 3_500_000
"""Leaves room for the rest of a message within gRPC's limit of 4 MiB."""

Columns = Sequence[Sequence[Any]]


class RowTooLarge(Exception):
    """A single row does not fit into a message."""


class ChunkEncoder(Protocol):
    """How a stream's rows are written; for one stream."""

    head: bytes
    tail: bytes

    def encode(self, columns: Columns, count: int) -> bytes:
        """One chunk.

        Args:
            columns: the stored values of each column of `Shape.needed`, and possibly more.
            count: how many rows there are, at least one.

        Raises:
            UnfitField: a stored value is not of its declared type.
        """
        ...


class RowChunks:
    """Typed rows: each chunk is a serialised RowSet without columns."""

    head = b""
    tail = b""

    def __init__(self, shape: Shape) -> None:
        self._encoder = RowEncoder(shape)

    def encode(self, columns: Columns, count: int) -> bytes:
        return b"".join(self._encoder.entries_of(columns, count))


def chunks(encoder: ChunkEncoder, columns: Columns, count: int) -> Iterator[tuple[bytes, int]]:
    """The chunks of some rows, none larger than a message may be, each with its number of rows.

    Raises:
        UnfitField: a stored value is not of its declared type.
        RowTooLarge: one row is larger than a message.
    """
    if count == 0:
        return
    chunk = encoder.encode(columns, count)
    if len(chunk) <= MAX_CHUNK_BYTES:
        yield chunk, count
        return
    if count == 1:
        raise RowTooLarge
    middle = count // 2
    yield from chunks(encoder, [each[:middle] for each in columns], middle)
    yield from chunks(encoder, [each[middle:] for each in columns], count - middle)
