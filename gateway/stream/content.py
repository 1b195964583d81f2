"""What a department streams, against what was granted and what it says about it. No I/O.

Every chunk is counted from its own bytes: what a department says about a chunk is compared, never believed. Chunks go on
as they came, so that its receipt covers exactly what the consumer gets.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from gateway.exchange.evidence import Misbehaved
from gateway.exchange.grant import Passenger, granted_fields
from gateway.stream.wish import MAX_TOKEN, Encoding
from isthmus.v1.common_pb2 import RowSet
from isthmus.v1.department_service_pb2 import StreamRowsResponse
from isthmus.v1.exchange_service_pb2 import StreamResponse

MAX_CHUNK: Final = (4 << 20) - (64 << 10)
"""Bytes of one chunk: with its envelope it must fit into a message of a gRPC server."""
_ROW_SET_TAG: Final = bytes([StreamResponse.DESCRIPTOR.fields_by_name["row_set"].number << 3 | 2])


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk that may be handed on: the response that carries it, its rows, and its bytes as the receipt counts them."""

    response: StreamResponse
    rows: int
    content: bytes


class Content(Protocol):
    """Reads one stream. Each method raises Misbehaved for what breaks the protocol, quoting nothing of it."""

    def begin(self, message: StreamRowsResponse) -> list[Part]:
        """The parts of the first message, whose columns are in order."""

    def part(self, chunk: bytes) -> Part:
        """The part of a message in the middle."""

    def end(self, chunk: bytes) -> Part:
        """The part of the last message; it holds no row."""


def read_first(message: StreamRowsResponse, passenger: Passenger, content: Content) -> list[Part]:
    """Returns the parts of the first message of a stream; where it is the last one too, the end is one of them.

    Raises:
        Misbehaved: its columns are not exactly those granted, or its content is not what it says.
    """
    granted = [(each["name"], each["transform"]) for each in granted_fields(passenger)]
    if [(each.name, each.transform) for each in message.columns] != granted:
        raise Misbehaved("the columns are not exactly those granted")
    parts = _counted(message, content.begin(message))
    return [*parts, content.end(b"")] if message.receipt else parts


def read_next(message: StreamRowsResponse, content: Content) -> Part:
    """Returns the part of any further message.

    Raises:
        Misbehaved: as for `read_first`.
    """
    if message.columns:
        raise Misbehaved("the columns are declared a second time")
    part = content.end(message.chunk) if message.receipt else content.part(message.chunk)
    return _counted(message, [part])[0]


def _counted(message: StreamRowsResponse, parts: list[Part]) -> list[Part]:
    if len(message.chunk) > MAX_CHUNK:
        raise Misbehaved(f"a chunk is larger than {MAX_CHUNK} bytes")
    if len(message.resume_token) > MAX_TOKEN:
        raise Misbehaved(f"a resume token is longer than {MAX_TOKEN} characters")
    if message.row_count != sum(part.rows for part in parts):
        raise Misbehaved("the rows counted are not those sent")
    parts[-1].response.resume_token = message.resume_token
    return parts


def content_of(encoding: Encoding) -> Content:
    """Returns what reads a stream in an encoding.

    Raises:
        ModuleNotFoundError: ARROW, and the extra `arrow` is not installed.
    """
    if encoding is Encoding.ROWS:
        return RowsContent()
    from gateway.stream.arrow import ArrowContent

    return ArrowContent()


class RowsContent:
    """Serialised RowSets: the first response holds the columns, every further one rows only."""

    def __init__(self) -> None:
        self._width = 0

    def begin(self, message: StreamRowsResponse) -> list[Part]:
        """As `Content.begin`."""
        self._width = len(message.columns)
        parts = [Part(StreamResponse(row_set=RowSet(columns=message.columns)), 0, b"")]
        return [*parts, self.part(message.chunk)] if message.chunk else parts

    def part(self, chunk: bytes) -> Part:
        """As `Content.part`."""
        # Parsed as the field of the response in which it travels on: that saves a copy of every value.
        try:
            response = StreamResponse.FromString(_ROW_SET_TAG + _varint(len(chunk)) + chunk)
        except DecodeError:
            raise Misbehaved("a chunk is no RowSet") from None
        row_set = response.row_set
        row_set.DiscardUnknownFields()
        if row_set.SerializeToString(deterministic=True) != chunk:
            raise Misbehaved("a chunk is not a RowSet in its one spelling, or holds unknown fields")
        if row_set.columns or not row_set.rows:
            raise Misbehaved("a chunk holds columns, or no rows")
        width = self._width
        if any(len(row.values) != width for row in row_set.rows):
            raise Misbehaved("a row has more or fewer values than there are columns")
        return Part(response, len(row_set.rows), chunk)

    def end(self, chunk: bytes) -> Part:
        """As `Content.end`."""
        if chunk:
            raise Misbehaved("the last message holds rows beside the receipt")
        return Part(StreamResponse(), 0, b"")


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
