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
from isthmus.names import ContractName, DatasetName, DepartmentName, ExchangeName, SystemName
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
ENUMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "kind": tuple(Kind),
        "decision": ("ALLOW", "DENY", "ERROR"),
        "mode": ("QUERY", "VERIFY", "BATCH", "STREAM"),
        "legal_basis": ("CONSENT", "LEGAL_OBLIGATION", "PUBLIC_TASK", "VITAL_INTEREST", "CONTRACT"),
        "reason": tuple(reason.name for reason in Reason if reason),
        "stream": ("OPEN", "ENDED"),
        "emergency": ("true", "false"),
    }
)
_PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {name: f"{'RECORD_' if name == 'kind' else ''}{name.upper()}_" for name in ENUMS}
)
NAMES: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {
        "consumer": lambda text: DepartmentName.parse(text, field="filter"),
        "provider": lambda text: DepartmentName.parse(text, field="filter"),
        "dataset": lambda text: DatasetName.parse(text, field="filter"),
        "contract": lambda text: ContractName.parse(text, field="filter"),
        "exchange": lambda text: ExchangeName.parse(text, field="filter"),
        "system": lambda text: SystemName.parse(text, field="filter"),
    }
)
_TEXTS: Final = ("purpose", "case_reference", "caller", "subject_token", "action", "resource")
FIELDS: Final = (*NAMES, *_TEXTS, *ENUMS, "index", "time")
"""What a filter may name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record's position and its leaf."""

    index: int
    leaf: bytes


def compile_filter(text: str, *, correlated: bool = False) -> Condition:
    """The condition that a filter puts on `records`.

    Args:
        text: the filter.
        correlated: ask beside each record for its reasons and persons: for conditions on few records, where all the
            records that hold a reason would be too many to list.

    Raises:
        InvalidArgument: the filter cannot be read, or compares a field with what it cannot hold.
    """
    expression = parse_filter(text)
    return sa.true() if expression is None else compile_expression(expression, correlated=correlated)


def compile_expression(expression: Expression, *, correlated: bool = False) -> Condition:
    """As `compile_filter`, of a filter that was read."""
    match expression:
        case And(terms):
            return sa.and_(*(compile_expression(each, correlated=correlated) for each in terms))
        case Or(terms):
            return sa.or_(*(compile_expression(each, correlated=correlated) for each in terms))
        case Not(term):
            return sa.not_(compile_expression(term, correlated=correlated))
        case Restriction():
            return _restrict(expression, correlated=correlated)


def of_subject(tokens: Collection[str], *, correlated: bool = False) -> Condition:
    """The records about one person, by the tokens of all key epochs; batches in which the person is one of many too.
    `correlated` as for `compile_filter`."""
    among = record_subjects.c.token.in_(list(tokens))
    batches = _belongs(record_subjects, among, correlated=correlated)
    return sa.or_(records.c.subject_token.in_(list(tokens)), batches)


def _belongs(table: sa.Table, condition: Condition, *, correlated: bool) -> Condition:
    """The records to which a row of the table belongs that fulfils the condition."""
    if correlated:
        return sa.exists().where(table.c.idx == records.c.idx, condition)
    return records.c.idx.in_(sa.select(table.c.idx).where(condition))


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


def _restrict(each: Restriction, *, correlated: bool) -> Condition:
    if each.field not in FIELDS:
        raise refuse(each.position, f"there is no such field; there are {', '.join(FIELDS)}")
    if each.field in ("index", "time"):
        column = records.c.idx if each.field == "index" else records.c.at_ms
        return _ORDERED[each.operator](column, number_of(each))
    if each.operator not in ("=", "!=", ":"):
        raise refuse(each.position, f"{each.field} has no order; compare it with =, != or :")
    found = _equal(each, correlated=correlated)
    return sa.not_(found) if each.operator == "!=" else found


def _equal(each: Restriction, *, correlated: bool) -> Condition:
    if each.field in ENUMS:
        return _enum(each, correlated=correlated)
    if each.field in NAMES:
        return _named(each)
    if each.field == "subject_token" and each.operator != ":" and each.value:
        return of_subject([each.value], correlated=correlated)
    if each.field == "resource" and each.operator != ":" and each.value:
        return _resource(each.value)
    column = records.c[each.field]
    return _holds(column, each.value) if each.operator == ":" else column == each.value


def _holds(column: sa.ColumnElement[str], text: str) -> Condition:
    """Whether the text occurs in the column; A is a, in ASCII. LIKE would stop at a NUL, which `instr` does not."""
    return sa.func.instr(sa.func.lower(column), sa.func.lower(text)) > 0


def _enum(each: Restriction, *, correlated: bool) -> Condition:
    value = enum_value(each)
    if each.field == "reason":
        return _belongs(record_reasons, record_reasons.c.reason == value, correlated=correlated)
    if each.field == "stream":
        return _stream(ended=value == "ENDED")
    if each.field == "emergency":
        return _EMERGENCY if value == "true" else ~_EMERGENCY
    return records.c[each.field] == value


def enum_value(each: Restriction) -> str:
    """What a restriction of a field with few possible values asks for. Raises InvalidArgument."""
    value = each.value.removeprefix(_PREFIXES[each.field])
    if value not in ENUMS[each.field]:
        raise refuse(each.position, f"{each.field} is one of {', '.join(ENUMS[each.field])}")
    return value


_EMERGENCY: Final = sa.and_(is_decision, sa.func.instr(records.c.leaf, b'"emergency":"') > 0)
"""No column says it. In canonical JSON these bytes are that member of the record: inside a text its quotes are escaped."""


def has_end() -> Condition:
    """The records of an exchange whose stream has ended."""
    end = records.alias()
    return sa.exists().where(
        end.c.kind == sa.literal_column("'STREAM_END'"), end.c.exchange == records.c.exchange
    )


def _stream(*, ended: bool) -> Condition:
    """The records that opened streams: those that have an end, or those that have none (yet, or cut off by a crash)."""
    opening = sa.and_(is_decision, records.c.mode == "STREAM", records.c.decision == "ALLOW")
    return sa.and_(opening, has_end() if ended else ~has_end())


def _named(each: Restriction) -> Condition:
    name = named_value(each)
    if isinstance(name, ContractName):
        same = records.c.contract == str(name.base)
        return same if name.version is None else sa.and_(same, records.c.version == name.version)
    if isinstance(name, SystemName):
        return records.c.caller.like(f"spiffe://%{system_path(name)}")
    return by_exchange(str(name)) if each.field == "exchange" else records.c[each.field] == str(name)


def named_value(each: Restriction) -> object:
    """The name that a restriction asks for. Raises InvalidArgument."""
    try:
        return NAMES[each.field](each.value)
    except InvalidArgument as error:
        raise refuse(each.position, f"{each.field} {error.violations[0].description}") from None


def system_path(name: SystemName) -> str:
    """How the SPIFFE ID of a system ends."""
    return f"/department/{name.department}/system/{name.system}"


def number_of(each: Restriction) -> int:
    """The position that a restriction of `index` names, or the milliseconds since 1970 of one of `time`.

    Raises:
        InvalidArgument: it names none.
    """
    return _index(each) if each.field == "index" else _time(each)


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
