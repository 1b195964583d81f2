"""The sharing figures of the last thirty days as gauges (docs/SHARING.md says what each means).

They are read from the log once, by the audit service: the gateways know nothing of them.
"""

import threading
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from audit.sharing.live import LiveSharing
from isthmus.errors import IsthmusError
from isthmus.v1 import sharing_service_pb2 as pb

_FRESH_S: Final = 15.0
MOST_PAIRS: Final = 2_500
"""Pairs of departments that have series of their own: those that exchange most."""
_DEPARTMENTS: Final = "departments/"


class SharingCollector(Collector):
    """Shows the report of `LiveSharing` as metrics, at most every 15 seconds a new one.

    While the log cannot be read, or much of it has still to be, the figures are absent and only `isthmus_sharing_behind_records`
    says how far they are.

    Args:
        live: the figures.
        registry: where they are registered.
    """

    def __init__(self, live: LiveSharing, registry: CollectorRegistry) -> None:
        self._live = live
        self._turn = threading.Lock()
        self._made: tuple[float, Sequence[Metric]] | None = None
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the ledger."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Reads the figures."""
        try:
            behind = self._live.behind
        except IsthmusError:
            return
        words = "Records of the log that the sharing figures do not hold yet."
        yield GaugeMetricFamily("isthmus_sharing_behind_records", words, behind)
        with self._turn:
            if self._made is None or monotonic() - self._made[0] > _FRESH_S:
                try:
                    self._made = (monotonic(), list(_metrics(self._live.report())))
                except IsthmusError:
                    self._made = None
            made = self._made
        if made is not None:
            yield from made[1]


def _metrics(report: pb.ReportSharingResponse) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "isthmus_sharing_log_size", "Records of the log that the sharing figures are of.", report.log_size
    )
    yield from _of_departments(report.departments)
    yield from _of_pairs(sorted(report.pairs, key=lambda each: -each.allowed)[:MOST_PAIRS])


def _of_departments(departments: Iterable[pb.DepartmentSharing]) -> Iterable[Metric]:
    datasets = _family(
        "datasets", "Datasets of a provider, by how far their sharing goes.", "provider", "stage"
    )
    silo = _family("silo_ratio", "Share of what a provider offers that no other department used.", "provider")
    answers = _family("answers", "How a provider answers proposals.", "provider", "outcome")
    workdays = _family("answer_workdays_median", "Median working days of a provider's answers.", "provider")
    rejections = _family(
        "rejections", "Proposals that a provider rejected, by its reason.", "provider", "reason"
    )
    weak = _family("weak", "Agreed sharing of a provider that is weak, by how.", "provider", "kind")
    avoided = _family(
        "collections_avoided", "Facts that a consumer did not ask people for again.", "consumer"
    )
    for each in departments:
        name = each.department.removeprefix(_DEPARTMENTS)
        stages = {
            "offered": each.datasets_offered,
            "refused": each.datasets_refused,
            "under_contract": each.datasets_under_contract,
            "used": each.datasets_used,
        }
        for stage, count in stages.items():
            datasets.add_metric([name, stage], count)
        if each.HasField("silo_index"):
            silo.add_metric([name], each.silo_index)
        for outcome in ("in_time", "late", "never", "waiting"):
            answers.add_metric([name, outcome], getattr(each.answers, outcome))
        if each.answers.HasField("median_workdays"):
            workdays.add_metric([name], each.answers.median_workdays)
        for rejected in each.answers.rejections:
            rejections.add_metric([name, rejected.reason], rejected.count)
        for kind in ("late", "stale", "partial", "throttled", "unused"):
            weak.add_metric([name, kind], getattr(each.weak, kind))
        avoided.add_metric([name], each.collections_avoided)
    return (datasets, silo, answers, workdays, rejections, weak, avoided)


def _of_pairs(pairs: Iterable[pb.SharingPair]) -> Iterable[Metric]:
    exchanges = _family(
        "pair_exchanges", "Exchanges between two departments.", "provider", "consumer", "decision"
    )
    contracts = _family(
        "pair_contracts", "Contracts in force between two departments.", "provider", "consumer"
    )
    for each in pairs:
        both = [name.removeprefix(_DEPARTMENTS) for name in (each.provider, each.consumer)]
        decided = {"ALLOW": each.allowed, "DENY": each.denied, "ERROR": each.failed}
        for decision, count in decided.items():
            exchanges.add_metric([*both, decision], count)
        contracts.add_metric(both, each.contracts)
    return (exchanges, contracts)


def _family(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"isthmus_sharing_{name}", f"{words} Of the last 30 days, UTC.", labels=labels)
