"""Trains: all exchanges that wait for one department travel together, and while they do the next ones gather.

An idle department's train leaves with the first who boards. After a train of several the next one lingers for the callers
who have just arrived and ask again: never for longer than a part of the journey, and a few milliseconds. One train in
flight a department, so a slow department delays only its own callers.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gateway.exchange.item import Exchange
from gateway.exchange.platform import Platform
from isthmus.errors import ResourceExhausted, Unavailable
from isthmus.reasons import Reason

_RETRY: Final = timedelta(milliseconds=500)

Run = Callable[[Sequence[Exchange]], None]


@dataclass(frozen=True, slots=True)
class TrainLimits:
    """What is bounded.

    Attributes:
        waiting: exchanges that wait for one department, those on its train included; a further one is refused
            as OVERLOADED. Each of them holds a worker. Of one consumer at most three quarters of them.
        aboard: exchanges of one train.
        weight: bytes of the requests of one train, so that its grant stays small.
        linger_s: seconds that a train waits at most for those whom the one before has brought back.
    """

    waiting: int = 192
    aboard: int = 128
    weight: int = 1_000_000
    linger_s: float = 0.005

    @property
    def of_one(self) -> int:
        """How many of one consumer may wait for one department."""
        return self.waiting - self.waiting // 4


_SEVERAL: Final = 4
"""Fewer aboard are no crowd: a train that lingered for them would only make them wait."""
_MOST: Final = 0.8
"""A train that so many board of those who might is not kept for the rest."""
_PART: Final = 0.25
"""Of the last journey's time, how much a train lingers at most."""


class Train:
    """The train of one department, and the thread that drives it.

    Args:
        name: for the thread and for messages.
        run: takes a train through every stage; must end each exchange and raise nothing.
        limits: what is bounded.
        clock: seconds, never going back.
    """

    def __init__(
        self, name: str, run: Run, limits: TrainLimits, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._name = name
        self._run = run
        self._limits = limits
        self._waiting = Platform()
        self._changed = threading.Condition()
        self._clock = clock
        self._aboard: Counter[str] = Counter()
        self._wanted = 1
        self._brought, self._took, self._returned = 0, 0.0, 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._drive, name=f"train-{name}", daemon=True)

    def start(self) -> None:
        """Starts driving."""
        self._thread.start()

    def board(self, exchange: Exchange, *, transfer: bool = False) -> None:
        """Puts an exchange on the next train.

        Args:
            exchange: what is to travel.
            transfer: whether it comes from another train; it has been let in already and is not refused.

        Raises:
            ResourceExhausted: OVERLOADED; the exchange has not begun.
            Unavailable: the gateway is shutting down.
        """
        with self._changed:
            if self._closed:
                raise Unavailable(Reason.OVERLOADED, "the gateway is shutting down", retry_after=_RETRY)
            if not transfer:
                self._require_place(exchange.asked.consumer)
            self._waiting.add(exchange)
            if len(self._waiting) >= self._wanted:
                self._changed.notify()

    def shut(self) -> None:
        """Takes no more, and lets those who wait arrive."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Lets those who wait arrive, takes no more, and returns whether all did within `timeout` seconds."""
        self.shut()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _require_place(self, consumer: str) -> None:
        limits = self._limits
        if len(self._waiting) + self._aboard.total() >= limits.waiting:
            words = f"{limits.waiting} exchanges wait for this department already; try again shortly"
        elif self._waiting.of(consumer) + self._aboard[consumer] >= limits.of_one:
            words = (
                f"{limits.of_one} exchanges of {consumer} wait for this department already; try again shortly"
            )
        else:
            return
        raise ResourceExhausted(Reason.OVERLOADED, words, retry_after=_RETRY)

    def _drive(self) -> None:
        while aboard := self._gather():
            began = self._clock()
            self._run(aboard)
            self._returned = self._clock()
            self._brought, self._took = len(aboard), self._returned - began

    def _gather(self) -> list[Exchange]:
        """Waits for somebody, then takes all who fit; an empty list is the end of the line."""
        limits = self._limits
        with self._changed:
            self._aboard.clear()
            might = min(len(self._waiting) + self._brought, limits.aboard)
            self._await(1, None)
            # Whoever comes later does not come back: they find an idle department, and wait for nobody.
            if self._brought >= _SEVERAL and self._clock() - self._returned <= limits.linger_s:
                self._await(int(might * _MOST), min(limits.linger_s, self._took * _PART))
            aboard = self._waiting.take(limits.aboard, limits.weight)
            self._aboard.update(each.asked.consumer for each in aboard)
            return aboard

    def _await(self, wanted: int, seconds: float | None) -> None:
        """Waits until so many wait, or the time is over, or the line is closed."""
        self._wanted = wanted
        self._changed.wait_for(lambda: self._closed or len(self._waiting) >= wanted, seconds)
        self._wanted = 1
