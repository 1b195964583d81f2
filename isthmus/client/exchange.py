"""Exchanges: asking for facts under a contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.client.batch import AsyncBatchItems, BatchItems, BatchResult, batch_call
from isthmus.client.calls import Call, path
from isthmus.client.results import QueryResult, VerifyResult
from isthmus.client.streams import AsyncRowStream, RowStream, stream_request
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.client.values import SubjectLike, to_predicate, to_subject
from isthmus.v1 import exchange_service_pb2 as pb
from isthmus.v1.common_pb2 import Predicate
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
        context = Under(contract, purpose, case_reference, emergency).context()
        return BatchResult.of(self._transport.stream(batch_call(context, subjects, fields)))

    def batch_items(
        self,
        *,
        contract: str,
        purpose: str,
        subjects: Sequence[SubjectLike],
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> BatchItems:
        """As `batch`, with the items one at a time as they arrive."""
        context = Under(contract, purpose, case_reference, emergency).context()
        call = batch_call(context, subjects, fields)
        return BatchItems(_responses=self._transport.stream(call))

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
        resume: bool = False,
        arrow: bool = False,
        case_reference: str = "",
        emergency: str = "",
    ) -> RowStream:
        """Asks for a dataset, or the part of it that satisfies every filter `(field, operator, value)`.

        `resume_token` goes on after an earlier stream of the same fields and filters. With `resume` the stream goes on by
        itself after an interruption that may pass; each row comes exactly once.
        """
        under, asked = (
            Under(contract, purpose, case_reference, emergency),
            [to_predicate(*each) for each in filters],
        )
        return RowStream(
            request=stream_request(under.context(), fields, filters=asked, arrow=arrow),
            resume=resume,
            resume_token=resume_token,
            _open=lambda call: self._transport.stream(call, reader=bytes),
        )

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
        context = Under(contract, purpose, case_reference, emergency).context()
        call = batch_call(context, subjects, fields)
        return BatchResult.of([response async for response in self._transport.stream(call)])

    def batch_items(
        self,
        *,
        contract: str,
        purpose: str,
        subjects: Sequence[SubjectLike],
        fields: Sequence[str],
        case_reference: str = "",
        emergency: str = "",
    ) -> AsyncBatchItems:
        """As `Exchange.batch_items`."""
        context = Under(contract, purpose, case_reference, emergency).context()
        call = batch_call(context, subjects, fields)
        return AsyncBatchItems(_responses=self._transport.stream(call))

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
        resume: bool = False,
        arrow: bool = False,
        case_reference: str = "",
        emergency: str = "",
    ) -> AsyncRowStream:
        """As `Exchange.stream`."""
        under, asked = (
            Under(contract, purpose, case_reference, emergency),
            [to_predicate(*each) for each in filters],
        )
        return AsyncRowStream(
            request=stream_request(under.context(), fields, filters=asked, arrow=arrow),
            resume=resume,
            resume_token=resume_token,
            _open=lambda call: self._transport.stream(call, reader=bytes),
        )

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
