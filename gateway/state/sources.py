"""The store of which dataset is the source of a data element (数源)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.state.schema import element_sources

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One claim: `dataset` is a source of `element` in `field`; `second_reason` is empty for the first source."""

    element: str
    dataset: str
    field: str
    second_reason: str


def sources_of(conn: sa.Connection, elements: Collection[str]) -> list[SourceRow]:
    """Returns every claim to these elements: of each element the first source, then the others by name."""
    wanted, found = sorted(set(elements)), list[SourceRow]()
    table = element_sources.c
    for start in range(0, len(wanted), _CHUNK):
        query = (
            sa.select(table.element, table.dataset, table.field, table.second_reason)
            .where(table.element.in_(wanted[start : start + _CHUNK]))
            .order_by(table.element, table.second_reason != "", table.dataset)
        )
        found += [SourceRow(**row._mapping) for row in conn.execute(query)]
    return found


def replace_sources(conn: sa.Connection, dataset: str, claims: Iterable[SourceRow], *, position: int) -> None:
    """Makes these the only claims of a dataset.

    Args:
        conn: the connection of the transaction that records it.
        dataset: `departments/{department}/datasets/{dataset}`.
        claims: of that dataset.
        position: the ledger position of the record.

    Raises:
        sqlalchemy.exc.IntegrityError: another dataset is the first source already.
    """
    conn.execute(element_sources.delete().where(element_sources.c.dataset == dataset))
    rows = [
        {
            "element": each.element,
            "dataset": dataset,
            "field": each.field,
            "second_reason": each.second_reason,
            "position": position,
        }
        for each in claims
    ]
    if rows:
        conn.execute(element_sources.insert(), rows)
