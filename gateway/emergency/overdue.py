"""Reviews that are overdue: written down by the clerk, once each, and shown as a metric."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from audit.ledger import Ledger
from gateway.emergency.store import count_overdue, get_use, put_escalation, unescalated
from gateway.state.change import Call, Change, Control
from gateway.state.contracts import get_version
from isthmus.errors import Unavailable
from isthmus.terms import rfc3339

OVERDUE: Final = "EMERGENCY_REVIEW_OVERDUE"
_AT_ONCE: Final = 100


class OverdueReviews:
    """The clerk's job: one record for each emergency use whose review did not come in time."""

    name: Final = "review overdue"

    def run(self, control: Control, new_call: Callable[[], Call]) -> int:
        """Writes what is overdue, at most 100 at a time; returns how many records it wrote."""
        with control.read(new_call()) as connection:
            due = unescalated(connection, control.clock(), limit=_AT_ONCE)
        return sum(_escalate(control, new_call(), row.exchange) for row in due)


def _escalate(control: Control, call: Call, exchange: str) -> bool:
    def work(change: Change) -> bool:
        row = get_use(change.connection, exchange)
        # Reviewed, or written down by another gateway, since it was looked up.
        if row is None or row.reviewed_at is not None or row.escalated_position is not None:
            return False
        told = {"event": OVERDUE, "review_due": rfc3339(row.review_due)}
        contract = get_version(change.connection, row.contract, row.version)
        position = change.record(exchange, told, about=contract)
        put_escalation(change.connection, exchange, position=position)
        return True

    return control.change(call, work).value


class OverdueCollector(Collector):
    """Shows how many reviews are overdue, read at each scrape; absent while the database cannot be read.

    Args:
        ledger: whose database is read.
        clock: returns the present time, UTC-aware.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Reads the metric."""
        try:
            with self._ledger.read() as connection:
                overdue = count_overdue(connection, self._clock())
        except Unavailable:
            return ()
        words = "Emergency uses that still await a review which is overdue."
        return [GaugeMetricFamily("isthmus_emergency_reviews_overdue", words, value=overdue)]
