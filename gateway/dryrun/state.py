"""What a past exchange was decided about: the terms of its contract version and its catalogue entry at the time.

Both are kept for ever: terms are written once, and the catalogue keeps every revision.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from gateway.dryrun.past import Past
from gateway.state.schema import contracts, dataset_revisions

T = TypeVar("T")
_REMEMBERED: Final = 256


class Archive:
    """Reads terms and entries, and remembers the last few hundred: they never change."""

    def __init__(self) -> None:
        self._terms: dict[Hashable, Mapping[str, Any] | None] = {}
        self._entries: dict[Hashable, Mapping[str, Any] | None] = {}
        self._revisions: dict[Hashable, list[tuple[int, int]]] = {}

    def terms(self, conn: sa.Connection, past: Past) -> Mapping[str, Any] | None:
        """Returns the terms of the contract version that decided; None when the store does not hold it."""
        table, key = contracts.c, (past.contract, past.version)
        query = sa.select(table.terms).where(table.contract == key[0], table.version == key[1])
        return _remembered(self._terms, key, lambda: _document(conn.scalar(query)))

    def entry(self, conn: sa.Connection, past: Past) -> Mapping[str, Any] | None:
        """Returns the catalogue entry as it stood when the exchange was decided; None when there was none."""
        table = dataset_revisions.c
        query = sa.select(table.position, table.revision).where(table.name == past.dataset)
        revisions = _remembered(
            self._revisions,
            past.dataset,
            lambda: [(row.position, row.revision) for row in conn.execute(query.order_by(table.revision))],
        )
        number = max((revision for position, revision in revisions if position < past.base), default=0)
        one = sa.select(table.entry).where(table.name == past.dataset, table.revision == number)
        return _remembered(self._entries, (past.dataset, number), lambda: _document(conn.scalar(one)))


def _document(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else dict(json.loads(text))


def _remembered(known: dict[Hashable, T], key: Hashable, read: Callable[[], T]) -> T:
    if key not in known:
        if len(known) >= _REMEMBERED:
            known.clear()
        known[key] = read()
    return known[key]
