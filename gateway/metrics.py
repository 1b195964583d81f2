"""What the gateway counts about sharing (DESIGN section 12). Labels are bounded by the configuration and the registry;
no label ever holds a subject or a caller's own words."""

import traceback
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange
from gateway.exchange.state import View

NONE: Final = "none"
OTHER: Final = "other"
_MAX_DATASETS: Final = 1_000
_MAX_FRAMES: Final = 20
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class GatewayMetrics:
    """Counts exchanges, and logs what nobody foresaw. It is the watcher and observer of the pipeline.

    Args:
        registry: where the metrics are registered.
        departments: those of the configuration, `departments/{department}`; all others are counted as `other`.
        log: for unforeseen faults.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        departments: Iterable[str],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._departments = frozenset(departments)
        self._datasets: set[str] = set()
        self._log = log
        self._exchanges = Counter(
            "isthmus_exchanges_total",
            "Exchanges that have a record, by how they ended.",
            ("consumer", "provider", "dataset", "mode", "decision"),
            registry=registry,
        )
        self._denials = Counter(
            "isthmus_denials_total",
            "Denials, once for each reason.",
            ("consumer", "provider", "reason"),
            registry=registry,
        )
        self._duration = Histogram(
            "isthmus_exchange_duration_seconds",
            "Seconds that an exchange spent in a stage.",
            ("mode", "stage"),
            buckets=_SECONDS,
            registry=registry,
        )
        shared = ("consumer", "provider", "dataset")
        self._rows = Counter("isthmus_rows_released_total", "Rows released.", shared, registry=registry)
        self._bytes = Counter("isthmus_bytes_released_total", "Bytes released.", shared, registry=registry)
        self._emergencies = Counter(
            "isthmus_emergency_uses_total",
            "Releases in an emergency, without the consent they otherwise need.",
            ("consumer", "provider"),
            registry=registry,
        )
        self._turned_away = Counter(
            "isthmus_exchanges_rate_limited_total",
            "Exchanges turned away by the rate limit; they leave no record.",
            ("consumer",),
            registry=registry,
        )
        self._unrecorded = Counter(
            "isthmus_exchanges_unrecorded_total",
            "Exchanges that failed and left no record, because the ledger took none; nothing was released.",
            registry=registry,
        )
        self._up = Gauge(
            "isthmus_department_up",
            "Whether the department's node says that it serves.",
            ("department",),
            registry=registry,
        )

    def ended(self, exchange: Exchange, view: View | None, ending: Ending) -> None:
        """An exchange has ended and its record is durable."""
        labels = self._labels(exchange, view)
        self._exchanges.labels(*labels, exchange.asked.mode.value, ending.decision).inc()
        if ending.decision == "DENY":
            for reason in ending.reasons:
                self._denials.labels(*labels[:2], reason.name).inc()
        if ending.served is not None:
            self._rows.labels(*labels).inc(ending.served.row_count)
            self._bytes.labels(*labels).inc(len(ending.served.content))
            if exchange.asked.emergency:
                self._emergencies.labels(*labels[:2]).inc()

    def refused_caller(self, department: str, mode: str, reason: str) -> None:
        """Somebody whose role may not exchange tried to; `department` is empty for a caller of none."""
        consumer = self._department(department)
        self._exchanges.labels(consumer, NONE, NONE, mode, "DENY").inc()
        self._denials.labels(consumer, NONE, reason).inc()

    def rate_limited(self, department: str) -> None:
        """The rate limit turned a caller of `department` away."""
        self._turned_away.labels(self._department(department)).inc()

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None:
        """So many exchanges have passed a stage together."""
        for exchange in exchanges:
            self._duration.labels(exchange.asked.mode.value, name).observe(seconds)

    def unrecorded(self, exchange: Exchange) -> None:
        """An exchange has failed and the ledger took no record of it."""
        self._unrecorded.inc()
        self._log.error("an exchange has no record", exchange=exchange.name)

    def fault(self, fault: Exception) -> None:
        """Something that nobody foresaw. Frames are logged, never the message: it may quote a row."""
        frames = traceback.extract_tb(fault.__traceback__)[-_MAX_FRAMES:]
        self._log.error(
            "unforeseen fault in a train",
            exception=type(fault).__qualname__,
            frames=[f"{each.filename}:{each.lineno} {each.name}" for each in frames],
        )

    def department_up(self, department: str, up: bool) -> None:
        """A department's node serves, or does not."""
        self._up.labels(self._department(department)).set(int(up))

    def _labels(self, exchange: Exchange, view: View | None) -> tuple[str, str, str]:
        consumer = self._department(exchange.asked.consumer)
        if view is None or view.contract is None:
            return consumer, NONE, NONE
        return consumer, self._department(view.contract.provider), self._dataset(view.contract.dataset)

    def _department(self, name: str) -> str:
        if not name:
            return NONE
        return name.removeprefix("departments/") if name in self._departments else OTHER

    def _dataset(self, name: str) -> str:
        # Contracts name only datasets that were published; the bound is for registries that grow without end.
        if name not in self._datasets:
            if len(self._datasets) >= _MAX_DATASETS:
                return OTHER
            self._datasets.add(name)
        return name.rpartition("/")[2]
