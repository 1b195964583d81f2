"""Quotas of a contract: which limits apply to an exchange, whether one is used up, and the durable count of use.

The maths is pure. Reading and debiting happen on the connection of the ledger transaction that records the
release, so quotas hold whatever runs at the same time, and a refused exchange costs nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from gateway.state.prepared import Prepared
from gateway.state.schema import quota_usage
from gateway.state.times import to_ms

_LENGTHS: Final[Mapping[str, timedelta]] = {
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
}
CONSENT: Final = "CONSENT"
"""The scope that counts the uses of one consent, by its name."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Counter:
    """What one count is of: a contract version, whose use, and since when (milliseconds since the epoch)."""

    contract: str
    scope: str
    scope_key: str
    window: str
    start: int


@dataclass(frozen=True, slots=True)
class Use:
    """How much was used: exchanges and rows."""

    calls: int = 0
    rows: int = 0

    def plus(self, rows: int) -> "Use":
        """The use after one more exchange that released `rows`."""
        return Use(self.calls + 1, self.rows + rows)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many exchanges and rows in the window of `counter`; 0 means no limit."""

    counter: Counter
    calls: int
    rows: int
    ends: datetime | None

    def allows(self, used: Use, *, rows: int | None) -> bool:
        """Whether one more exchange fits.

        Args:
            used: the use so far.
            rows: how many rows it would release; None while nobody knows: then there must be room for one.
        """
        if self.calls and used.calls + 1 > self.calls:
            return False
        return not self.rows or used.rows + (1 if rows is None else rows) <= self.rows

    def words(self) -> str:
        """The limit as a person reads it; no subject is named."""
        parts = [f"{self.calls} exchanges"] if self.calls else []
        parts += [f"{self.rows} rows"] if self.rows else []
        whose = {
            "CONTRACT": "",
            "SYSTEM": " by one system",
            "SUBJECT": " about one subject",
            CONSENT: " on one consent",
        }
        when = "in all" if self.counter.window == "TOTAL" else f"each {self.counter.window.lower()}"
        return f"{' and '.join(parts) or 'no limit'}{whose.get(self.counter.scope, '')} {when}"


NO_USE: Final = Use()


def window_of(window: str, now: datetime) -> tuple[datetime, datetime | None]:
    """Returns when the window that holds `now` began and ends, on the UTC clock; TOTAL never ends.

    Raises:
        ValueError: there is no such window.
    """
    if window == "TOTAL":
        return _EPOCH, None
    if window == "MONTH":
        start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return start, (start + timedelta(days=32)).replace(day=1)
    if window not in _LENGTHS:
        raise ValueError(f"{window} is no quota window")
    length = _LENGTHS[window]
    start = _EPOCH + (now - _EPOCH) // length * length
    return start, start + length


def limits(
    quotas: Iterable[Mapping[str, Any]], *, contract: str, system: str, token: str, now: datetime
) -> tuple[Limit, ...]:
    """Returns the limits that the quotas of a contract put on one exchange.

    Args:
        quotas: the `quotas` of the terms: `{"window", "calls", "rows", "scope"}` each.
        contract: `contracts/{contract}@{version}`: a new version starts from zero.
        system: the consumer system that asks.
        token: the token of the subject; empty when there is none.
        now: the time.

    Raises:
        ValueError: a scope or window that this version does not know, so that nothing goes uncounted.
    """
    keys = {"CONTRACT": "", "SYSTEM": system, "SUBJECT": token}
    found = []
    for quota in quotas:
        scope = quota["scope"]
        if scope not in keys:
            raise ValueError(f"{scope} is no quota scope")
        start, ends = window_of(quota["window"], now)
        counter = Counter(contract, scope, keys[scope], quota["window"], to_ms(start))
        found.append(Limit(counter, quota["calls"], quota["rows"], ends))
    return tuple(found)


def consent_limit(*, contract: str, consent: str, max_uses: int) -> Limit | None:
    """Returns the limit that a consent itself puts on exchanges; None when it sets none.

    Args:
        contract: `contracts/{contract}@{version}`, the version that the consent was given to.
        consent: `consents/{uuid}`.
        max_uses: how many exchanges it allows; 0 for no limit.
    """
    if not max_uses:
        return None
    return Limit(Counter(contract, CONSENT, consent, "TOTAL", to_ms(_EPOCH)), max_uses, 0, None)


def used_up(limits: Sequence[Limit], usage: Mapping[Counter, Use], *, rows: int | None) -> Limit | None:
    """Returns the first limit that one more exchange would break, or None. `rows` as in `Limit.allows`."""
    for limit in limits:
        if not limit.allows(usage.get(limit.counter, NO_USE), rows=rows):
            return limit
    return None


def debit(limits: Sequence[Limit], usage: dict[Counter, Use], *, rows: int) -> None:
    """Counts one exchange in `usage`, once a counter even where several limits share it."""
    for counter in {limit.counter for limit in limits}:
        usage[counter] = usage.get(counter, NO_USE).plus(rows)


_COLUMNS: Final = (
    quota_usage.c.contract,
    quota_usage.c.scope,
    quota_usage.c.scope_key,
    quota_usage.c.quota_window,
    quota_usage.c.window_start,
)
_COUNTED: Final = Prepared(
    lambda counted: sa.select(*_COLUMNS, quota_usage.c.calls, quota_usage.c.row_count).where(counted),
    _COLUMNS,
    most=64,
)


def debit_rows(limits: Sequence[Limit], usage: dict[Counter, Use], *, rows: int) -> None:
    """Counts rows of an exchange that was counted itself when it began: a part of a stream."""
    for counter in {limit.counter for limit in limits}:
        used = usage.get(counter, NO_USE)
        usage[counter] = Use(used.calls, used.rows + rows)


def read_usage(conn: sa.Connection, counters: Collection[Counter]) -> dict[Counter, Use]:
    """Returns the use so far; a counter that was never used is absent. One query per 64 counters."""
    wanted = sorted(map(_key, set(counters)))
    return {Counter(*row[:5]): Use(*row[5:]) for row in _COUNTED.rows(conn, wanted)}


def write_usage(conn: sa.Connection, before: Mapping[Counter, Use], after: Mapping[Counter, Use]) -> None:
    """Writes what has changed from `before` to `after`, and forgets windows that are over.

    Args:
        conn: the connection of the transaction in which `before` was read.
        before: the use that was read.
        after: the use now.
    """
    for counter, use in after.items():
        if use == before.get(counter):
            continue
        values = {"calls": use.calls, "row_count": use.rows}
        if counter in before:
            conn.execute(quota_usage.update().where(*_same(counter), _start(counter)).values(**values))
        else:
            over = quota_usage.c.window_start < counter.start
            conn.execute(quota_usage.delete().where(*_same(counter), over))
            conn.execute(
                quota_usage.insert().values(**dict(zip(_NAMES, _key(counter), strict=True)), **values)
            )


_NAMES: Final = ("contract", "scope", "scope_key", "quota_window", "window_start")


def _key(counter: Counter) -> tuple[str, str, str, str, int]:
    return (counter.contract, counter.scope, counter.scope_key, counter.window, counter.start)


def _same(counter: Counter) -> tuple[sa.ColumnElement[bool], ...]:
    table, values = quota_usage.c, _key(counter)[:4]
    return tuple(table[name] == value for name, value in zip(_NAMES[:4], values, strict=True))


def _start(counter: Counter) -> sa.ColumnElement[bool]:
    return quota_usage.c.window_start == counter.start
