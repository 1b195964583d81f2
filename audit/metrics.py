"""The ledger's metrics: how much it holds, how long commits take, how many records share one."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, Histogram

from isthmus.errors import Unavailable

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class _Head(Protocol):
    @property
    def size(self) -> int: ...

    @property
    def at_ms(self) -> int: ...


class LedgerMetrics:
    """What the ledger counts. Size and age are read from the database at each scrape, so that every process
    that shares it reports the same; NaN while it cannot be read, and for the age of an empty log.

    Args:
        registry: where the metrics are registered.
        newest: returns the newest checkpoint; may raise Unavailable. None where another process reports the size and
            age.
        clock: returns the present time, UTC-aware.
        storage: returns how many bytes the database takes, and how many are free for it; NaN for what nobody can say.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        newest: Callable[[], _Head] | None,
        clock: Callable[[], datetime],
        storage: Callable[[], tuple[float, float]],
    ) -> None:
        self._clock = clock
        self._seconds = Histogram(
            "isthmus_ledger_commit_seconds",
            "Time of a ledger transaction that appended records, waiting included.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._batch = Histogram(
            "isthmus_ledger_batch_size",
            "Records that one ledger transaction appended.",
            registry=registry,
            buckets=_RECORDS,
        )
        if newest is not None:
            self._report(registry, newest)
            self._measure(registry, storage)

    def committed(self, records: int, seconds: float) -> None:
        """A transaction appended so many records in so many seconds."""
        self._seconds.observe(seconds)
        self._batch.observe(records)

    def _report(self, registry: CollectorRegistry, newest: Callable[[], _Head]) -> None:
        records = Gauge("isthmus_ledger_records", "Records in the ledger.", registry=registry)
        records.set_function(lambda: _read(newest, lambda head: head.size))
        age = Gauge(
            "isthmus_checkpoint_age_seconds", "Time since the newest signed checkpoint.", registry=registry
        )
        age.set_function(lambda: _read(newest, self._age))

    def _measure(self, registry: CollectorRegistry, storage: Callable[[], tuple[float, float]]) -> None:
        taken = Gauge(
            "isthmus_ledger_bytes", "Bytes that the ledger's database takes on its disk.", registry=registry
        )
        taken.set_function(lambda: storage()[0])
        free = Gauge(
            "isthmus_ledger_free_bytes", "Bytes that are free on the disk of the ledger.", registry=registry
        )
        free.set_function(lambda: storage()[1])

    def _age(self, head: _Head) -> float:
        return self._clock().timestamp() - head.at_ms / 1000 if head.size else math.nan


def _read(newest: Callable[[], _Head], value: Callable[[_Head], float]) -> float:
    try:
        return value(newest())
    except Unavailable:
        return math.nan
