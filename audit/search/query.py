"""Searches over the records: a filter becomes bound parameters over index columns, and nothing else.

Results are ordered by position, so pages are stable while the log grows.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from audit.ledger.schema import is_decision, record_reasons, record_subjects, records
from audit.record import Kind, milliseconds
from audit.search.filter import And, Expression, Not, Or, Restriction, parse_filter, refuse
from isthmus.errors import InvalidArgument
from isthmus.names import ContractName, DatasetName, DepartmentName, ExchangeName
from isthmus.reasons import Reason

Condition = sa.ColumnElement[bool]
DENY_CERTIFICATE: Final = "DenyCertificate"
"""The action of the record that denies a certificate."""

_MAX_INDEX: Final = (1 << 63) - 1
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ORDERED: Final[Mapping[str, Callable[[sa.ColumnElement[int], int], Condition]]] = MappingProxyType(
    {
        "=": lambda column, value: column == value,
        "!=": lambda column, value: column != value,
        "<": lambda column, value: column < value,
        "<=": lambda column, value: column <= value,
        ">": lambda column, value: column > value,
        ">=": lambda column, value: column >= value,
        ":": lambda column, value: column == value,
    }
)
_ENUMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "kind": tuple(Kind),
        "decision": ("ALLOW", "DENY", "ERROR"),
        "mode": ("QUERY", "VERIFY", "BATCH", "STREAM"),
        "legal_basis": ("CONSENT", "LEGAL_OBLIGATION", "PUBLIC_TASK", "VITAL_INTEREST", "CONTRACT"),
        "reason": tuple(reason.name for reason in Reason if reason),
        "stream": ("OPEN", "ENDED"),
    }
)
_PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {name: f"{'RECORD_' if name == 'kind' else ''}{name.upper()}_" for name in _ENUMS}
)
_NAMES: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {
        "consumer": lambda text: DepartmentName.parse(text, field="filter"),
        "provider": lambda text: DepartmentName.parse(text, field="filter"),
        "dataset": lambda text: DatasetName.parse(text, field="filter"),
        "contract": lambda text: ContractName.parse(text, field="filter"),
        "exchange": lambda text: ExchangeName.parse(text, field="filter"),
    }
)
_TEXTS: Final = ("purpose", "case_reference", "caller", "subject_token", "action", "resource")
FIELDS: Final = (*_NAMES, *_TEXTS, *_ENUMS, "index", "time")
"""What a filter may name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record's position and its leaf."""

    index: int
    leaf: bytes


def compile_filter(text: str) -> Condition:
    """The condition that a filter puts on `records`.

    Raises:
        InvalidArgument: the filter cannot be read, or compares a field with what it cannot hold.
    """
    expression = parse_filter(text)
    return sa.true() if expression is None else _compile(expression)


def of_subject(tokens: Collection[str]) -> Condition:
    """The records about one person, by the tokens of all key epochs; batches in which the person is one of many too."""
    batches = sa.select(record_subjects.c.idx).where(record_subjects.c.token.in_(list(tokens)))
    return sa.or_(records.c.subject_token.in_(list(tokens)), records.c.idx.in_(batches))


def of_department(department: str) -> Condition:
    """The records in which a department (`departments/{d}`) is the consumer or the provider."""
    return sa.or_(records.c.consumer == department, records.c.provider == department)


def about_nobody() -> Condition:
    """All but the control records about a person, which are those of consents."""
    return sa.not_(sa.and_(records.c.kind == Kind.CONTROL.value, records.c.subject_token != ""))


def newest_first(
    connection: sa.Connection, conditions: Sequence[Condition], *, before: int | None, limit: int
) -> Iterator[Found]:
    """At most `limit` records, newest first, with positions below `before`; read as they are asked for."""
    bound = [] if before is None else [records.c.idx < before]
    return _run(connection, _select(conditions, bound).order_by(records.c.idx.desc()).limit(limit))


def oldest_first(
    connection: sa.Connection, conditions: Sequence[Condition], *, between: tuple[int, int], limit: int
) -> Iterator[Found]:
    """At most `limit` records, oldest first, with positions from the first of `between` up to before the second."""
    first, end = between
    bound = [records.c.idx >= first, records.c.idx < end]
    return _run(connection, _select(conditions, bound).order_by(records.c.idx).limit(limit))


def one_of_exchange(
    connection: sa.Connection, conditions: Sequence[Condition], exchange: str
) -> Found | None:
    """The record of an exchange: the decision, or the first record of a control call."""
    query = _select(conditions, [by_exchange(exchange)]).order_by(is_decision.desc(), records.c.idx).limit(1)
    return next(_run(connection, query), None)


def is_denied(connection: sa.Connection, thumbprint: str) -> bool:
    """Whether the log holds the denial of a certificate (SHA-256 of its DER, hex)."""
    denial = sa.and_(records.c.action == DENY_CERTIFICATE, _resource(f"certificates/{thumbprint}"))
    return connection.execute(sa.select(records.c.idx).where(denial).limit(1)).first() is not None


def by_exchange(exchange: str) -> Condition:
    """The records of one exchange; served by the two partial indexes."""
    same = records.c.exchange == exchange
    return sa.or_(sa.and_(is_decision, same), sa.and_(~is_decision, same))


def _resource(name: str) -> Condition:
    # Only these records have one, and only these are indexed by it.
    return sa.and_(~is_decision, records.c.resource == name)


def _run(connection: sa.Connection, query: sa.Select[int, bytes]) -> Iterator[Found]:
    for row in connection.execute(query.execution_options(yield_per=100)):
        yield Found(row[0], row[1])


def _select(conditions: Sequence[Condition], bound: Sequence[Condition]) -> sa.Select[int, bytes]:
    return sa.select(records.c.idx, records.c.leaf).where(*conditions, *bound)


def _compile(expression: Expression) -> Condition:
    match expression:
        case And(terms):
            return sa.and_(*map(_compile, terms))
        case Or(terms):
            return sa.or_(*map(_compile, terms))
        case Not(term):
            return sa.not_(_compile(term))
        case Restriction():
            return _restrict(expression)


def _restrict(each: Restriction) -> Condition:
    if each.field not in FIELDS:
        raise refuse(each.position, f"there is no such field; there are {', '.join(FIELDS)}")
    if each.field in ("index", "time"):
        column = records.c.idx if each.field == "index" else records.c.at_ms
        return _ORDERED[each.operator](column, (_index if each.field == "index" else _time)(each))
    if each.operator not in ("=", "!=", ":"):
        raise refuse(each.position, f"{each.field} has no order; compare it with =, != or :")
    found = _equal(each)
    return sa.not_(found) if each.operator == "!=" else found


def _equal(each: Restriction) -> Condition:
    if each.field in _ENUMS:
        return _enum(each)
    if each.field in _NAMES:
        return _named(each)
    if each.field == "subject_token" and each.operator != ":" and each.value:
        return of_subject([each.value])
    if each.field == "resource" and each.operator != ":" and each.value:
        return _resource(each.value)
    column = records.c[each.field]
    return column.contains(each.value, autoescape=True) if each.operator == ":" else column == each.value


def _enum(each: Restriction) -> Condition:
    value = each.value.removeprefix(_PREFIXES[each.field])
    if value not in _ENUMS[each.field]:
        raise refuse(each.position, f"{each.field} is one of {', '.join(_ENUMS[each.field])}")
    if each.field == "reason":
        return records.c.idx.in_(sa.select(record_reasons.c.idx).where(record_reasons.c.reason == value))
    if each.field == "stream":
        return _stream(ended=value == "ENDED")
    return records.c[each.field] == value


def _stream(*, ended: bool) -> Condition:
    """The records that opened streams: those that have an end, or those that have none (yet, or cut off by a crash)."""
    end = records.alias()
    closing = sa.exists().where(
        end.c.kind == sa.literal_column("'STREAM_END'"), end.c.exchange == records.c.exchange
    )
    opening = sa.and_(is_decision, records.c.mode == "STREAM", records.c.decision == "ALLOW")
    return sa.and_(opening, closing if ended else ~closing)


def _named(each: Restriction) -> Condition:
    try:
        name = _NAMES[each.field](each.value)
    except InvalidArgument as error:
        raise refuse(each.position, f"{each.field} {error.violations[0].description}") from None
    if isinstance(name, ContractName):
        same = records.c.contract == str(name.base)
        return same if name.version is None else sa.and_(same, records.c.version == name.version)
    return by_exchange(str(name)) if each.field == "exchange" else records.c[each.field] == str(name)


def _index(each: Restriction) -> int:
    if not re.fullmatch(r"\d{1,19}", each.value, re.ASCII) or int(each.value) > _MAX_INDEX:
        raise refuse(each.position, "an index is a whole number from 0 on")
    return int(each.value)


def _time(each: Restriction) -> int:
    try:
        if not _TIME.fullmatch(each.value):
            raise ValueError
        return milliseconds(datetime.fromisoformat(each.value.upper()))
    except (ValueError, OverflowError):
        raise refuse(
            each.position, "a time is RFC 3339 with a zone and at most milliseconds, as 2026-11-01T00:00:00Z"
        ) from None
