"""Who used a consent, read from the records of the ledger: never stored beside them.

The count that refuses one use too many is the quota counter that every release debits in its own transaction, see
`gateway.quotas`; it agrees with the records because one commit writes both.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from audit.ledger.schema import is_decision, records
from audit.record import AccessRecord
from gateway.quotas import NO_USE, consent_limit, read_usage
from gateway.state.consents import ConsentRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a consent was used, and when last."""

    uses: int = 0
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """One use: the position of its record, and the record."""

    position: int
    record: AccessRecord


def used_up(conn: sa.Connection, rows: Collection[ConsentRow]) -> frozenset[str]:
    """Returns the names of those that have allowed as many exchanges as they may."""
    found = {
        row.name: consent_limit(contract=row.contract, consent=row.name, max_uses=row.max_uses)
        for row in rows
    }
    limits = {name: limit for name, limit in found.items() if limit is not None}
    usage = read_usage(conn, [limit.counter for limit in limits.values()])
    return frozenset(
        name
        for name, limit in limits.items()
        if not limit.allows(usage.get(limit.counter, NO_USE), rows=None)
    )


def tallies(conn: sa.Connection, rows: Sequence[ConsentRow], *, epoch: int) -> dict[str, Tally]:
    """Returns the uses of each consent by name; one that was never used is absent. Arguments as for `uses_of`."""
    names, found = {row.name for row in rows}, dict[str, Tally]()
    for _, record, at in _read(conn, _where(rows, epoch), first=0):
        for each in record.consents:
            if (name := str(each["name"])) in names:
                found[name] = Tally(found.get(name, Tally()).uses + 1, at)
    return found


def uses_of(conn: sa.Connection, row: ConsentRow, *, epoch: int, first: int = 0) -> Iterator[Used]:
    """Yields the uses of a consent, oldest first.

    Args:
        conn: a read snapshot.
        row: the consent.
        epoch: of the subject key in use now. People known by an older key are looked for among all the records of
            the contract: since the key changed, their records bear another token.
        first: only records from this position on.
    """
    for position, record, _ in _read(conn, _where([row], epoch), first=first):
        if any(each["name"] == row.name for each in record.consents):
            yield Used(position, record)


def _where(rows: Sequence[ConsentRow], epoch: int) -> sa.ColumnElement[bool]:
    old = [row for row in rows if not row.subject_token.startswith(f"{epoch}.")]
    tokens = {row.subject_token for row in rows} - {row.subject_token for row in old}
    return sa.or_(
        records.c.subject_token.in_(tokens), records.c.contract.in_({row.contract_name for row in old})
    )


def _read(
    conn: sa.Connection, condition: sa.ColumnElement[bool], *, first: int
) -> Iterator[tuple[int, AccessRecord, datetime]]:
    table = records.c
    query = sa.select(table.idx, table.leaf, table.at_ms).where(
        condition, is_decision, table.decision == "ALLOW", table.idx >= first
    )
    for row in conn.execute(query.order_by(table.idx).execution_options(yield_per=100)):
        yield row.idx, AccessRecord.parse(row.leaf), _EPOCH + timedelta(milliseconds=row.at_ms)
