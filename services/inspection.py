"""Holding a manifest against the live database: every mismatch is named, and no stored value is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from isthmus.v1.common_pb2 import SHARING_CLASS_CONDITIONAL
from services.engine import make_engine, start_clock
from services.manifest import DatasetEntry, Field, Manifest, type_name
from services.reflection import missing_columns, missing_table, reflect_table
from services.source import SourceUnavailable, guarded
from services.stored import StoredForms
from services.tables import Problem, quoted
from services.values import UnfitValue, reader

SAMPLE: Final = 500


class Level(StrEnum):
    """How bad a finding is: an error keeps the dataset from being served, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One mismatch."""

    level: Level
    problem: Problem


def inspect_manifest(manifest: Manifest) -> list[Finding]:
    """Compares a manifest with its database.

    Looks at no more than `SAMPLE` rows of each column.

    Raises:
        SourceUnavailable: the database cannot be reached.
        ValueError: its driver is not installed.
    """
    engine = make_engine(manifest.source)
    try:
        with guarded(), engine.connect() as connection:
            inspection = _Inspection(connection, manifest)
            found = [finding for dataset in manifest.datasets for finding in inspection.dataset(dataset)]
            return [*found, *_second_sources(manifest)]
    finally:
        engine.dispose()


class _Inspection:
    def __init__(self, connection: sa.Connection, manifest: Manifest) -> None:
        self._connection = connection
        self._schema = manifest.source.schema
        self._zone = ZoneInfo(manifest.source.timezone)

    def dataset(self, dataset: DatasetEntry) -> Iterator[Finding]:
        start_clock(self._connection)
        table = reflect_table(self._connection, dataset.table, dataset.schema or self._schema)
        if table is None:
            yield Finding(Level.ERROR, missing_table(self._connection, dataset, self._schema))
            return
        for problem in missing_columns(dataset, table):
            yield Finding(Level.ERROR, problem)
        for field in dataset.fields:
            if field.column in table.columns:
                yield from self._field(dataset, field, table)
        if dataset.subject.column in table.columns:
            yield from self._subject(dataset, table)
        if dataset.sharing_class == SHARING_CLASS_CONDITIONAL and not dataset.conditions:
            what = "is empty for a conditional dataset"
            remedy = "list the conditions: a refusal may cite only these"
            yield _warning(f"dataset {quoted(dataset.id)}, key conditions", what, remedy)

    def _sample(self, column: sa.Column[Any]) -> Sequence[Any]:
        start_clock(self._connection)
        query = sa.select(column).where(column.is_not(None)).limit(SAMPLE)
        return self._connection.execute(query).scalars().all()

    def _field(self, dataset: DatasetEntry, field: Field, table: sa.Table) -> Iterator[Finding]:
        read = reader(field.type, self._zone)
        sample = self._sample(table.columns[field.column])
        unfit = 0
        for value in sample:
            try:
                read(value)
            except UnfitValue:
                unfit += 1
        if unfit:
            yield Finding(
                Level.ERROR,
                Problem(
                    f"dataset {quoted(dataset.id)}, field {quoted(field.name)}, key type",
                    f"{unfit} of {len(sample)} sampled values are no {type_name(field.type)}",
                    'declare another type, such as "string", or correct the values',
                ),
            )

    def _subject(self, dataset: DatasetEntry, table: sa.Table) -> Iterator[Finding]:
        place = f"dataset {quoted(dataset.id)}, subject"
        if not self._is_indexed(table, dataset.subject.column):
            what = f"the column {quoted(dataset.subject.column)} has no index"
            yield _warning(f"{place}, key column", what, "make one, or every lookup reads the whole table")
        forms = StoredForms(dataset.subject, table.columns[dataset.subject.column].type)
        keys = set(self._sample(table.columns[dataset.subject.column]))
        named = [(key, canonical) for key in keys if (canonical := forms.canonical(key)) is not None]
        lost = [key for key, canonical in named if key not in forms.candidates([canonical])]
        if keys and not named:
            what = "none of the sampled values is an identifier"
            yield Finding(
                Level.ERROR, Problem(f"{place}, key column", what, "name the column that holds them")
            )
        if lost:
            level = Level.ERROR if len(lost) == len(named) else Level.WARNING
            what = f"no template leads back to {len(lost)} of {len(named)} sampled identifiers"
            remedy = "add how they are stored, for example '\"{}\"', or correct the list normalise"
            yield Finding(level, Problem(f"{place}, key stored", what, remedy))

    def _is_indexed(self, table: sa.Table, column: str) -> bool:
        inspector = sa.inspect(self._connection)
        if table.name in inspector.get_view_names(table.schema):
            # Whether a view is quick depends on the tables behind it, which the database does not tell.
            return True
        leading = [first.name for index in table.indexes for first in list(index.columns)[:1]]
        key = list(table.primary_key.columns)
        uniques = inspector.get_unique_constraints(table.name, table.schema)
        leading += [each["column_names"][0] for each in uniques if each["column_names"]]
        return column in leading or bool(key and key[0].name == column)


def _second_sources(manifest: Manifest) -> Iterator[Finding]:
    """Two datasets that both claim to be the first source of an element: the catalogue would refuse one of them."""
    first: dict[str, DatasetEntry] = {}
    for dataset in manifest.datasets:
        for field in dataset.fields:
            if not field.source or field.second_source_reason:
                continue
            present = first.setdefault(field.element, dataset)
            if present is not dataset:
                place = f"dataset {quoted(dataset.id)}, field {quoted(field.name)}, key source"
                what = f"{quoted(present.id)} is the source of the element {quoted(field.element)} already (数源)"
                remedy = "leave source out, or say why there are two in second_source_reason"
                yield Finding(Level.ERROR, Problem(place, what, remedy))


def _warning(place: str, what: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, Problem(place, what, remedy))


__all__ = ["Finding", "Level", "SourceUnavailable", "inspect_manifest"]
