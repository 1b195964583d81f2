"""Streams: the rows of a dataset, or of the part of it that satisfies filters, as they come.

    stream = client.exchange.stream(contract=…, purpose=…, fields=["姓名"], resume=True)
    for row in stream:
        …

Nothing is gathered: the next part is asked for when the one before has been used up.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from isthmus.client.arrow import ArrowReader
from isthmus.client.calls import Streaming, path
from isthmus.client.values import Python, to_rows
from isthmus.client.wire import field_bytes
from isthmus.errors import IsthmusError, Reason, Unavailable
from isthmus.v1 import exchange_service_pb2 as pb
from isthmus.v1.common_pb2 import Column, Predicate, Receipt

STREAM_METHOD: Final = path("ExchangeService", "Stream")
_ROW_SET: Final = pb.StreamResponse.DESCRIPTOR.fields_by_name["row_set"].number
_PASSING: Final = frozenset(
    {
        Reason.DEPARTMENT_UNAVAILABLE,
        Reason.DEPARTMENT_TIMEOUT,
        Reason.LEDGER_UNAVAILABLE,
        Reason.OVERLOADED,
        Reason.RATE_LIMITED,
    }
)
"""What may be over when the stream is asked to go on."""
_ATTEMPTS: Final = 6
"""Tries in a row that brought nothing before a stream is given up."""
_SHORTEST_S, _LONGEST_S = 0.2, 10.0


def stream_request(
    context: pb.ExchangeContext, fields: Sequence[str], *, filters: Sequence[Predicate], arrow: bool
) -> pb.StreamRequest:
    """The request of a Stream from its beginning."""
    encoding = pb.STREAM_ENCODING_ARROW if arrow else pb.STREAM_ENCODING_ROWS
    return pb.StreamRequest(context=context, fields=fields, filters=filters, encoding=encoding)


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The evidence of a stream that came to its end; `digest` is the SHA-256, hex, of what arrived, as a receipt has it.

    Of a stream that was resumed, it is that of the last exchange, which the receipt is about.
    """

    exchange: str
    receipt: Receipt
    digest: str


@dataclass(frozen=True, slots=True)
class StreamPart:
    """What arrived at once: rows, or the bytes of one message of an Arrow IPC stream, and what goes on after it.

    `resume_token` is empty where the provider gives none: then nothing can go on here.
    """

    rows: list[dict[str, Python]]
    arrow: bytes
    resume_token: str


@dataclass(slots=True, kw_only=True)
class _Told:
    """What a stream has told so far.

    Attributes:
        exchange: `exchanges/{uuid}`; of a stream that was resumed, the last.
        resume_token: goes on after the last part that was used up; empty where nothing can.
        columns: of rows; empty for Arrow, whose schema holds them.
        receipt: arrives with the last part; a stream without one did not come to its end.
        rows: how many rows have been used up; of Arrow, those that `batches` yielded.
        resumed: how often the stream was taken up again.
    """

    request: pb.StreamRequest = field(repr=False)
    resume: bool = False
    exchange: str = ""
    resume_token: str = ""
    columns: tuple[Column, ...] = ()
    receipt: Receipt | None = None
    rows: int = 0
    resumed: int = 0
    _any: bool = False
    _schema: bytes = b""
    _begun: bool = False
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)
    _failures: int = 0

    @property
    def result(self) -> StreamResult:
        """What `client.verify_receipt` checks, once the stream has come to its end.

        Raises:
            Unavailable: it has not.
        """
        if self.receipt is None:
            raise Unavailable(
                Reason.UNSPECIFIED, "the stream has not come to its end, so there is no receipt"
            )
        return StreamResult(self.exchange, self.receipt, self._digest.hexdigest())

    def _begin(self) -> Streaming:
        """The call that begins the stream, or goes on with it."""
        self._begun, self._digest = False, hashlib.sha256()
        self.request.resume_token = self.resume_token
        return Streaming(STREAM_METHOD, self.request)

    def _take(self, data: bytes) -> StreamPart:
        response = pb.StreamResponse.FromString(data)
        self.exchange = response.exchange or self.exchange
        if response.HasField("receipt"):
            self.receipt = response.receipt
        if response.WhichOneof("content") == "arrow":
            return self._take_arrow(response)
        if response.row_set.columns:
            self._require_same(tuple(response.row_set.columns))
        else:
            self._digest.update(field_bytes(data, _ROW_SET))
        return StreamPart(to_rows(self.columns, response.row_set.rows), b"", response.resume_token)

    def _take_arrow(self, response: pb.StreamResponse) -> StreamPart:
        chunk, first = response.arrow, not self._begun
        self._begun = True
        self._digest.update(chunk)
        if first and self._schema:
            if chunk != self._schema:
                raise _changed()
            chunk = b""  # A stream that goes on says its schema again; whoever reads it has it already.
        elif first:
            self._schema = chunk
        return StreamPart([], chunk, response.resume_token)

    def _require_same(self, columns: tuple[Column, ...]) -> None:
        if self.columns and columns != self.columns:
            raise _changed()
        self.columns = columns

    def _used_up(self, part: StreamPart, *, last: bool) -> None:
        """Only now: a token that ran ahead of its rows would lose them to whoever resumes."""
        self._failures = 0
        self.rows += len(part.rows)
        if part.rows or (part.arrow and part.arrow != self._schema and not last):
            self._any, self.resume_token = True, part.resume_token

    def _pause(self, error: IsthmusError) -> float:
        """Seconds to wait before going on after a failure. Raises it when the stream cannot go on."""
        self._failures += 1
        stuck = self._any and not self.resume_token
        if not self.resume or error.reason not in _PASSING or stuck or self._failures > _ATTEMPTS:
            raise error
        self.resumed += 1
        told = error.retry_after.total_seconds() if error.retry_after is not None else 0.0
        return min(_LONGEST_S, max(told, _SHORTEST_S * 2.0**self._failures))


@dataclass(slots=True, kw_only=True)
class RowStream(_Told):
    """The rows of a dataset, one at a time; with `arrow=True` also as record batches, or as the bytes of an IPC stream.

    It can be gone through once. Leaving the loop early ends the stream at the server too. With `resume=True` it goes on by
    itself after an interruption, and every row comes exactly once; each time is an exchange with records of its own.
    """

    _open: Callable[[Streaming], Generator[bytes, None, None]] = field(repr=False)
    _sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __iter__(self) -> Iterator[dict[str, Python]]:
        if self.request.encoding == pb.STREAM_ENCODING_ARROW:
            for batch in self.batches():
                yield from batch.to_pylist()
            return
        for part in self.parts():
            yield from part.rows

    def batches(self) -> Iterator[Any]:
        """Yields `pyarrow.RecordBatch`es; needs the extra `arrow`."""
        reader = ArrowReader()
        for chunk in self.chunks():
            batch = reader.read(chunk)
            if batch is not None:
                yield batch
                self.rows += batch.num_rows

    def chunks(self) -> Iterator[bytes]:
        """Yields the bytes of one Arrow IPC stream, a message at a time."""
        for part in self.parts():
            if part.arrow:
                yield part.arrow

    def parts(self) -> Iterator[StreamPart]:
        """Yields what arrives, as it arrives, with the token that goes on after each part."""
        while True:
            try:
                yield from self._once()
                return
            except IsthmusError as error:
                self._sleep(self._pause(error))

    def _once(self) -> Iterator[StreamPart]:
        with contextlib.closing(self._open(self._begin())) as responses:
            for data in responses:
                part = self._take(data)
                yield part
                self._used_up(part, last=self.receipt is not None)


@dataclass(slots=True, kw_only=True)
class AsyncRowStream(_Told):
    """`RowStream` with `async for`."""

    _open: Callable[[Streaming], AsyncGenerator[bytes, None]] = field(repr=False)

    async def __aiter__(self) -> AsyncIterator[dict[str, Python]]:
        if self.request.encoding == pb.STREAM_ENCODING_ARROW:
            async for batch in self.batches():
                for row in batch.to_pylist():
                    yield row
            return
        async for part in self.parts():
            for row in part.rows:
                yield row

    async def batches(self) -> AsyncIterator[Any]:
        """As `RowStream.batches`."""
        reader = ArrowReader()
        async for chunk in self.chunks():
            batch = reader.read(chunk)
            if batch is not None:
                yield batch
                self.rows += batch.num_rows

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `RowStream.chunks`."""
        async for part in self.parts():
            if part.arrow:
                yield part.arrow

    async def parts(self) -> AsyncIterator[StreamPart]:
        """As `RowStream.parts`."""
        while True:
            try:
                async for part in self._once():
                    yield part
                return
            except IsthmusError as error:
                await asyncio.sleep(self._pause(error))

    async def _once(self) -> AsyncIterator[StreamPart]:
        async with contextlib.aclosing(self._open(self._begin())) as responses:
            async for data in responses:
                part = self._take(data)
                yield part
                self._used_up(part, last=self.receipt is not None)


def _changed() -> Unavailable:
    return Unavailable(
        Reason.DEPARTMENT_MISBEHAVED, "the stream goes on with other columns than it began with"
    )
