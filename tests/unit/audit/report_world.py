"""A ledger with weeks of traffic for the tests of reports: what three systems do when nothing is the matter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import chinese_calendar  # type: ignore[import-untyped]

from audit.batch.lines import BatchLines
from audit.ledger import Ledger
from audit.record import AccessRecord, Kind, milliseconds
from audit.reports.anomalies.detectors import Detectors
from audit.reports.anomalies.found import Anomaly
from audit.reports.anomalies.found import Kind as AnomalyKind
from audit.reports.anomalies.limits import AnomalyLimits
from audit.reports.anomalies.report import DETECTORS
from audit.reports.period import Period
from audit.search.find import size_of
from audit.search.query import compile_filter, newest_first
from isthmus.ids import new_exchange
from tests.unit.audit.ledger_world import Clock, control, decision, denial, ledger_in

ZONE = ZoneInfo("Asia/Shanghai")
BEGAN = date(2026, 9, 1)
SINCE, UNTIL = date(2026, 11, 2), date(2026, 11, 9)
"""The period of the reports, a Monday to the next: nine weeks after everything began, a week of holidays among them."""
Event = tuple[datetime, AccessRecord]


@dataclass(frozen=True)
class System:
    """A system, its contract, how much it asks on a working day, and whether it ever sleeps."""

    department: str
    name: str
    contract: str
    daily: int
    sleepless: bool = False

    @property
    def uri(self) -> str:
        return f"spiffe://data.example/department/{self.department}/system/{self.name}"

    @property
    def resource(self) -> str:
        return f"departments/{self.department}/systems/{self.name}"

    def asks(self, at: datetime, person: int, *, denied: bool = False, **changes: object) -> Event:
        """One exchange of it."""
        values = {
            "exchange": str(new_exchange(at)),
            "caller": self.uri,
            "consumer": f"departments/{self.department}",
            "contract": f"{self.contract}@1",
            "subject_token": token(person),
            **changes,
        }
        return at, denial("CONSENT_MISSING", **values) if denied else decision(**values)


SCHOOL = System("education", "enrolment", "contracts/edu-person", 40)
HOSPITAL = System("health", "ward", "contracts/health-person", 120, sleepless=True)
TAX = System("tax", "filing", "contracts/tax-person", 25)
SYSTEMS = (SCHOOL, HOSPITAL, TAX)


def token(person: int) -> str:
    """The token of a person by number."""
    return f"1.{person:032x}"


def local(day: date, hour: float) -> datetime:
    """A local hour of a day, in UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC) + timedelta(hours=hour)


def beside(system: System, at: datetime) -> list[Event]:
    """What stands between the exchanges of a system and is no exchange about a person: a stream, and a step of its contract."""
    opened = system.asks(at, 0, mode="STREAM", subject_token="", row_count=0)[1]
    parts = {"consumer": opened.consumer, "provider": opened.provider, "contract": opened.contract}
    end = replace(opened, kind=Kind.STREAM_END, decision="", action="COMPLETE", row_count=9)
    return [
        (at, opened),
        (at, end),
        (at, control("ResumeContract", opened.contract, caller=system.uri, **parts)),
    ]


def usual_traffic(seed: int) -> list[Event]:
    """What everybody does from `BEGAN` to `UNTIL` when nothing is the matter; some of it is denied."""
    dice = random.Random(seed)
    events = []
    day = BEGAN
    while day < UNTIL:
        for system in SYSTEMS:
            rest = chinese_calendar.is_holiday(day) and not system.sleepless
            count = 0 if rest else max(0, round(dice.gauss(system.daily, system.daily**0.5)))
            hours = (0.0, 24.0) if system.sleepless else (8.0, 18.0)
            for _ in range(count):
                at = local(day, dice.uniform(*hours))
                events.append(system.asks(at, dice.randrange(3000), denied=dice.random() < 0.08))
        day += timedelta(days=1)
    return events


def write(ledger: Ledger, events: Sequence[Event], batches: dict[str, BatchLines] | None = None) -> None:
    """Appends the events, each logged at its own time, in one transaction; `batches` by exchange."""

    def work(tx: object) -> None:
        for at, record in sorted(events, key=lambda event: event[0]):
            # The ledger's transactions have one time each; thousands of them would take the test's.
            tx.now, tx._at_ms = at, milliseconds(at)  # type: ignore[attr-defined]
            tx.append(record, batch=(batches or {}).get(record.exchange))  # type: ignore[attr-defined]

    ledger.transact(work, deadline_s=60)


@contextmanager
def written(
    folder: Path, events: Sequence[Event], batches: dict[str, BatchLines] | None = None
) -> Iterator[Ledger]:
    """A ledger that holds these events."""
    with ledger_in(folder, pin=None, clock=Clock(local(BEGAN, 0)), commit_timeout=60.0) as ledger:
        write(ledger, events, batches)
        yield ledger


def period() -> Period:
    """The period of the reports."""
    return Period(local(SINCE, 0), local(UNTIL, 0))


def anomalies(
    ledger: Ledger, *kinds: AnomalyKind, limits: AnomalyLimits | None = None, within: Period | None = None
) -> tuple[list[Anomaly], list[str]]:
    """What is found in the period of the reports, or another, and the notes; every filter lists exactly as many records as it says."""
    with ledger.read() as connection:
        detectors = Detectors(connection, size_of(connection), within or period(), limits or AnomalyLimits())
        found = [each for kind in kinds or AnomalyKind for each in DETECTORS[kind](detectors)]
        for each in found:
            listed = newest_first(connection, [compile_filter(each.filter)], before=None, limit=10_000)
            assert sum(1 for _ in listed) == each.records, each
    return found, detectors.notes
