"""The trains of a gateway: one for each department that has a node, and one for whatever is not known yet."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.exchange.item import Exchange
from gateway.exchange.train import Train, TrainLimits
from isthmus.errors import IsthmusError

_MAX_ROUTES: Final = 10_000

Journey = Callable[[str, Sequence[Exchange]], None]


class Network:
    """Puts exchanges on trains.

    Which department a contract belongs to is remembered, as a hint that saves the change of trains. It decides
    nothing: what is true is read on every journey. Hints are kept apart by consumer, so that how long an answer
    takes never tells one department about the contracts of another.

    Args:
        departments: those that have a train, `departments/{department}`.
        journey: takes a train through every stage.
        limits: of each train.
    """

    def __init__(self, departments: Iterable[str], journey: Journey, limits: TrainLimits) -> None:
        self._trains = {name: _train(name, journey, limits) for name in ("", *departments)}
        self._routes: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts every train."""
        for train in self._trains.values():
            train.start()

    def board(self, exchange: Exchange) -> None:
        """Puts an exchange on the next train.

        Raises:
            ResourceExhausted, Unavailable: it has not begun; see `Train.board`.
        """
        key = (exchange.asked.consumer, exchange.asked.contract)
        with self._lock:
            department = self._routes.get(key, "")
            if department:
                self._routes.move_to_end(key)
        self._trains[department].board(exchange)

    def transfer(self, exchange: Exchange, station: str, department: str) -> bool:
        """Hands an exchange over to the train of its department; False when it has none or takes nobody more."""
        train = self._trains.get(department)
        if train is None or department == station:
            return False
        self._remember((exchange.asked.consumer, exchange.asked.contract), department)
        try:
            train.board(exchange, transfer=True)
        except IsthmusError:
            return False
        return True

    def close(self, grace: float) -> bool:
        """Lets everybody aboard arrive within `grace` seconds; returns whether all did."""
        deadline = time.monotonic() + grace
        # All at once: one that is slow must not take the time of the others.
        for train in self._trains.values():
            train.shut()
        arrived = [train.close(max(0.0, deadline - time.monotonic())) for train in self._trains.values()]
        return all(arrived)

    def _remember(self, key: tuple[str, str], department: str) -> None:
        with self._lock:
            self._routes[key] = department
            self._routes.move_to_end(key)
            if len(self._routes) > _MAX_ROUTES:
                self._routes.popitem(last=False)


def _train(name: str, journey: Journey, limits: TrainLimits) -> Train:
    label = name.removeprefix("departments/") or "unknown"
    return Train(label, lambda exchanges: journey(name, exchanges), limits)
