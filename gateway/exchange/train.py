"""Trains: all exchanges that wait for one department travel together, and while they do the next ones gather.

No timer: an idle department's train leaves with the first who boards. One train in flight a department, so a
slow department delays only its own callers.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gateway.exchange.item import Exchange
from isthmus.errors import ResourceExhausted, Unavailable
from isthmus.reasons import Reason

_RETRY: Final = timedelta(milliseconds=500)

Run = Callable[[Sequence[Exchange]], None]


@dataclass(frozen=True, slots=True)
class TrainLimits:
    """What is bounded.

    Attributes:
        waiting: exchanges that wait for one department, those on its train included; a further one is refused
            as OVERLOADED. Each of them holds a worker.
        aboard: exchanges of one train.
        weight: bytes of the requests of one train, so that its grant stays small.
    """

    waiting: int = 192
    aboard: int = 128
    weight: int = 1_000_000


class Train:
    """The train of one department, and the thread that drives it.

    Args:
        name: for the thread and for messages.
        run: takes a train through every stage; must end each exchange and raise nothing.
        limits: what is bounded.
    """

    def __init__(self, name: str, run: Run, limits: TrainLimits) -> None:
        self._name = name
        self._run = run
        self._limits = limits
        self._waiting: deque[Exchange] = deque()
        self._changed = threading.Condition()
        self._aboard = 0
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
            if len(self._waiting) + self._aboard >= self._limits.waiting and not transfer:
                raise ResourceExhausted(
                    Reason.OVERLOADED,
                    f"{self._limits.waiting} exchanges wait for this department already; try again shortly",
                    retry_after=_RETRY,
                )
            self._waiting.append(exchange)
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Lets those who wait arrive, takes no more, and returns whether all did within `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _drive(self) -> None:
        while aboard := self._gather():
            self._run(aboard)

    def _gather(self) -> list[Exchange]:
        """Waits for somebody, then takes all who fit; an empty list is the end of the line."""
        with self._changed:
            self._aboard = 0
            while not self._waiting and not self._closed:
                self._changed.wait()
            aboard: list[Exchange] = []
            weight = 0
            while self._waiting and len(aboard) < self._limits.aboard:
                weight += len(self._waiting[0].asked.request)
                if aboard and weight > self._limits.weight:
                    break
                aboard.append(self._waiting.popleft())
            self._aboard = len(aboard)
            return aboard
