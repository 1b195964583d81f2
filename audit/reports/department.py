"""ReportDepartmentUse: how one department used the data of the others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.schema import record_subjects, records
from audit.record import Kind
from audit.reports.desk import Ask, Desk, record_report
from audit.reports.period import period_of, span_of
from audit.reports.plain import resource_of
from audit.search.facts import LedgerFacts
from audit.search.find import size_of
from audit.search.query import Condition
from isthmus.errors import PermissionDenied
from isthmus.names import DepartmentName
from isthmus.reasons import Reason
from isthmus.terms import timestamp
from isthmus.v1 import audit_service_pb2 as pb

LINES: Final = 1000
"""How many lines a report holds."""
SYSTEMS: Final = 50
"""How many systems a line names."""
_BYTES: Final = 3 << 20
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = timedelta(days=365 * 1000)
_BY: Final = (records.c.provider, records.c.dataset, records.c.contract, records.c.purpose)
_ROWS: Final = b'"row_count":'
Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Use:
    """A line while it is added up; the times are milliseconds since 1970."""

    allowed: int
    denied: int
    failed: int
    first_ms: int
    last_ms: int
    rows: int = 0
    subjects: int = 0
    systems: list[str] = field(default_factory=list)


def report_department(
    desk: Desk, ask: Ask, request: pb.ReportDepartmentUseRequest
) -> pb.ReportDepartmentUseResponse:
    """Returns a line for each provider, dataset, contract and purpose, the most used first.

    Memory holds 1000 lines, however many records there are: the database counts, and of the leaves, which alone say how
    many rows were released, one is read at a time.

    Raises:
        InvalidArgument: the name or the period is none.
        PermissionDenied: an officer asks about another department.
        LedgerUnavailable: the ledger could not be read in time, or the report not recorded.
    """
    department = str(DepartmentName.parse(request.department, field="department"))
    own = ask.who.identity.department
    if own is not None and str(DepartmentName(own)) != department:
        words = f"an officer of {DepartmentName(own)} may report that department's use only"
        raise PermissionDenied(Reason.NOT_A_PARTY, words)
    period = period_of(
        request.since if request.HasField("since") else None,
        request.until if request.HasField("until") else None,
        default=_BEGINNING,
        now=desk.clock(),
        longest=_LONGEST,
    )
    with desk.read(ask.who) as connection:
        first, end = span_of(LedgerFacts(connection, size_of(connection)), period)
        part = sa.and_(records.c.consumer == department, records.c.idx >= first, records.c.idx < end)
        uses = _count(connection, part, limit=LINES + 1)
        truncated = len(uses) > LINES
        uses = dict(list(uses.items())[:LINES])
        _add_systems(connection, part, uses)
        _add_subjects(connection, part, uses)
        _add_rows(connection, part, uses)
    response = _response(uses, truncated=truncated)
    record_report(desk, ask, found=len(response.uses), resource=department)
    return response


def _count(connection: sa.Connection, part: Condition, *, limit: int) -> dict[Key, _Use]:
    decided = [sa.func.sum(sa.case((records.c.decision == each, 1), else_=0)) for each in _DECISIONS]
    times = (sa.func.min(records.c.at_ms), sa.func.max(records.c.at_ms))
    query = (
        sa.select(*_BY, *decided, *times)
        .where(part, records.c.kind.in_([Kind.DECISION.value, Kind.STREAM_END.value]))
        .group_by(*_BY)
        .order_by(sa.func.count().desc(), *_BY)
        .limit(limit)
    )
    return {
        (row[0], row[1], row[2], row[3]): _Use(row[4], row[5], row[6], row[7], row[8])
        for row in connection.execute(query)
    }


_DECISIONS: Final = ("ALLOW", "DENY", "ERROR")


def _add_systems(connection: sa.Connection, part: Condition, uses: dict[Key, _Use]) -> None:
    query = sa.select(*_BY, records.c.caller).where(part, records.c.kind == Kind.DECISION.value).distinct()
    for key, caller in _lines(connection, query):
        if key in uses and len(uses[key].systems) < SYSTEMS:
            uses[key].systems.append(resource_of(caller))


def _add_subjects(connection: sa.Connection, part: Condition, uses: dict[Key, _Use]) -> None:
    alone = sa.select(*_BY, records.c.subject_token.label("token")).where(
        part, records.c.kind == Kind.DECISION.value, records.c.subject_token != ""
    )
    among = (
        sa.select(*_BY, record_subjects.c.token)
        .join_from(records, record_subjects, records.c.idx == record_subjects.c.idx)
        .where(part, records.c.mode == "BATCH")
    )
    both = sa.union_all(alone, among).subquery()
    keys = [both.c[column.name] for column in _BY]
    query = sa.select(*keys, sa.func.count(both.c.token.distinct())).group_by(*keys)
    for key, count in _lines(connection, query):
        if key in uses:
            uses[key].subjects = count


def _add_rows(connection: sa.Connection, part: Condition, uses: dict[Key, _Use]) -> None:
    gone = sa.or_(records.c.decision == "ALLOW", records.c.kind == Kind.STREAM_END.value)
    for key, leaf in _lines(connection, sa.select(*_BY, records.c.leaf).where(part, gone)):
        if key in uses and _ROWS in leaf:
            uses[key].rows += json.loads(leaf).get("row_count", 0)


def _lines(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Key, Any]]:
    for row in connection.execute(query.execution_options(yield_per=100)):
        yield (row[0], row[1], row[2], row[3]), row[4]


def _response(uses: dict[Key, _Use], *, truncated: bool) -> pb.ReportDepartmentUseResponse:
    response, room = pb.ReportDepartmentUseResponse(truncated=truncated), _BYTES
    for key, use in uses.items():
        line = _message(key, use)
        room -= line.ByteSize()
        if room < 0:
            response.truncated = True
            break
        response.uses.append(line)
    return response


def _message(key: Key, use: _Use) -> pb.DepartmentUse:
    provider, dataset, contract, purpose = key
    return pb.DepartmentUse(
        provider=provider,
        dataset=dataset,
        contract=contract,
        purpose=purpose,
        allowed=use.allowed,
        denied=use.denied,
        failed=use.failed,
        row_count=use.rows,
        subject_count=use.subjects,
        systems=sorted(use.systems),
        first_time=timestamp(datetime.fromtimestamp(use.first_ms / 1000, UTC)),
        last_time=timestamp(datetime.fromtimestamp(use.last_ms / 1000, UTC)),
    )
