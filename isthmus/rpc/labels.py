"""Labels of metrics are bounded: beyond so many values of one kind, further ones are counted as `other`.

Names of datasets and contracts come from a registry that may grow without end, and every value of a label is a series that
Prometheus keeps. What was folded is counted, so that a figure which no longer tells departments apart says so.
"""

import threading
from typing import Final

from prometheus_client import CollectorRegistry, Counter

OTHER: Final = "other"


class LabelGuard:
    """Lets so many values of each kind pass; safe to use from many threads.

    Args:
        registry: where what is folded is counted; None counts nothing.
        most: how many values of a kind pass.
    """

    def __init__(self, registry: CollectorRegistry | None, *, most: int = 1_000) -> None:
        self._most = most
        self._known: dict[str, set[str]] = {}
        self._turn = threading.Lock()
        self._folded: Counter | None = None
        if registry is not None:
            self._folded = Counter(
                "isthmus_label_values_folded_total",
                "Values of a label that were counted as `other`, because there were too many.",
                ("label",),
                registry=registry,
            )

    def bound(self, label: str, value: str) -> str:
        """The value, or `other` when `most` others of this label came before it.

        Args:
            label: the kind of name, such as `dataset`.
            value: the name.
        """
        known = self._known.get(label)
        if known is not None and value in known:
            return value
        with self._turn:
            known = self._known.setdefault(label, set())
            if value in known or len(known) < self._most:
                known.add(value)
                return value
        if self._folded is not None:
            self._folded.labels(label).inc()
        return OTHER
