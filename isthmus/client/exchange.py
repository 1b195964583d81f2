"""Exchanges: asking for facts under a contract."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.client.calls import Call, Streaming, path
from isthmus.client.results import BatchResult, QueryResult, VerifyResult
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.client.values import Python, SubjectLike, to_predicate, to_rows, to_subject
from isthmus.v1 import exchange_service_pb2 as pb
from isthmus.v1.common_pb2 import Column, Predicate, Receipt
from isthmus.v1.exchange_service_pb2 import ExchangeContext, ExplainResponse

_SERVICE = "ExchangeService"


@dataclass(frozen=True, slots=True)
class Under:
    """Under which contract, for which purpose and case, and in which emergency facts are asked for."""

    contract: str
    purpose: str
    case_reference: str = ""
    emergency: str = ""

    def context(self) -> ExchangeContext:
        """The same as a message."""
        return ExchangeContext(
            contract=self.contract,
            purpose=self.purpose,
            case_reference=self.case_reference,
            emergency=self.emergency,
        )


def query_request(under: Under, subject: SubjectLike, fields: Sequence[str]) -> pb.QueryRequest:
    """The request of a Query."""
    return pb.QueryRequest(context=under.context(), subject=to_subject(subject), fields=fields)


def verify_request(under: Under, subject: SubjectLike, predicate: Predicate) -> pb.VerifyRequest:
    """The request of a Verify."""
    return pb.VerifyRequest(context=under.context(), subject=to_subject(subject), predicate=predicate)


def _query(request: pb.QueryRequest) -> Call[QueryResult]:
    return Call(path(_SERVICE, "Query"), request, QueryResult.parse)


def _verify(request: pb.VerifyRequest) -> Call[VerifyResult]:
    return Call(path(_SERVICE, "Verify"), request, VerifyResult.of)


def _batch(under: Under, subjects: Sequence[SubjectLike], fields: Sequence[str]) -> Streaming:
    people = [to_subject(each) for each in subjects]
    request = pb.BatchQueryRequest(context=under.context(), subjects=people, fields=fields)
    return Streaming(path(_SERVICE, "BatchQuery"), request)


def _stream(
    under: Under, fields: Sequence[str], *, filters: Sequence[Predicate], resume_token: str, arrow: bool
) -> Streaming:
    request = pb.StreamRequest(
        context=under.context(),
        fields=fields,
        filters=filters,
        encoding=pb.STREAM_ENCODING_ARROW if arrow else pb.STREAM_ENCODING_ROWS,
        resume_token=resume_token,
    )
    return Streaming(path(_SERVICE, "Stream"), request)


def explain_call(
    under: Under,
    subject: SubjectLike | None,
    fields: Sequence[str],
    predicate: Predicate | None,
) -> Call[ExplainResponse]:
    """The call of `Exchange.explain`: a Verify with a predicate, a Query with a subject, a Stream with neither."""
    if subject is not None and predicate is not None:
        request = pb.ExplainRequest(verify=verify_request(under, subject, predicate))
    elif subject is not None:
        request = pb.ExplainRequest(query=query_request(under, subject, fields))
    else:
        filters = [] if predicate is None else [predicate]
        stream = pb.StreamRequest(context=under.context(), fields=fields, filters=filters)
        request = pb.ExplainRequest(stream=stream)
    return Call(path(_SERVICE, "Explain"), request, lambda response: response)


@dataclass(slots=True)
class _Progress:
    """What a stream has told so far.

    `resume_token` goes on after the last part that was taken. `receipt` arrives with the last part; a stream
    without one did not end well.
    """

    exchange: str = ""
    resume_token: str = ""
    receipt: Receipt | None = None
    columns: tuple[Column, ...] = ()

    def _take(self, response: pb.StreamResponse) -> list[dict[str, Python]]:
        self.exchange = self.exchange or response.exchange
        self.columns = self.columns or tuple(response.row_set.columns)
        if response.HasField("receipt"):
            self.receipt = response.receipt
        return to_rows(self.columns, response.row_set.rows)


@dataclass(slots=True, kw_only=True)
class RowStream(_Progress):
    """The rows of a dataset, one at a time; or, with `chunks()`, the parts of an Arrow IPC stream.

    It can be gone through once. Leaving the loop early ends the stream at the server too.
    """

    _responses: Generator[pb.StreamResponse, None, None] = field(repr=False)

    def __iter__(self) -> Iterator[dict[str, Python]]:
        with contextlib.closing(self._responses) as responses:
            for response in responses:
                yield from self._take(response)
                # Only now: a token that ran ahead of its rows would lose them to whoever resumes.
                self.resume_token = response.resume_token or self.resume_token

    def chunks(self) -> Iterator[bytes]:
        """Yields the bytes of the Arrow IPC stream, when the stream was asked for with `arrow=True`."""
        with contextlib.closing(self._responses) as responses:
            for response in responses:
                self._take(response)
                yield response.arrow
                self.resume_token = response.resume_token or self.resume_token


@dataclass(slots=True, kw_only=True)
class AsyncRowStream(_Progress):
    """`RowStream` with `async for`."""

    _responses: AsyncGenerator[pb.StreamResponse, None] = field(repr=False)

    async def __aiter__(self) -> AsyncIterator[dict[str, Python]]:
        async with contextlib.aclosing(self._responses) as responses:
            async for response in responses:
                for row in self._take(response):
                    yield row
                self.resume_token = response.resume_token or self.resume_token

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `RowStream.chunks`."""
        async with contextlib.aclosing(self._responses) as responses:
            async for response in responses:
                self._take(response)
                yield response.arrow
                self.resume_token = response.resume_token or self.resume_token


class Exchange:
    """Exchanges. Every method raises `IsthmusError`; `Denied` when a rule refused, with the exchange to quote.

    `contract` is `contracts/{contract}`, `purpose` one of its purposes word for word, `case_reference` the number
    of the matter that needs the facts. `emergency` says why a life or health depends on it, without personal data, and is
    given only where the contract allows to go without consent then: it is recorded word for word, and reviewed.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def query(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike,
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> QueryResult:
        """Asks for facts about one subject, `(scheme, id)`."""
        request = query_request(Under(contract, purpose, case_reference, emergency), subject, fields)
        return self._transport.run(_query(request), reader=bytes)

    def batch(
        self,
        *,
        contract: str,
        purpose: str,
        subjects: Sequence[SubjectLike],
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> BatchResult:
        """Asks for facts about up to 10 000 subjects; each has an outcome of its own."""
        call = _batch(Under(contract, purpose, case_reference, emergency), subjects, fields)
        return BatchResult.of(self._transport.stream(call))

    def verify(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike,
        predicate: tuple[str, str, Any],
        case_reference: str = "",
        emergency: str = "",
    ) -> VerifyResult:
        """Asks whether `predicate`, such as `("出生日期", "<=", date(2008, 9, 1))`, holds; no data leave."""
        under = Under(contract, purpose, case_reference, emergency)
        return self._transport.run(_verify(verify_request(under, subject, to_predicate(*predicate))))

    def stream(
        self,
        *,
        contract: str,
        purpose: str,
        fields: Sequence[str],
        filters: Sequence[tuple[str, str, Any]] = (),
        resume_token: str = "",
        arrow: bool = False,
        case_reference: str = "",
        emergency: str = "",
    ) -> RowStream:
        """Asks for a dataset, or the part of it that satisfies every filter `(field, operator, value)`."""
        under, asked = (
            Under(contract, purpose, case_reference, emergency),
            [to_predicate(*each) for each in filters],
        )
        call = _stream(under, fields, filters=asked, resume_token=resume_token, arrow=arrow)
        return RowStream(_responses=self._transport.stream(call))

    def explain(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike | None = None,
        fields: Sequence[str] = (),
        predicate: tuple[str, str, Any] | None = None,
        case_reference: str = "",
        emergency: str = "",
    ) -> ExplainResponse:
        """Says how an exchange would be decided now, and what would make it pass, without performing it."""
        asked = None if predicate is None else to_predicate(*predicate)
        call = explain_call(Under(contract, purpose, case_reference, emergency), subject, fields, asked)
        return self._transport.run(call)


class AsyncExchange:
    """`Exchange` with await."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def query(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike,
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> QueryResult:
        """As `Exchange.query`."""
        request = query_request(Under(contract, purpose, case_reference, emergency), subject, fields)
        return await self._transport.run(_query(request), reader=bytes)

    async def batch(
        self,
        *,
        contract: str,
        purpose: str,
        subjects: Sequence[SubjectLike],
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> BatchResult:
        """As `Exchange.batch`."""
        call = _batch(Under(contract, purpose, case_reference, emergency), subjects, fields)
        return BatchResult.of([response async for response in self._transport.stream(call)])

    async def verify(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike,
        predicate: tuple[str, str, Any],
        case_reference: str = "",
        emergency: str = "",
    ) -> VerifyResult:
        """As `Exchange.verify`."""
        under = Under(contract, purpose, case_reference, emergency)
        return await self._transport.run(_verify(verify_request(under, subject, to_predicate(*predicate))))

    def stream(
        self,
        *,
        contract: str,
        purpose: str,
        fields: Sequence[str],
        filters: Sequence[tuple[str, str, Any]] = (),
        resume_token: str = "",
        arrow: bool = False,
        case_reference: str = "",
        emergency: str = "",
    ) -> AsyncRowStream:
        """As `Exchange.stream`."""
        under, asked = (
            Under(contract, purpose, case_reference, emergency),
            [to_predicate(*each) for each in filters],
        )
        call = _stream(under, fields, filters=asked, resume_token=resume_token, arrow=arrow)
        return AsyncRowStream(_responses=self._transport.stream(call))

    async def explain(
        self,
        *,
        contract: str,
        purpose: str,
        subject: SubjectLike | None = None,
        fields: Sequence[str] = (),
        predicate: tuple[str, str, Any] | None = None,
        case_reference: str = "",
        emergency: str = "",
    ) -> ExplainResponse:
        """As `Exchange.explain`."""
        asked = None if predicate is None else to_predicate(*predicate)
        call = explain_call(Under(contract, purpose, case_reference, emergency), subject, fields, asked)
        return await self._transport.run(call)
