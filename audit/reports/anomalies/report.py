"""ReportAnomalies: what is worth a look in a period, with the records behind it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import chain
from types import MappingProxyType
from typing import Final

from audit.reports.anomalies.detectors import Detectors
from audit.reports.anomalies.found import MOST, NAMES, Anomaly, Kind, at, weightiest
from audit.reports.anomalies.limits import AnomalyLimits
from audit.reports.desk import Ask, Desk, record_report
from audit.reports.period import period_of
from audit.search.find import size_of
from isthmus.terms import timestamp
from isthmus.v1 import audit_service_pb2 as pb

PERIOD: Final = timedelta(days=7)
LONGEST: Final = timedelta(days=366)
DETECTORS: Final[Mapping[Kind, Callable[[Detectors], Iterator[Anomaly]]]] = MappingProxyType(
    {
        Kind.VOLUME: Detectors.volume,
        Kind.DENIAL_BURST: Detectors.denial_bursts,
        Kind.OFF_HOURS: Detectors.off_hours,
        Kind.MANY_SUBJECTS: Detectors.many_subjects,
        Kind.EMERGENCY_UNREVIEWED: Detectors.emergencies,
    }
)


def report_anomalies(
    desk: Desk, limits: AnomalyLimits, ask: Ask, request: pb.ReportAnomaliesRequest
) -> pb.ReportAnomaliesResponse:
    """Returns the anomalies of a period, the most unusual first.

    The database groups, and of what it finds only what might be unusual is held in memory; what bounds leave out, and what
    could not be judged, stands in the notes.

    Raises:
        InvalidArgument: the period is none, or longer than 366 days.
        LedgerUnavailable: the ledger could not be read in time, or the report not recorded.
    """
    now = desk.clock()
    period = period_of(
        request.since if request.HasField("since") else None,
        request.until if request.HasField("until") else None,
        default=now - PERIOD,
        now=now,
        longest=LONGEST,
    )
    with desk.read(ask.who) as connection:
        detectors = Detectors(connection, size_of(connection), period, limits)
        found, others = weightiest(
            chain.from_iterable(DETECTORS[kind](detectors) for kind in _asked(request.kinds))
        )
    notes = list(detectors.notes)
    if others:
        notes.append(
            f"{others:,} more anomalies are less unusual than these {MOST:,}; narrow the period or the kinds"
        )
    response = pb.ReportAnomaliesResponse(anomalies=map(_message, found), notes=notes)
    record_report(desk, ask, found=len(found))
    return response


def _asked(kinds: Iterable[pb.AnomalyKind.ValueType]) -> list[Kind]:
    names = {pb.AnomalyKind.Name(each).removeprefix("ANOMALY_KIND_") for each in kinds if each}
    return [NAMES[each] for each in sorted(names)] or list(Kind)


def _message(found: Anomaly) -> pb.Anomaly:
    return pb.Anomaly(
        kind=pb.AnomalyKind.Value(f"ANOMALY_KIND_{found.kind.value}"),
        summary=found.summary,
        resource=found.resource,
        start_time=timestamp(at(found.start_ms)),
        end_time=timestamp(at(found.end_ms)),
        record_count=found.records,
        filter=found.filter,
    )
