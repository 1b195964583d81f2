"""What the anomalies are counted from: grouped by the database over ranges of positions, handed over row by row."""

from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.schema import is_decision, record_subjects, records
from audit.reports.anomalies.bursts import Minute
from audit.reports.anomalies.found import Tally
from audit.search.query import Condition

Span = tuple[int, int]
"""From a position up to before another."""
_MINUTE: Final = 60_000
_AT_ONCE: Final = 1000
_EXCHANGES: Final = records.c.kind == "DECISION"
CONTRACT: Final = records.c.contract
CALLER: Final = records.c.caller


def tallies(connection: sa.Connection, by: sa.Column[str], span: Span, *, least: int = 1) -> Iterator[Tally]:
    """The exchanges of a span by one column, of each value that has `least` at least."""
    ends = (records.c.idx, records.c.at_ms)
    query = (
        sa.select(by, sa.func.count(), *_ends(*ends))
        .where(_within(span), _EXCHANGES, by != "")
        .group_by(by)
        .having(sa.func.count() >= least)
    )
    for row in _stream(connection, query):
        yield _tally(row[0], row[1], row[1], row[2:])


def persons(connection: sa.Connection, span: Span, *, least: int = 1) -> Iterator[Tally]:
    """The exchanges of a span by caller, of each that asked about `least` different persons; `count` counts these."""
    asked = _asked(span)
    different = sa.func.count(asked.c.token.distinct())
    query = (
        sa.select(
            asked.c.caller,
            sa.func.count(asked.c.idx.distinct()),
            different,
            *_ends(asked.c.idx, asked.c.at_ms),
        )
        .group_by(asked.c.caller)
        .having(different >= least)
    )
    for row in _stream(connection, query):
        yield _tally(row[0], row[1], row[2], row[3:])


def exchanges_of(connection: sa.Connection, caller: str, span: Span) -> int:
    """How many exchanges of a caller a span holds."""
    query = sa.select(sa.func.count()).where(_within(span), _EXCHANGES, records.c.caller == caller)
    return connection.scalar(query) or 0


def often_asked(connection: sa.Connection, span: Span, *, least: int) -> Iterator[tuple[Tally, int]]:
    """The exchanges of a span by person, of each who was asked about `least` times; and how many systems did."""
    asked = _asked(span)
    query = (
        sa.select(
            asked.c.token,
            sa.func.count(),
            sa.func.count(asked.c.caller.distinct()),
            *_ends(asked.c.idx, asked.c.at_ms),
        )
        .group_by(asked.c.token)
        .having(sa.func.count() >= least)
    )
    for row in _stream(connection, query):
        yield _tally(row[0], row[1], row[1], row[3:]), row[2]


def first_positions(connection: sa.Connection, by: sa.Column[str], span: Span) -> Iterator[tuple[str, int]]:
    """Where in a span the first exchange of each value of a column is."""
    query = sa.select(by, sa.func.min(records.c.idx)).where(_within(span), _EXCHANGES).group_by(by)
    for row in _stream(connection, query):
        yield row[0], row[1]


def seen_before(
    connection: sa.Connection, by: sa.Column[str], keys: Collection[str], position: int
) -> Iterator[str]:
    """Those of some values of a column that an exchange before a position has."""
    for key in keys:
        query = sa.select(records.c.idx).where(by == key, _EXCHANGES, records.c.idx < position)
        if by is CALLER and len(parts := key.split("/")) == 7:
            # There is no index by caller, and a department has few.
            query = query.where(records.c.consumer == f"departments/{parts[4]}")
        if connection.execute(query.limit(1)).first() is not None:
            yield key


def minutes(connection: sa.Connection, span: Span) -> Iterator[tuple[str, Iterator[Minute]]]:
    """What each caller asked in each minute of a span: callers one after the other, their minutes in order."""
    minute = (records.c.at_ms // _MINUTE).label("minute")
    denied = records.c.decision == "DENY"
    ends = (sa.case((denied, records.c.idx)), sa.case((denied, records.c.at_ms)))
    query = (
        sa.select(CALLER, minute, sa.func.count(), sa.func.count(ends[0]), *_ends(*ends))
        .where(_within(span), _EXCHANGES)
        .group_by(CALLER, minute)
        .order_by(CALLER, minute)
    )
    for caller, rows in groupby(_stream(connection, query), key=lambda row: str(row[0])):
        yield caller, (_minute(row) for row in rows)


def review_records(connection: sa.Connection, end: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """What the log holds about the reviews of emergency uses before a position: the leaves of each exchange, in order."""
    resource = records.c.resource
    # "0" follows "/": these are the control calls about exchanges, of which only emergency uses have any.
    about = sa.and_(~is_decision, resource >= "exchanges/", resource < "exchanges0", records.c.idx < end)
    query = (
        sa.select(resource, records.c.leaf)
        .where(about, records.c.kind == "CONTROL")
        .order_by(resource, records.c.idx)
    )
    for exchange, rows in groupby(_stream(connection, query), key=lambda row: str(row[0])):
        yield exchange, (bytes(row[1]) for row in rows)


def reviewed(connection: sa.Connection, exchange: str, end: int) -> bool:
    """Whether the log holds anything about the review of an emergency use before a position."""
    about = sa.and_(~is_decision, records.c.resource == exchange, records.c.kind == "CONTROL")
    query = sa.select(records.c.idx).where(about, records.c.idx < end)
    return connection.execute(query.limit(1)).first() is not None


def emergencies(connection: sa.Connection, span: Span, condition: Condition) -> Iterator[tuple[str, Tally]]:
    """The exchanges of a span that a condition allows, and the one record of each by its contract."""
    query = sa.select(records.c.exchange, records.c.contract, records.c.idx, records.c.at_ms)
    for row in _stream(connection, query.where(_within(span), _EXCHANGES, condition)):
        yield row[0], _tally(row[1], 1, 1, (row[2], row[2], row[3], row[3]))


def decision_of(connection: sa.Connection, exchange: str) -> Tally | None:
    """The record of an exchange, by its contract."""
    query = sa.select(records.c.contract, records.c.idx, records.c.at_ms)
    row = connection.execute(query.where(is_decision, records.c.exchange == exchange)).first()
    return None if row is None else _tally(row[0], 1, 1, (row[1], row[1], row[2], row[2]))


def _asked(span: Span) -> sa.Subquery:
    """A row for each person of each exchange."""
    record = (records.c.caller, records.c.idx, records.c.at_ms)
    alone = sa.select(*record, records.c.subject_token.label("token")).where(
        _within(span), _EXCHANGES, records.c.subject_token != ""
    )
    among = (
        sa.select(*record, record_subjects.c.token)
        .join_from(record_subjects, records, records.c.idx == record_subjects.c.idx)
        .where(record_subjects.c.idx >= span[0], record_subjects.c.idx < span[1])
    )
    return sa.union_all(alone, among).subquery()


def _within(span: Span) -> Condition:
    return sa.and_(records.c.idx >= span[0], records.c.idx < span[1])


def _ends(position: Any, at_ms: Any) -> tuple[Any, ...]:
    low, high = sa.func.min, sa.func.max
    return low(position), high(position), low(at_ms), high(at_ms)


def _tally(key: str, number: int, count: int, ends: Any) -> Tally:
    first, last, first_ms, last_ms = ends
    return Tally(
        key=key, records=number, count=count, first=first, last=last, first_ms=first_ms, last_ms=last_ms
    )


def _minute(row: Any) -> Minute:
    denials = _tally(row[0], row[3], row[3], row[4:]) if row[3] else None
    return Minute(row[1], row[2], denials)


def _stream(connection: sa.Connection, query: sa.Executable) -> Iterator[Any]:
    yield from connection.execute(query.execution_options(yield_per=_AT_ONCE))
