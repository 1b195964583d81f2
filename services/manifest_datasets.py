"""Reading the datasets of a manifest: their subjects, fields and transforms."""

from collections.abc import Mapping
from typing import Any, Final

from isthmus.names import SLUG
from isthmus.subjects import normaliser
from isthmus.transforms import Transform
from isthmus.v1.common_pb2 import FieldType, Mode, Sensitivity, SharingClass
from services.manifest import DatasetEntry, Field, SubjectColumn, transform_fits, type_name
from services.stored import check_template
from services.tables import Problem, Table, quoted

MAX_FIELDS: Final = 512
SLUG_FORM: Final = "1 to 63 of a-z, 0-9 and '-', with no '-' at either end"

_SCHEME: Final = r"[a-z0-9]+([.-][a-z0-9]+)*"


def _names(enum: Any, prefix: str) -> list[str]:
    return [name.removeprefix(prefix).lower() for name, number in enum.items() if number]


def _value(enum: Any, prefix: str, name: str) -> Any:
    return enum.Value(prefix + name.upper())


TYPES: Final = tuple(_names(FieldType, "FIELD_TYPE_"))


def read_dataset(
    content: Mapping[str, Any], position: int, *, department: str, problems: list[Problem]
) -> DatasetEntry:
    """One dataset.

    Args:
        content: the table `[[dataset]]`.
        position: counted from 1, to name a dataset that has no id.
        department: the department's name.
        problems: receives everything that is wrong.
    """
    table = Table(content, f"dataset {quoted(content.get('id', f'no. {position}'))}", problems)
    identifier = table.text("id", max_length=63, pattern=SLUG, form=SLUG_FORM)
    entry = DatasetEntry(
        id=identifier,
        name=f"departments/{department}/datasets/{identifier}",
        title=table.text("title"),
        description=table.text("description", default="", max_length=4096),
        table=table.text("table", max_length=128),
        schema=table.text("schema", default="", max_length=128),
        subject=_subject(table),
        fields=_fields(table),
        sharing_class=_value(
            SharingClass,
            "SHARING_CLASS_",
            table.choice("sharing_class", _names(SharingClass, "SHARING_CLASS_")),
        ),
        legal_citation=table.text("legal_citation", default="", max_length=1024),
        refusal_reason=table.text("refusal_reason", default="", max_length=1024),
        conditions=table.texts("conditions"),
        purposes=table.texts("purposes", max_length=256),
        update_frequency=table.text("update_frequency", default="", max_length=64),
        format=table.text("format", default="relational", max_length=64),
        grade=table.text("grade", default="", max_length=64),
        modes=tuple(
            _value(Mode, "MODE_", name)
            for name in table.choices("modes", _names(Mode, "MODE_"), default=("query", "verify", "batch"))
        ),
    )
    if entry.refused and not entry.legal_citation.strip():
        # State Council decree 809, article 14.
        table.problem("legal_citation", "is missing for a refused dataset", "cite the law behind the refusal")
    if entry.refusal_reason and not entry.refused:
        table.problem("refusal_reason", "is for a refused dataset", "leave it out: this one is shared")
    table.finish()
    return entry


def _subject(dataset: Table) -> SubjectColumn:
    table = dataset.table("subject", f"{dataset.place}, subject")
    normalisers = table.texts("normalise", max_items=8, max_length=32)
    usable = True
    for name in normalisers:
        try:
            normaliser(name)
        except ValueError as error:
            usable = False
            table.problem("normalise", str(error).split(";")[0], str(error).split("; ")[-1])
    stored = table.texts("stored", default=("{}",), max_items=8, max_length=128)
    for template in stored if usable else ():
        if wrong := check_template(template, normalisers):
            table.problem("stored", f"{quoted(template)} {wrong}", "correct it, or the list normalise")
    if not stored:
        table.problem("stored", "is empty", 'write ["{}"] when the column holds the canonical form')
    subject = SubjectColumn(
        column=table.text("column", max_length=128),
        scheme=table.text(
            "scheme", max_length=64, pattern=_SCHEME, form="words of a-z and 0-9 joined by '.'"
        ),
        normalisers=normalisers,
        stored=tuple(dict.fromkeys(stored)),
    )
    table.finish()
    return subject


def _fields(dataset: Table) -> tuple[Field, ...]:
    contents = dataset.tables("field", max_items=MAX_FIELDS)
    if not contents:
        dataset.problem("field", "there is none", "describe at least one field under [[dataset.field]]")
    fields = tuple(_field(dataset, content, position) for position, content in enumerate(contents, 1))
    seen: set[str] = set()
    for each in fields:
        if each.name in seen:
            dataset.problem("field", f"{quoted(each.name)} is described twice", "give each its own name")
        seen.add(each.name)
    _require_one_source_field(dataset, fields)
    return fields


def _require_one_source_field(dataset: Table, fields: tuple[Field, ...]) -> None:
    sources: dict[str, str] = {}
    for each in fields:
        if each.source and each.element:
            first = sources.setdefault(each.element, each.name)
            if first != each.name:
                what = (
                    f"{quoted(first)} and {quoted(each.name)} are both the source of {quoted(each.element)}"
                )
                dataset.problem(
                    "field", what, "an element has one source (数源): write source = true for one"
                )


def _field(dataset: Table, content: Mapping[str, Any], position: int) -> Field:
    place = f"{dataset.place}, field {quoted(content.get('name', f'no. {position}'))}"
    table = Table(content, place, dataset.problems)
    name = table.text("name", max_length=128)
    kind = _value(FieldType, "FIELD_TYPE_", table.choice("type", TYPES))
    sensitivity = table.choice("sensitivity", _names(Sensitivity, "SENSITIVITY_"), default="sensitive")
    entry = Field(
        name=name,
        column=table.text("column", default=name, max_length=128) or name,
        title=table.text("title", default=""),
        type=kind,
        sensitivity=_value(Sensitivity, "SENSITIVITY_", sensitivity),
        transforms=table.texts("transforms", max_items=16, max_length=32),
        element=table.text("element", default="", max_length=128),
        source=table.flag("source"),
        second_source_reason=table.text("second_source_reason", default="", max_length=1024),
    )
    _check_source(table, entry)
    for text in entry.transforms:
        _check_transform(table, text, entry)
    table.finish()
    return entry


def _check_source(table: Table, entry: Field) -> None:
    if entry.source and not entry.element.strip():
        table.problem("source", "needs the data element that it is the source of", 'write element = "…" too')
    if entry.second_source_reason and not entry.source:
        table.problem(
            "second_source_reason", "belongs to a source (数源)", "write source = true too, or leave it out"
        )


def _check_transform(table: Table, text: str, entry: Field) -> None:
    try:
        transform = Transform.parse(text)
    except ValueError as error:
        table.problem("transforms", f"{quoted(text)} is no transform", str(error))
        return
    if not transform_fits(transform, entry.type):
        table.problem(
            "transforms",
            f"{quoted(text)} cannot be applied to {type_name(entry.type)}",
            "bucket:N is for numbers, bucket:year and bucket:month for dates and timestamps",
        )
