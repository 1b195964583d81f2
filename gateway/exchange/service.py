"""ExchangeService: each method puts an exchange on its train, waits, and hands over what it brings back."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import grpc

from gateway.batch.asked import of_batch
from gateway.batch.batches import Batches
from gateway.exchange.explain import Explainer
from gateway.exchange.item import Answer, Asked, Exchange
from gateway.exchange.network import Network
from gateway.exchange.questions import of_explain, of_query, of_stream, of_verify
from gateway.limits import RateLimit
from gateway.stream.streams import Streams
from gateway.stream.wish import Wish
from isthmus.ids import new_exchange
from isthmus.rpc import Caller, caller
from isthmus.v1.exchange_service_pb2 import (
    BatchQueryRequest,
    BatchQueryResponse,
    ExplainRequest,
    ExplainResponse,
    QueryRequest,
    QueryResponse,
    StreamRequest,
    StreamResponse,
    VerifyRequest,
    VerifyResponse,
)
from isthmus.v1.exchange_service_pb2_grpc import ExchangeServiceServicer

_DEFAULT_DEADLINE: Final = timedelta(seconds=30)


class ExchangeService(ExchangeServiceServicer):
    """The methods.

    Args:
        network: the trains.
        explainer: answers Explain.
        streams: serves Stream.
        batches: serves BatchQuery.
        limit: turns floods away before anything else is done.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        network: Network,
        explainer: Explainer,
        streams: Streams,
        batches: Batches,
        *,
        limit: RateLimit,
        clock: Callable[[], datetime],
    ) -> None:
        self._network = network
        self._explainer = explainer
        self._streams = streams
        self._batches = batches
        self._limit = limit
        self._clock = clock

    def Query(self, request: QueryRequest, context: grpc.ServicerContext) -> QueryResponse:
        """Facts about one subject."""
        who = self._admit(context)
        exchange, answer = self._travel(of_query(request, who), who)
        return QueryResponse(
            exchange=exchange.name,
            subject_known=answer.subject_known,
            row_set=answer.row_set,
            receipt=answer.receipt,
        )

    def Verify(self, request: VerifyRequest, context: grpc.ServicerContext) -> VerifyResponse:
        """A yes, a no or an unknown about one subject."""
        who = self._admit(context)
        exchange, answer = self._travel(of_verify(request, who), who)
        return VerifyResponse(exchange=exchange.name, verdict=answer.verdict, receipt=answer.receipt)

    def Explain(self, request: ExplainRequest, context: grpc.ServicerContext) -> ExplainResponse:
        """How an exchange would be decided now; recorded, because it tells something about a person."""
        who = self._admit(context)
        patience = None if who.deadline is None else (who.deadline - self._clock()).total_seconds()
        return self._explainer.explain(of_explain(request, who), patience=patience)

    def BatchQuery(
        self, request: BatchQueryRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchQueryResponse]:
        """Facts about many subjects, an outcome each."""
        who = self._admit(context)
        return self._batches.run(of_batch(request, who), who)

    def Stream(self, request: StreamRequest, context: grpc.ServicerContext) -> Iterator[StreamResponse]:
        """A whole dataset, or the part of it that satisfies the filters."""
        who = self._admit(context)
        return self._streams.serve(of_stream(request, who), Wish.of(request), who)

    def _admit(self, context: grpc.ServicerContext) -> Caller:
        who = caller(context)
        self._limit.admit(who.identity)
        return who

    def _travel(self, asked: Asked, who: Caller) -> tuple[Exchange, Answer]:
        now = self._clock()
        deadline = who.deadline or now + _DEFAULT_DEADLINE
        exchange = Exchange(str(new_exchange(now)), asked, received=now, deadline=deadline)
        # Called when the call ends for any reason; it does nothing once the exchange has ended.
        if not who.context.add_callback(lambda: exchange.leave(self._clock())):
            exchange.leave(now)
        self._network.board(exchange)
        return exchange, exchange.wait(max(0.0, (deadline - self._clock()).total_seconds()))
