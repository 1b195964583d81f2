"""What a witness counts."""

from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter


class WitnessMetrics:
    """Counts answers and splits.

    Args:
        registry: where the metrics are registered.
        logs: the names of the logs that the witness follows.
    """

    def __init__(self, registry: CollectorRegistry, logs: tuple[str, ...]) -> None:
        self._answers = Counter(
            "isthmus_witness_answers_total",
            "Requests for a cosignature, by the status of the answer.",
            ("status",),
            registry=registry,
        )
        self._splits = Counter(
            "isthmus_witness_splits_total",
            "Checkpoints that a log signed and that contradict one this witness cosigned.",
            ("log",),
            registry=registry,
        )
        for name in logs:
            self._splits.labels(name)

    def answered(self, status: HTTPStatus) -> None:
        """A request was answered."""
        self._answers.labels(str(status.value)).inc()

    def split(self, log: str) -> None:
        """A log split."""
        self._splits.labels(log).inc()
