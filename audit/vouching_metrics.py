"""How well others vouch for the log, for its operators to see long before an outage budget is spent."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from audit.independence import Coverage, covered_by_timestamps, covered_by_witnesses
from audit.ledger import Ledger
from audit.timestamps.rounds import Failure
from audit.timestamps.stored import newest_at_ms
from audit.tlog.cosignature import CosignerKey
from audit.witness.client import Trouble
from audit.witness.stored import Cosigned, newest_of
from isthmus.errors import Unavailable

Clock = Callable[[], datetime]


class VouchingMetrics(Collector):
    """Ages and sizes, read from the database at each scrape, and what failed. Labels are names of the configuration.

    Ages are absent while the database cannot be read, and of a witness that never cosigned: alert on `absent`, too.

    Args:
        ledger: whose database is read.
        clock: returns the present time, UTC-aware.
        witnesses: the keys of the witnesses, by name.
        required: how many of them must cosign a checkpoint.
        timestamps: whether there is a timestamp authority.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        witnesses: Mapping[str, CosignerKey],
        required: int,
        timestamps: bool,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._witnesses = dict(witnesses)
        self._required = required
        self._timestamps = timestamps
        # Without a registry: they are collected with the rest.
        self._troubles = Counter(
            "isthmus_witness_failures_total",
            "Requests to a witness that brought no cosignature. rolled_back and forked: look at once.",
            ("witness", "trouble"),
            registry=None,
        )
        self._failures = Counter(
            "isthmus_timestamp_failures_total",
            "Requests to the timestamp authority that brought no timestamp.",
            ("failure",),
            registry=None,
        )
        for name in self._witnesses:
            for trouble in Trouble:
                self._troubles.labels(name, trouble.value)
        for failure in Failure if timestamps else ():
            self._failures.labels(failure.value)

    def register(self, registry: CollectorRegistry) -> None:
        """Add these metrics to `registry`."""
        registry.register(self)

    def not_cosigned(self, witness: str, trouble: Trouble) -> None:
        """A witness did not cosign."""
        self._troubles.labels(witness, trouble.value).inc()

    def not_stamped(self, failure: Failure) -> None:
        """A checkpoint was not timestamped."""
        self._failures.labels(failure.value).inc()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read the metrics."""
        yield from self._troubles.collect()
        yield from self._failures.collect()
        try:
            with self._ledger.read() as connection:
                found = [*self._ages(connection), self._uncovered(connection)]
        except Unavailable:
            return
        yield from found

    def _ages(self, connection: sa.Connection) -> Iterable[Metric]:
        ages = GaugeMetricFamily(
            "isthmus_witness_cosigned_age_seconds",
            "Time since this witness cosigned a checkpoint, the same one again included.",
            labels=["witness"],
        )
        sizes = GaugeMetricFamily(
            "isthmus_witness_cosigned_size", "Records that this witness vouches for.", labels=["witness"]
        )
        for name in self._witnesses:
            last: Cosigned | None = newest_of(connection, name)
            if last is not None:
                ages.add_metric([name], self._since(last.at_ms))
            sizes.add_metric([name], last.size if last is not None else 0)
        yield from (ages, sizes)
        stamped = newest_at_ms(connection) if self._timestamps else None
        if stamped is not None:
            help_text = "Time since a checkpoint was timestamped last."
            yield GaugeMetricFamily("isthmus_timestamp_age_seconds", help_text, self._since(stamped))

    def _uncovered(self, connection: sa.Connection) -> Metric:
        family = GaugeMetricFamily(
            "isthmus_uncovered_seconds",
            "How long the oldest record has waited that no quorum of witnesses, or no timestamp, covers; 0 for none.",
            labels=["by"],
        )
        now = self._clock()
        kinds: list[tuple[str, Coverage]] = []
        if self._witnesses:
            kinds.append(("witnesses", self._quorum(connection)))
        if self._timestamps:
            kinds.append(("timestamps", covered_by_timestamps(connection)))
        for name, coverage in kinds:
            family.add_metric([name], coverage.waited(now))
        return family

    def _quorum(self, connection: sa.Connection) -> Coverage:
        return covered_by_witnesses(connection, self._required, keys=self._witnesses.values())

    def _since(self, at_ms: int) -> float:
        return self._clock().timestamp() - at_ms / 1000
