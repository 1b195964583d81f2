"""Batches from their request to their last response, each in the thread of its caller, and only so many at once.

A batch does not travel on a train: it would keep the others waiting for as long as its department needs for all of its
subjects.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway.batch.answer import responses
from gateway.batch.asked import BatchAsked
from gateway.batch.fetch import BatchFetch
from gateway.batch.places import Places
from gateway.batch.release import BatchRelease, Counts, Refused, Settled
from gateway.exchange.item import Exchange
from isthmus.errors import Internal, IsthmusError
from isthmus.ids import new_exchange
from isthmus.rpc import Caller
from isthmus.v1.exchange_service_pb2 import BatchQueryResponse

_DEFAULT_DEADLINE: Final = timedelta(seconds=60)


class Observer(Counts, Protocol):
    """Measures the stages too."""

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None: ...


class Batches:
    """The batches of a gateway.

    Args:
        release: decides and records.
        fetch: asks departments.
        places: how many run at once.
        observer: measures.
        clock: returns the present time, UTC-aware.
    """

    def __init__(
        self,
        release: BatchRelease,
        fetch: BatchFetch,
        *,
        places: Places,
        observer: Observer,
        clock: Callable[[], datetime],
    ) -> None:
        self._release = release
        self._fetch = fetch
        self._places = places
        self._observer = observer
        self._clock = clock

    def run(self, batch: BatchAsked, who: Caller) -> Iterator[BatchQueryResponse]:
        """Yields the answer to a batch; the first message comes after its record is durable.

        Raises:
            ResourceExhausted: OVERLOADED, as many batches as may run at once do.
            IsthmusError: the batch was refused as a whole, or failed.
        """
        with self._places.from_consumer(batch.asked.consumer):
            now = self._clock()
            deadline = who.deadline or now + _DEFAULT_DEADLINE
            exchange = Exchange(str(new_exchange(now)), batch.asked, received=now, deadline=deadline)
            settled = self._travel(batch, exchange, who)
        yield from responses(exchange.name, settled)

    def _travel(self, batch: BatchAsked, exchange: Exchange, who: Caller) -> Settled:
        """Takes the batch through every stage; it ends with exactly one record, whatever happens."""
        try:
            return self._stages(batch, exchange, who)
        except Refused as refusal:
            refusal.error.exchange = exchange.name
            raise refusal.error from None
        except IsthmusError as fault:
            fault.exchange = exchange.name
            self._release.fail(batch, exchange, fault)
            raise
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, the caller gets an end
            self._observer.fault(fault)
            error = Internal(exchange.name)
            self._release.fail(batch, exchange, error)
            raise error from None

    def _stages(self, batch: BatchAsked, exchange: Exchange, who: Caller) -> Settled:
        started = time.perf_counter()
        admitted = self._release.admit(batch, exchange, now=self._clock())
        asking = self._fetch.asking(admitted.passenger)

        def leave() -> None:
            # Called when the call ends for any reason; it does nothing once the batch has its record.
            exchange.leave(self._clock())
            asking.cancel()

        if not who.context.add_callback(leave):
            leave()
        exchange.stages["admitted"] = self._clock()
        started = self._measure("admit", exchange, started)
        with self._places.to_provider(admitted.passenger.contract.provider):
            gathered = asking.gather(admitted.people.persons, admitted.parts())
        if gathered.found or gathered.lost:
            exchange.stages["fetched"] = self._clock()
        started = self._measure("fetch", exchange, started)
        settled = self._release.release(admitted, gathered)
        self._measure("release", exchange, started)
        return settled

    def _measure(self, stage: str, exchange: Exchange, since: float) -> float:
        now = time.perf_counter()
        self._observer.stage(stage, [exchange], now - since)
        return now
