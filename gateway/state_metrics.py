"""What the registry holds, read from the database at each scrape, so that every gateway reports the same."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from audit.ledger import Ledger
from gateway.consents.states import ConsentState
from gateway.contracts.states import ContractState
from gateway.quotas import window_of
from gateway.state.schema import consents, contracts, datasets, quota_usage
from gateway.state.times import to_ms
from isthmus.errors import Unavailable

_MAX_SERIES: Final = 1_000
_CONTRACT_STATES: Final = tuple(state for state in ContractState if state is not ContractState.DRAFT)
_CONSENT_STATES: Final = tuple(state for state in ConsentState if state is not ConsentState.NEW)


class StateCollector(Collector):
    """Counts contracts, consents and datasets by state, and shows how far contract quotas are used.

    While the database cannot be read the metrics are absent, which is what an alert should see.

    Args:
        ledger: whose database is read.
        clock: returns the present time, UTC-aware.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock

    def register(self, registry: CollectorRegistry) -> None:
        """Adds these metrics to `registry`."""
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Reads the metrics."""
        now = self._clock()
        try:
            with self._ledger.read() as connection:
                return [
                    _states("contracts", _CONTRACT_STATES, _contract_counts(connection, to_ms(now))),
                    _states("consents", _CONSENT_STATES, _consent_counts(connection, to_ms(now))),
                    _datasets(connection),
                    _quotas(connection, now),
                ]
        except Unavailable:
            return ()


def _states(what: str, known: Iterable[str], counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"isthmus_{what}", f"{what.capitalize()} by state.", labels=["state"])
    for state in known:
        family.add_metric([state], counts.get(state, 0))
    return family


def _contract_counts(conn: sa.Connection, now: int) -> dict[str, int]:
    table = contracts.c
    state = sa.case(
        (sa.and_(table.state.in_(("AGREED", "ACTIVE", "SUSPENDED")), table.not_after <= now), "EXPIRED"),
        (sa.and_(table.state == "AGREED", table.not_before <= now), "ACTIVE"),
        else_=table.state,
    )
    return _count(conn, state, contracts)


def _consent_counts(conn: sa.Connection, now: int) -> dict[str, int]:
    table = consents.c
    state = sa.case(
        (sa.and_(table.state.in_(("ACTIVE", "PAUSED")), table.not_after <= now), "EXPIRED"),
        (sa.and_(table.state == "REQUESTED", table.answer_by <= now), "LAPSED"),
        else_=table.state,
    )
    return _count(conn, state, consents)


def _count(conn: sa.Connection, state: sa.ColumnElement[Any], table: sa.Table) -> dict[str, int]:
    named = state.label("effective")
    query = sa.select(named, sa.func.count()).select_from(table).group_by(named)
    return {name: count for name, count in conn.execute(query)}


def _datasets(conn: sa.Connection) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "isthmus_datasets", "Datasets offered, by sharing class.", labels=["provider", "sharing"]
    )
    table = datasets.c
    query = sa.select(table.department, table.sharing_class, sa.func.count()).where(table.retired.is_(False))
    for department, sharing, count in conn.execute(
        query.group_by(table.department, table.sharing_class).limit(_MAX_SERIES)
    ):
        family.add_metric([department.removeprefix("departments/"), sharing], count)
    return family


def _quotas(conn: sa.Connection, now: datetime) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "isthmus_quota_used_ratio",
        "Use of the fullest quota that counts all use of a contract; 1 is used up.",
        labels=["contract"],
    )
    full = contracts.c.contract + "@" + sa.cast(contracts.c.version, sa.String)
    query = (
        sa.select(quota_usage, contracts.c.terms)
        .join(contracts, quota_usage.c.contract == full)
        .where(quota_usage.c.scope == "CONTRACT")
        .limit(_MAX_SERIES)
    )
    ratios: dict[str, float] = {}
    for row in conn.execute(query):
        ratio = max((_ratio(row, quota, now) for quota in json.loads(row.terms)["quotas"]), default=0.0)
        ratios[row.contract] = max(ratio, ratios.get(row.contract, 0.0))
    for contract, ratio in ratios.items():
        family.add_metric([contract.removeprefix("contracts/")], ratio)
    return family


def _ratio(row: sa.Row[Any], quota: Mapping[str, Any], now: datetime) -> float:
    if (quota["scope"], quota["window"]) != ("CONTRACT", row.quota_window):
        return 0.0
    if to_ms(window_of(quota["window"], now)[0]) != row.window_start:
        return 0.0
    calls = row.calls / quota["calls"] if quota["calls"] else 0.0
    return float(max(calls, row.row_count / quota["rows"] if quota["rows"] else 0.0))
