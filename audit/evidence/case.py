"""The records of a case, read from a ledger: those asked for, the range they lie in, and what they rest on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from audit.batch.lines import Line
from audit.batch.view import ProvenLine, lines_about, proven_line
from audit.evidence.manifest import MAX_RANGE
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.search.query import Condition, by_exchange, oldest_first
from isthmus.errors import InvalidArgument

MAX_RANGE_BYTES: Final = 16 << 20
MAX_RESTS_ON: Final = 5_000


@dataclass(frozen=True, slots=True)
class Case:
    """What a bundle is made of.

    Attributes:
        leaves: of the whole range, in order; the first is at position `begin`.
        begin: the position of the first record of the case.
        indexes: of the records of the case.
        rests_on: the leaves of further records, by position.
        lines: of batches in the case, what was decided about its person, by position of the record.
    """

    leaves: tuple[bytes, ...]
    begin: int
    indexes: tuple[int, ...]
    rests_on: dict[int, bytes]
    lines: dict[int, tuple[ProvenLine, ...]]

    @property
    def end(self) -> int:
        """The position behind the last record of the case."""
        return self.begin + len(self.leaves)


def read_case(connection: sa.Connection, conditions: Sequence[Condition], *, tokens: Sequence[str]) -> Case:
    """Reads a case.

    Args:
        connection: a snapshot of the ledger.
        conditions: which records it is about.
        tokens: of the person that it is about, in every key epoch; none where it is about nobody.

    Raises:
        InvalidArgument: no record fits, or the range is longer or larger than a bundle holds.
    """
    indexes = _indexes(connection, conditions)
    begin, end = indexes[0], indexes[-1] + 1
    leaves = tuple(
        each.leaf for each in oldest_first(connection, [], between=(begin, end), limit=end - begin)
    )
    if sum(map(len, leaves)) > MAX_RANGE_BYTES:
        raise _too_much(f"take more than {MAX_RANGE_BYTES >> 20} MiB")
    own = {index: AccessRecord.parse(leaves[index - begin]) for index in indexes}
    lines = _lines(connection, own, tokens)
    rests_on = _rests_on(connection, own, lines, end)
    return Case(leaves, begin, indexes, rests_on, lines)


def _indexes(connection: sa.Connection, conditions: Sequence[Condition]) -> tuple[int, ...]:
    found: list[int] = []
    query = sa.select(records.c.idx).where(*conditions).order_by(records.c.idx)
    for index in connection.execute(query.limit(MAX_RANGE + 1)).scalars():
        found.append(index)
        if index - found[0] >= MAX_RANGE:
            raise _too_much(f"lie between {found[0]} and {index} or beyond")
    if not found:
        raise InvalidArgument("filter", "no record fits it, and a bundle about nothing would prove nothing")
    return tuple(found)


def _too_much(what: str) -> InvalidArgument:
    words = (
        f"the records of the case {what}; a bundle holds the whole range between the first and the last, at most "
        f"{MAX_RANGE} records. Narrow it by index or time, and make a bundle for each part"
    )
    return InvalidArgument("filter", words)


def _lines(
    connection: sa.Connection, own: dict[int, AccessRecord], tokens: Sequence[str]
) -> dict[int, tuple[ProvenLine, ...]]:
    batches = [index for index, record in own.items() if record.subjects_root] if tokens else []
    found = {
        index: tuple(_proven(connection, index, lines_about(connection, index, tokens))) for index in batches
    }
    return {index: lines for index, lines in found.items() if lines}


def _proven(connection: sa.Connection, index: int, lines: Iterable[Line]) -> Iterator[ProvenLine]:
    for line in lines:
        proven = proven_line(connection, index, line.index)
        if proven is not None:
            yield proven


def _rests_on(
    connection: sa.Connection,
    own: dict[int, AccessRecord],
    lines: dict[int, tuple[ProvenLine, ...]],
    end: int,
) -> dict[int, bytes]:
    """What was done before about the contracts and consents that decisions rest on; and the openings of streams."""
    found = dict(_openings(connection, own))
    decided = [*own.values(), *map(AccessRecord.parse, found.values())]
    names = {name for record in decided for name in _names(record)}
    names |= {
        str(each.line.consent["name"]) for every in lines.values() for each in every if each.line.consent
    }
    for name in sorted(names):
        changes = [records.c.resource == name, records.c.kind == Kind.CONTROL.value]
        found |= {
            each.index: each.leaf
            for each in oldest_first(connection, changes, between=(0, end), limit=MAX_RESTS_ON + 1)
        }
        if len(found) > MAX_RESTS_ON:
            raise _too_much(f"rest on more than {MAX_RESTS_ON} others")
    return {index: leaf for index, leaf in sorted(found.items()) if index not in own}


def _openings(connection: sa.Connection, own: dict[int, AccessRecord]) -> Iterator[tuple[int, bytes]]:
    for index, record in own.items():
        if record.kind is Kind.STREAM_END:
            opening = [by_exchange(record.exchange), records.c.kind == Kind.DECISION.value]
            for each in oldest_first(connection, opening, between=(0, index), limit=1):
                yield each.index, each.leaf


def _names(record: AccessRecord) -> Iterator[str]:
    """Of a refusal too: why it was refused shows in what had become of them."""
    if record.kind is Kind.DECISION and record.contract:
        yield record.contract
        yield record.contract.partition("@")[0]
        yield from (str(each["name"]) for each in record.consents)
