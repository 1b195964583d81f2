"""The store of catalogue entries."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from gateway.state import schema
from gateway.state.prepared import Prepared
from gateway.state.times import from_ms, to_ms


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """A field of a dataset: enum values by name without prefix; no `transforms` means that `plain` is accepted."""

    name: str
    title: str
    type: str
    sensitivity: str
    transforms: tuple[str, ...]
    element: str
    source: bool = False
    second_source_reason: str = ""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """The current revision of a catalogue entry: `entry` is its document (`gateway.catalogue.entry`), and
    `entry_json` the exact text of it."""

    name: str
    department: str
    revision: int
    entry: Mapping[str, Any]
    entry_json: str
    sharing_class: str
    retired: bool
    published_at: datetime
    position: int
    fields: Mapping[str, FieldEntry]

    @property
    def subject_scheme(self) -> str:
        """The identifier scheme of its subjects."""
        return str(self.entry["subject_scheme"])

    @property
    def subject_normalisers(self) -> tuple[str, ...]:
        """The names of the normalisers, in order."""
        return tuple(self.entry["subject_normalisers"])

    @property
    def modes(self) -> frozenset[str]:
        """The modes in which the provider serves it."""
        return frozenset(self.entry["modes"])

    @property
    def purposes(self) -> frozenset[str]:
        """The purposes it may serve; none means any that a contract agrees."""
        return frozenset(self.entry["purposes"])

    @property
    def grade(self) -> str:
        """The grade of the data in the department's own classification (分类分级)."""
        return str(self.entry["grade"])


# What a row means never changes, so a row that was read before is not parsed again.
@lru_cache(maxsize=1024)
def _read(row: Any) -> DatasetRow:
    entry = json.loads(row.entry)
    return DatasetRow(
        name=row.name,
        department=row.department,
        revision=row.revision,
        entry=entry,
        entry_json=row.entry,
        sharing_class=row.sharing_class,
        retired=bool(row.retired),
        published_at=from_ms(row.published_at),
        position=row.position,
        fields={
            each["name"]: FieldEntry(**{**each, "transforms": tuple(each["transforms"])})
            for each in entry["fields"]
        },
    )


_NAMED: Final = Prepared(lambda named: sa.select(schema.datasets).where(named), [schema.datasets.c.name])


def datasets(conn: sa.Connection, names: Collection[str]) -> dict[str, DatasetRow]:
    """Returns the entries of these names that exist, retired ones included, by name."""
    wanted, found = sorted(set(names)), {}
    for row in _NAMED.rows(conn, wanted):
        found[row.name] = _read(row)
    return found


def get_dataset(conn: sa.Connection, name: str) -> DatasetRow | None:
    """Returns one entry, or None."""
    return datasets(conn, (name,)).get(name)


def page_of_datasets(
    conn: sa.Connection, *, department: str, show_retired: bool, after: str, limit: int
) -> list[DatasetRow]:
    """Returns entries by name.

    Args:
        conn: a read snapshot.
        department: `departments/{department}`, or empty for all.
        show_retired: whether retired entries count.
        after: the last name of the page before; empty for the first page.
        limit: at most so many.
    """
    query = (
        sa.select(schema.datasets)
        .where(schema.datasets.c.name > after)
        .order_by(schema.datasets.c.name)
        .limit(limit)
    )
    if department:
        query = query.where(schema.datasets.c.department == department)
    if not show_retired:
        query = query.where(schema.datasets.c.retired.is_(False))
    return [_read(row) for row in conn.execute(query)]


def normalisers_of_scheme(conn: sa.Connection, scheme: str) -> set[tuple[str, ...]]:
    """Returns the different chains of normalisers that datasets over an identifier scheme use."""
    query = sa.select(schema.datasets.c.entry).where(schema.datasets.c.subject_scheme == scheme)
    return {tuple(json.loads(entry)["subject_normalisers"]) for entry in conn.execute(query).scalars()}


def count_by_department(conn: sa.Connection) -> dict[str, int]:
    """Returns how many datasets each department that ever published one offers now."""
    offered = sa.func.sum(sa.case((schema.datasets.c.retired.is_(False), 1), else_=0))
    query = sa.select(schema.datasets.c.department, offered).group_by(schema.datasets.c.department)
    return {department: int(count) for department, count in conn.execute(query)}


def write_revision(
    conn: sa.Connection, *, name: str, document: str, digest: str, publisher: str, at: datetime, position: int
) -> int:
    """Makes `document` the current revision of an entry and returns its number.

    Args:
        conn: the connection of the transaction that records it.
        name: `departments/{department}/datasets/{dataset}`.
        document: the entry's canonical JSON.
        digest: SHA-256 of `document`, hex.
        publisher: the SPIFFE URI of who published it.
        at: when.
        position: the ledger position of the record.
    """
    current = conn.execute(
        sa.select(schema.datasets.c.revision).where(schema.datasets.c.name == name)
    ).scalar()
    revision = (current or 0) + 1
    entry = json.loads(document)
    values = {
        "department": name.partition("/datasets/")[0],
        "revision": revision,
        "entry": document,
        "sharing_class": entry["sharing_class"],
        "subject_scheme": entry["subject_scheme"],
        "retired": False,
        "published_at": to_ms(at),
        "position": position,
    }
    if current is None:
        conn.execute(schema.datasets.insert().values(name=name, **values))
    else:
        conn.execute(schema.datasets.update().where(schema.datasets.c.name == name).values(**values))
    conn.execute(
        schema.dataset_revisions.insert().values(
            name=name,
            revision=revision,
            entry=document,
            digest=digest,
            publisher=publisher,
            published_at=to_ms(at),
            position=position,
        )
    )
    return revision


def mark_retired(conn: sa.Connection, name: str, *, position: int) -> None:
    """Takes an entry out of the catalogue; its revisions stay."""
    change = {"retired": True, "position": position}
    conn.execute(schema.datasets.update().where(schema.datasets.c.name == name).values(**change))
