"""Batches: facts about many subjects in one exchange, an outcome each."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from isthmus.client.calls import Streaming, path
from isthmus.client.values import Python, SubjectLike, to_rows
from isthmus.errors import InvalidArgument, Reason
from isthmus.v1.common_pb2 import DECISION_ALLOW, Column, Receipt, Subject
from isthmus.v1.exchange_service_pb2 import (
    BatchOutcome,
    BatchQueryRequest,
    BatchQueryResponse,
    ExchangeContext,
)

MOST: Final = 10_000
"""How many subjects one batch may name."""
# A newer server may know reasons that this version does not.
_REASONS: Final[dict[int, Reason]] = {each.value: each for each in Reason}


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What came of one subject: its position in the request, whether it was allowed and why not, and its rows."""

    index: int
    allowed: bool
    reasons: tuple[Reason, ...]
    subject_known: bool
    rows: list[dict[str, Python]]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Facts about many subjects, an item each, in the order of the request."""

    exchange: str
    columns: tuple[Column, ...]
    items: tuple[BatchItem, ...]
    receipt: Receipt

    @classmethod
    def of(cls, responses: Iterable[BatchQueryResponse]) -> "BatchResult":
        """Puts the parts of a BatchQuery together."""
        told = _Told()
        items = [item for response in responses for item in told.take(response)]
        return told.result(items)


@dataclass(slots=True)
class _Told:
    """What a batch has told so far; `receipt` arrives with the last part."""

    exchange: str = ""
    columns: tuple[Column, ...] = ()
    receipt: Receipt = field(default_factory=Receipt)

    def take(self, response: BatchQueryResponse) -> list[BatchItem]:
        """The items of one part."""
        self.exchange = self.exchange or response.exchange
        self.columns = self.columns or tuple(response.columns)
        if response.HasField("receipt"):
            self.receipt = response.receipt
        return [_item(outcome, self.columns) for outcome in response.outcomes]

    def result(self, items: Iterable[BatchItem]) -> BatchResult:
        """All of it."""
        ordered = tuple(sorted(items, key=lambda item: item.index))
        return BatchResult(self.exchange, self.columns, ordered, self.receipt)


@dataclass(slots=True, kw_only=True)
class BatchItems(_Told):
    """The items of a batch as they arrive, in the order of the request; gone through once.

    The record of the batch is durable before the first item arrives. Leaving the loop early gives the rest up.
    """

    _responses: Generator[BatchQueryResponse, None, None] = field(repr=False)

    def __iter__(self) -> Iterator[BatchItem]:
        with contextlib.closing(self._responses) as responses:
            for response in responses:
                yield from self.take(response)


@dataclass(slots=True, kw_only=True)
class AsyncBatchItems(_Told):
    """`BatchItems` with `async for`."""

    _responses: AsyncGenerator[BatchQueryResponse, None] = field(repr=False)

    async def __aiter__(self) -> AsyncIterator[BatchItem]:
        async with contextlib.aclosing(self._responses) as responses:
            async for response in responses:
                for item in self.take(response):
                    yield item


def batch_call(context: ExchangeContext, subjects: Sequence[SubjectLike], fields: Sequence[str]) -> Streaming:
    """The call of a BatchQuery.

    Raises:
        InvalidArgument: no subject, or more than 10,000.
    """
    if not 1 <= len(subjects) <= MOST:
        raise InvalidArgument("subjects", f"must be 1 to {MOST}; divide a longer list into several batches")
    request = BatchQueryRequest(context=context, fields=fields)
    add = request.subjects.add
    for each in subjects:
        if isinstance(each, Subject):
            request.subjects.append(each)
        else:
            add(scheme=each[0], id=each[1])
    return Streaming(path("ExchangeService", "BatchQuery"), request)


def _item(outcome: BatchOutcome, columns: Sequence[Column]) -> BatchItem:
    rows = outcome.rows
    reasons = outcome.reasons
    return BatchItem(
        outcome.index,
        outcome.decision == DECISION_ALLOW,
        tuple([_REASONS[each] for each in reasons if each in _REASONS]) if reasons else (),
        outcome.subject_known,
        to_rows(columns, rows) if rows else [],
    )
