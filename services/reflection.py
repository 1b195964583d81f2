"""The tables and columns that a manifest names, as the database itself describes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.manifest import DatasetEntry, ManifestError
from services.stored import StoredForms
from services.tables import Problem, nearest, quoted


@dataclass(frozen=True, slots=True)
class ReflectedDataset:
    """A dataset's table or view, and the stored forms of its subjects."""

    table: sa.Table
    forms: StoredForms

    def column(self, name: str) -> sa.Column[Any]:
        """The reflected column. Raises KeyError for a name that the table does not have."""
        return self.table.columns[name]


def reflect(
    connection: sa.Connection, datasets: Iterable[DatasetEntry], schema: str
) -> dict[str, ReflectedDataset]:
    """Reflects every dataset's table.

    Raises:
        ManifestError: names every table and column that does not exist.
    """
    problems: list[Problem] = []
    tables: dict[str, ReflectedDataset] = {}
    for dataset in datasets:
        table = reflect_table(connection, dataset.table, dataset.schema or schema)
        if table is None:
            problems.append(missing_table(connection, dataset, schema))
            continue
        missing = missing_columns(dataset, table)
        problems.extend(missing)
        if not missing:
            kind = table.columns[dataset.subject.column].type
            tables[dataset.id] = ReflectedDataset(table, StoredForms(dataset.subject, kind))
    if problems:
        raise ManifestError("the manifest and the database differ", tuple(problems))
    return tables


def reflect_table(connection: sa.Connection, name: str, schema: str) -> sa.Table | None:
    """The table or view of that exact name, or None."""
    try:
        return sa.Table(
            name, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False
        )
    except sa.exc.NoSuchTableError:
        return None


def table_names(connection: sa.Connection, schema: str) -> list[str]:
    """The names of all tables and views, sorted."""
    inspector = sa.inspect(connection)
    return sorted({*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)})


def missing_table(connection: sa.Connection, dataset: DatasetEntry, schema: str) -> Problem:
    """The problem that a dataset's table does not exist."""
    known = table_names(connection, dataset.schema or schema)
    place = f"dataset {quoted(dataset.id)}, key table"
    return Problem(place, f"there is no table or view {quoted(dataset.table)}", nearest(dataset.table, known))


def missing_columns(dataset: DatasetEntry, table: sa.Table) -> Sequence[Problem]:
    """A problem for each column that the manifest names and the table does not have."""
    known = list(table.columns.keys())
    wanted = [(f"dataset {quoted(dataset.id)}, subject, key column", dataset.subject.column)]
    wanted += [
        (f"dataset {quoted(dataset.id)}, field {quoted(each.name)}, key column", each.column)
        for each in dataset.fields
    ]
    return [
        Problem(
            place, f"the table {quoted(dataset.table)} has no column {quoted(name)}", nearest(name, known)
        )
        for place, name in wanted
        if name not in table.columns
    ]
