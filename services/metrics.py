"""What the node counts. Labels come from the manifest, so they are few; never a subject, never a consumer's text."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OTHER: Final = "other"
"""The label of a dataset that the manifest does not have."""


class NodeMetrics:
    """The node's own metrics, in the registry it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Counter(
            "isthmus_department_items_total",
            "Granted subjects, by what came of them: served, unknown, or the reason of the refusal.",
            ("dataset", "mode", "outcome"),
            registry=registry,
        )
        self.grants_refused = Counter(
            "isthmus_department_grants_refused_total",
            "Grants that were refused whole: forged, stale, replayed or malformed.",
            registry=registry,
        )
        self.rows = Counter(
            "isthmus_department_rows_total", "Rows that left, by dataset.", ("dataset",), registry=registry
        )
        self.streams = Gauge(
            "isthmus_department_streams", "Streams that are being sent now.", registry=registry
        )
        self.query_seconds = Histogram(
            "isthmus_department_query_seconds",
            "Seconds that one lookup in the department's database took.",
            ("dataset",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.query_failures = Counter(
            "isthmus_department_query_failures_total",
            "Lookups that the department's database did not answer.",
            ("dataset",),
            registry=registry,
        )
        self.source_up = Gauge(
            "isthmus_department_source_up",
            "Whether the department's database answered when it was last asked: 1 or 0.",
            registry=registry,
        )
