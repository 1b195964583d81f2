"""Those who wait for a train, by consumer: they board in turns, so that a crowd of one delays no other."""

from collections import OrderedDict, deque

from gateway.exchange.item import Exchange


class Platform:
    """Exchanges that wait, in the order of their consumers' turns. Not safe to use from several threads."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Exchange]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, consumer: str) -> int:
        """How many of one consumer wait."""
        return len(self._lines.get(consumer, ()))

    def add(self, exchange: Exchange) -> None:
        """Puts an exchange at the end of its consumer's line."""
        self._lines.setdefault(exchange.asked.consumer, deque()).append(exchange)
        self._count += 1

    def take(self, most: int, weight: int) -> list[Exchange]:
        """Takes those who board: one of each consumer in turn, until all have, or `most`, or so many bytes of requests.
        The first boards whatever it weighs.
        """
        aboard: list[Exchange] = []
        while self._count and len(aboard) < most:
            consumer, line = next(iter(self._lines.items()))
            weight -= len(line[0].asked.request)
            if aboard and weight < 0:
                break
            aboard.append(line.popleft())
            self._count -= 1
            if line:
                self._lines.move_to_end(consumer)
            else:
                del self._lines[consumer]
        return aboard
