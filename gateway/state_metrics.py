"""What the registry holds, read from the database at each scrape: by the audit service, once for all gateways."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from audit.ledger import Ledger
from gateway.consents.states import ConsentState
from gateway.contracts.deadlines import DeadlineKind
from gateway.contracts.overdue import deadlines_of
from gateway.contracts.states import ContractState
from gateway.quotas import window_of
from gateway.rulebook import Rulebook
from gateway.state.contracts import get_version
from gateway.state.schema import consent_events, consents, contracts, datasets, quota_usage
from gateway.state.times import to_ms
from isthmus.errors import Unavailable

REMEMBERED_FOR: Final = timedelta(seconds=15)
"""How old the metrics that read whole histories may be."""

_MAX_SERIES: Final = 1_000
_MAX_PROPOSALS: Final = 2_000
_WORKDAYS: Final = (0, 1, 2, 3, 5, 10, 15, 20, 30, 40, 60)
_CONTRACT_STATES: Final = tuple(state for state in ContractState if state is not ContractState.DRAFT)
_CONSENT_STATES: Final = tuple(state for state in ConsentState if state is not ConsentState.NEW)


class StateCollector(Collector):
    """Counts contracts, consents and datasets by state, shows how far contract quotas are used, and how departments
    answer what they are asked.

    Every process that reports them reports the same numbers: combine those of several audit services with `max`, never
    with `sum`. While the database cannot be read the metrics are absent, which is what an alert should see.

    Args:
        ledger: whose database is read.
        clock: returns the present time, UTC-aware.
        rulebook: the rule packs that answers are due under; those that come with the software unless given. A proposal
            under a pack that is not among them counts as not overdue.
        remembered_for: how old the metrics of answers and of changes of consents may be.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], datetime],
        *,
        rulebook: Rulebook | None = None,
        remembered_for: timedelta = REMEMBERED_FOR,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._rulebook = Rulebook.load() if rulebook is None else rulebook
        self._remembered_for = remembered_for
        self._remembered: tuple[datetime, Sequence[Metric]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Reads the metrics."""
        now = self._clock()
        try:
            with self._ledger.read() as connection:
                return [
                    _states("contracts", _CONTRACT_STATES, _contract_counts(connection, to_ms(now))),
                    _states("consents", _CONSENT_STATES, _consent_counts(connection, to_ms(now))),
                    _datasets(connection),
                    _quotas(connection, now),
                    *self._histories(connection, now),
                ]
        except Unavailable:
            return ()

    def _histories(self, conn: sa.Connection, now: datetime) -> Sequence[Metric]:
        known = self._remembered
        # A clock that was set back must not freeze them.
        if known is None or not timedelta() <= now - known[0] < self._remembered_for:
            found = (
                _answers_overdue(conn, self._rulebook, now),
                _answer_workdays(conn),
                _consent_changes(conn),
            )
            known = self._remembered = (now, found)
        return known[1]


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


def _answers_overdue(conn: sa.Connection, rulebook: Rulebook, now: datetime) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "isthmus_contract_answers_overdue",
        "Proposals to a provider whose answer is due and missing.",
        labels=["provider"],
    )
    providers = sa.select(contracts.c.provider).distinct().order_by(contracts.c.provider).limit(_MAX_SERIES)
    overdue = dict.fromkeys(conn.execute(providers).scalars(), 0)
    for name, version in _unanswered(conn):
        row = get_version(conn, name, version)
        if row is None or row.provider not in overdue:
            continue
        found = deadlines_of(conn, row, rulebook, now)
        overdue[row.provider] += any(each.kind is DeadlineKind.ANSWER and each.overdue for each in found)
    for provider, count in overdue.items():
        family.add_metric([provider.removeprefix("departments/")], count)
    return family


def _unanswered(conn: sa.Connection) -> list[tuple[str, int]]:
    """What consumers have proposed and no provider has answered, the oldest first: those are late before the others."""
    table = contracts.c
    query = (
        sa.select(table.contract, table.version)
        .where(
            table.state == ContractState.PROPOSED.value,
            table.answered_at.is_(None),
            table.proposer == table.consumer,
        )
        .order_by(table.created_at)
        .limit(_MAX_PROPOSALS)
    )
    return [(name, version) for name, version in conn.execute(query)]


def _answer_workdays(conn: sa.Connection) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "isthmus_contract_answer_workdays",
        "Working days from a consumer's proposal to the provider's answer, waiting for a supplement included.",
    )
    table = contracts.c
    query = sa.select(table.answer_workdays, sa.func.count()).where(
        table.answer_workdays.is_not(None), table.proposer == table.consumer
    )
    days = {taken: count for taken, count in conn.execute(query.group_by(table.answer_workdays))}
    within = [
        (str(float(most)), sum(count for taken, count in days.items() if taken <= most)) for most in _WORKDAYS
    ]
    total = sum(taken * count for taken, count in days.items())
    family.add_metric([], [*within, ("+Inf", sum(days.values()))], total)
    return family


def _consent_changes(conn: sa.Connection) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "isthmus_consent_changes",
        "Changes of the state of consents that are written down, by the state they led to.",
        labels=["to"],
    )
    event = consent_events.c
    query = sa.select(event.to_state, sa.func.count()).where(event.from_state != event.to_state)
    counts = {state: count for state, count in conn.execute(query.group_by(event.to_state))}
    for state in _CONSENT_STATES:
        family.add_metric([state], counts.get(state, 0))
    return family


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
