"""What the quotas still allow while a batch is decided, one subject after another, and the use that it leaves behind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import sqlalchemy as sa

from gateway.quotas import Counter, Limit, Use, write_usage
from gateway.state.schema import quota_usage

_CHUNK: Final = 500
_SUBJECT: Final = "SUBJECT"
_ONE: Final = ("contract", "scope", "quota_window", "window_start")
_OF_KEYS: Final = sa.select(quota_usage.c.scope_key, quota_usage.c.calls, quota_usage.c.row_count).where(
    *(quota_usage.c[name] == sa.bindparam(f"of_{name}") for name in _ONE),
    quota_usage.c.scope_key.in_(sa.bindparam("keys", expanding=True)),
)
_SAME: Final = sa.and_(
    *(
        quota_usage.c[name] == sa.bindparam(f"of_{name}")
        for name in ("contract", "scope", "scope_key", "quota_window")
    )
)
_FORGET: Final = quota_usage.delete().where(
    _SAME, quota_usage.c.window_start < sa.bindparam("of_window_start")
)
_CHANGE: Final = (
    quota_usage.update()
    .where(_SAME, quota_usage.c.window_start == sa.bindparam("of_window_start"))
    .values(calls=sa.bindparam("now_calls"), row_count=sa.bindparam("now_rows"))
)


class Purse:
    """The quotas of one contract and the limits of its subjects' consents.

    Args:
        limits: of the contract; those of the scope SUBJECT stand for any subject.
        usage: what the others have used.
    """

    def __init__(self, limits: Sequence[Limit], usage: Mapping[Counter, Use]) -> None:
        self._own = [each for each in limits if each.counter.scope == _SUBJECT]
        shared = [each for each in limits if each.counter.scope != _SUBJECT]
        self._before = {each.counter: usage[each.counter] for each in shared if each.counter in usage}
        self._cells = {each.counter: _cell(usage.get(each.counter)) for each in shared}
        self._shared = [(each, self._cells[each.counter]) for each in shared]
        self._personal_before: dict[Counter, Use] = {}
        self._personal: dict[Counter, list[int]] = {}

    def know(self, personal: Mapping[Counter, Use]) -> None:
        """Takes in what some subjects, and the consents that limit their uses, have used; before any of them is counted."""
        self._personal_before.update(personal)
        self._personal.update((counter, _cell(use)) for counter, use in personal.items())

    def take(self, token: str, uses: Limit | None, *, rows: int | None) -> Limit | None:
        """Counts one subject if every limit allows it; otherwise returns the first that does not.

        Args:
            token: of the subject.
            uses: the limit of its consent, if it has one.
            rows: how many rows it would get; None before anybody knows: then there must be room for one.
        """
        limits = self._shared
        if not limits and not self._own and uses is None:
            return None
        if self._own or uses is not None:
            limits = [*limits, *self._of_person(token, uses)]
        for limit, (calls, used_rows) in limits:
            if limit.calls and calls >= limit.calls:
                return limit
            if limit.rows and used_rows + (1 if rows is None else rows) > limit.rows:
                return limit
        # Two limits may share a counter, which counts once.
        for cell in (
            {id(cell): cell for _, cell in limits}.values() if len(limits) > 1 else [c for _, c in limits]
        ):
            cell[0] += 1
            cell[1] += rows or 0
        return None

    def _of_person(self, token: str, uses: Limit | None) -> list[tuple[Limit, list[int]]]:
        limits = personal_limits(self._own, token)
        if uses is not None:
            limits.append(uses)
        return [(each, self._personal.setdefault(each.counter, [0, 0])) for each in limits]

    def write(self, conn: sa.Connection) -> None:
        """Writes the use, in the transaction in which it was read; forgets windows that are over."""
        write_usage(
            conn, self._before, {counter: Use(*cell) for counter, cell in self._cells.items() if any(cell)}
        )
        after = {counter: Use(*cell) for counter, cell in self._personal.items() if any(cell)}
        _write_many(conn, self._personal_before, after)


def personal_limits(limits: Iterable[Limit], token: str) -> list[Limit]:
    """The limits of the scope SUBJECT, for one subject."""
    return [replace(each, counter=replace(each.counter, scope_key=token)) for each in limits]


def read_many(conn: sa.Connection, counters: Iterable[Counter]) -> dict[Counter, Use]:
    """Returns the use of many counters that differ mostly in their key; as `gateway.quotas.read_usage`."""
    found: dict[Counter, Use] = {}
    for common, group in groupby(sorted(set(counters), key=_order), key=_common):
        keys = [each.scope_key for each in group]
        contract, scope, window, start = common
        fixed = {f"of_{name}": value for name, value in zip(_ONE, common, strict=True)}
        for first in range(0, len(keys), _CHUNK):
            for key, calls, rows in conn.execute(_OF_KEYS, {**fixed, "keys": keys[first : first + _CHUNK]}):
                found[Counter(contract, scope, key, window, start)] = Use(calls, rows)
    return found


def _write_many(conn: sa.Connection, before: Mapping[Counter, Use], after: Mapping[Counter, Use]) -> None:
    changed = [(counter, use) for counter, use in after.items() if use != before.get(counter)]
    old = [
        _place(counter) | {"now_calls": use.calls, "now_rows": use.rows}
        for counter, use in changed
        if counter in before
    ]
    new = [(counter, use) for counter, use in changed if counter not in before]
    if old:
        conn.execute(_CHANGE, old)
    if new:
        conn.execute(_FORGET, [_place(counter) for counter, _ in new])
        conn.execute(quota_usage.insert(), [_row(counter, use) for counter, use in new])


def _place(counter: Counter) -> dict[str, str | int]:
    return {
        "of_contract": counter.contract,
        "of_scope": counter.scope,
        "of_scope_key": counter.scope_key,
        "of_quota_window": counter.window,
        "of_window_start": counter.start,
    }


def _row(counter: Counter, use: Use) -> dict[str, str | int]:
    return {
        "contract": counter.contract,
        "scope": counter.scope,
        "scope_key": counter.scope_key,
        "quota_window": counter.window,
        "window_start": counter.start,
        "calls": use.calls,
        "row_count": use.rows,
    }


def _cell(use: Use | None) -> list[int]:
    return [0, 0] if use is None else [use.calls, use.rows]


def _common(counter: Counter) -> tuple[str, str, str, int]:
    return (counter.contract, counter.scope, counter.window, counter.start)


def _order(counter: Counter) -> tuple[str, str, str, int, str]:
    return (*_common(counter), counter.scope_key)
