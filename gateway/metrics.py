"""What the gateway counts about sharing (DESIGN section 12). Labels are bounded by the configuration and the registry;
no label ever holds a subject or a caller's own words."""

import traceback
from collections import Counter as Counted
from collections.abc import Iterable, Sequence
from typing import Final

import grpc
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from audit.record import AccessRecord, StreamEnding
from gateway.exchange.ending import Ending
from gateway.exchange.item import Exchange
from gateway.exchange.state import View
from isthmus.reasons import Reason, status_code
from isthmus.rpc import OTHER, LabelGuard

NONE: Final = "none"
_MAX_FRAMES: Final = 20
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class GatewayMetrics:
    """Counts exchanges, and logs what nobody foresaw. It is the watcher and observer of the pipeline and of streams.

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
        self._guard = LabelGuard(registry)
        self._log = log
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
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
        self._subjects = Counter(
            "isthmus_batch_subjects_total",
            "Subjects of batches, by how each ended: ALLOW, or the first reason of its refusal.",
            ("consumer", "provider", "dataset", "outcome"),
            registry=registry,
        )
        self._streams = Gauge("isthmus_streams_open", "Streams under way.", registry=registry)
        self._stream_ends = Counter(
            "isthmus_streams_ended_total",
            "Streams that have a closing record, by how they ended.",
            ("consumer", "provider", "ending"),
            registry=registry,
        )
        self._unended = Counter(
            "isthmus_streams_unended_total",
            "Streams that ended without a closing record, because the ledger took none.",
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
        self._child(self._exchanges, *labels, exchange.asked.mode.value, ending.decision).inc()
        if ending.decision == "DENY":
            for reason in ending.reasons:
                self._denials.labels(*labels[:2], reason.name).inc()
        if ending.served is not None:
            self._child(self._rows, *labels).inc(ending.served.row_count)
            self._child(self._bytes, *labels).inc(len(ending.served.content))
            if exchange.asked.emergency:
                self._emergencies.labels(*labels[:2]).inc()

    def batch_ended(self, exchange: Exchange, view: View | None, record: AccessRecord) -> None:
        """A batch has ended and its record is durable; each of its subjects counts by how it ended."""
        labels = self._labels(exchange, view)
        self._exchanges.labels(*labels, record.mode, record.decision).inc()
        for outcome, count in record.outcomes.items():
            self._subjects.labels(*labels, outcome).inc(count)
            if outcome != "ALLOW" and _is_denial(Reason[outcome]):
                self._denials.labels(*labels[:2], outcome).inc(count)
        self._rows.labels(*labels).inc(record.row_count)
        self._bytes.labels(*labels).inc(record.byte_count)
        if record.emergency and record.decision == "ALLOW":
            self._emergencies.labels(*labels[:2]).inc()

    def stream_opened(self) -> None:
        """A stream has its opening record."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """A stream is over."""
        self._streams.dec()

    def handed_on(self, exchange: Exchange, view: View, *, rows: int, size: int) -> None:
        """A chunk of a stream goes out."""
        labels = self._labels(exchange, view)
        self._rows.labels(*labels).inc(rows)
        self._bytes.labels(*labels).inc(size)

    def stream_ended(self, exchange: Exchange, view: View, how: StreamEnding) -> None:
        """A stream has its closing record."""
        self._stream_ends.labels(*self._labels(exchange, view)[:2], how.value).inc()

    def stream_unended(self, exchange: Exchange) -> None:
        """A stream is over, and the ledger took no record of how it ended."""
        self._unended.inc()
        self._log.error(
            "a stream has no closing record", exchange=exchange.name, trace_id=exchange.asked.trace_id
        )

    def refused_caller(self, department: str, mode: str, reason: str) -> None:
        """Somebody whose role may not exchange tried to; `department` is empty for a caller of none."""
        consumer = self._department(department)
        self._exchanges.labels(consumer, NONE, NONE, mode, "DENY").inc()
        self._denials.labels(consumer, NONE, reason).inc()

    def rate_limited(self, department: str) -> None:
        """The rate limit turned a caller of `department` away."""
        self._turned_away.labels(self._department(department)).inc()

    def stage(self, name: str, exchanges: Sequence[Exchange], seconds: float) -> None:
        """So many exchanges have passed a stage together. One of them is the exemplar of them all."""
        for mode, many in Counted(exchange.asked.mode.value for exchange in exchanges).items():
            duration = self._duration.labels(mode, name)
            first = next(each for each in exchanges if each.asked.mode.value == mode)
            duration.observe(seconds, _exemplar(first))
            for _ in range(many - 1):
                duration.observe(seconds)

    def unrecorded(self, exchange: Exchange) -> None:
        """An exchange has failed and the ledger took no record of it."""
        self._unrecorded.inc()
        self._log.error("an exchange has no record", exchange=exchange.name, trace_id=exchange.asked.trace_id)

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

    def _child(self, metric: Counter, *labels: str) -> Counter:
        """What `metric.labels` returns, found faster; both are bounded by the same labels."""
        key = (metric, labels)
        if key not in self._children:
            self._children[key] = metric.labels(*labels)
        return self._children[key]

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
        bounded = self._guard.bound("dataset", name)
        return bounded.rpartition("/")[2]


def _exemplar(exchange: Exchange) -> dict[str, str]:
    """What finds one of many again: its record's name, and its trace where it has one."""
    found = {"exchange": exchange.name.removeprefix("exchanges/")}
    return found | {"trace_id": exchange.asked.trace_id} if exchange.asked.trace_id else found


def _is_denial(reason: Reason) -> bool:
    """Whether it stands for a rule, rather than for a technical fault."""
    return reason is Reason.QUOTA_EXHAUSTED or status_code(reason) is grpc.StatusCode.PERMISSION_DENIED
