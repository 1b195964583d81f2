"""Handing a stream on: the state is read again right before every chunk, and rows that a quota limits are counted durably
before they leave.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from audit.ledger import Ledger, Transaction
from gateway.exchange.ending import Ending
from gateway.exchange.state import Rules, View, World, read_world
from gateway.quotas import debit_rows, write_usage
from gateway.stream.content import Part
from gateway.stream.ending import Broken, Stopped
from gateway.stream.judge import StreamJudge
from gateway.stream.observer import StreamObserver
from gateway.stream.source import Source
from gateway.stream.underway import Underway
from isthmus.v1.exchange_service_pb2 import StreamResponse


class Handing:
    """Hands streams on.

    Args:
        ledger: whose state is read.
        rules: what turns state into decisions.
        judge: decides about each chunk.
        source: the departments' side.
        observer: measures.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        judge: StreamJudge,
        *,
        source: Source,
        observer: StreamObserver,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._judge = judge
        self._source = source
        self._observer = observer
        self._clock = clock

    def hand_on(self, stream: Underway, parts: Sequence[Part]) -> Iterator[StreamResponse]:
        """Yields the responses of an open stream, all but the last.

        Args:
            stream: the stream.
            parts: those of the department's first message.

        Raises:
            Stopped: the state no longer allows it.
            Broken: it was broken off.
            Misbehaved, grpc.RpcError: the department broke the protocol, or failed.
            Unavailable: the state cannot be read, or the quota not be counted.
        """
        for number, part in enumerate(parts):
            if not number:
                part.response.exchange = stream.exchange.name
            yield self._allow(stream, part)
        for part in self._source.rest(stream):
            yield self._allow(stream, part)

    def _allow(self, stream: Underway, part: Part) -> StreamResponse:
        if stream.cause is not None:
            raise Broken
        view = stream.passenger.view
        counted = part.rows and any(limit.rows for limit in view.limits)
        ending = self._count(stream, part.rows) if counted else self._look(stream, part.rows)
        if ending is not None:
            raise Stopped(ending)
        stream.add(part.rows, part.content)
        self._observer.handed_on(stream.exchange, view, rows=part.rows, size=len(part.content))
        return part.response

    def _look(self, stream: Underway, rows: int) -> Ending | None:
        asked, nodes = stream.exchange.asked, [stream.node]
        with self._ledger.read() as connection:
            world = read_world(connection, [asked], self._rules, now=self._clock(), nodes=nodes)
        return self._judged(stream, world, rows)[1]

    def _count(self, stream: Underway, rows: int) -> Ending | None:
        def work(transaction: Transaction) -> Ending | None:
            asked, nodes = stream.exchange.asked, [stream.node]
            connection = transaction.connection
            world = read_world(connection, [asked], self._rules, now=transaction.now, nodes=nodes)
            before = dict(world.usage)
            view, ending = self._judged(stream, world, rows)
            if ending is None:
                debit_rows(view.limits, world.usage, rows=rows)
                write_usage(connection, before, world.usage)
            return ending

        return self._ledger.transact(work).value

    def _judged(self, stream: Underway, world: World, rows: int) -> tuple[View, Ending | None]:
        view = world.views[0]
        return view, self._judge.part(stream.passenger, view, world, node=stream.node, rows=rows)
