"""A catalogue entry as a canonical JSON document, as a message, and what it may say. Pure.

The contents are those of State Council decree 809 article 13. Which of them are required, the sharing class and the
rule pack in force say (`gateway.catalogue.forms`).
"""

from collections.abc import Iterator
from typing import Any, Final

from gateway.catalogue.forms import form_violations
from gateway.clocks.pack import Pack
from gateway.state.datasets import DatasetRow
from gateway.state.etags import etag_of
from isthmus.canonical import canonical_json
from isthmus.errors import FieldViolation, InvalidArgument
from isthmus.names import DatasetName
from isthmus.subjects import normaliser
from isthmus.terms import timestamp
from isthmus.transforms import Transform
from isthmus.v1.catalog_service_pb2 import Dataset, DatasetField
from isthmus.v1.common_pb2 import FieldType, Mode, Sensitivity, SharingClass

_MAX_TEXT: Final = 1024
_MAX_BYTES: Final = 256 * 1024


def entry_json(dataset: Dataset) -> str:
    """Returns the canonical JSON of an entry: what is stored and digested. Output-only fields are left out."""
    document: dict[str, Any] = {
        "name": dataset.name,
        "title": dataset.title,
        "description": dataset.description,
        "fields": [_field_document(field) for field in dataset.fields],
        "subject_scheme": dataset.subject_scheme,
        "subject_normalisers": list(dataset.subject_normalisers),
        "sharing_class": SharingClass.Name(dataset.sharing_class).removeprefix("SHARING_CLASS_"),
        "legal_citation": dataset.legal_citation,
        "conditions": list(dataset.conditions),
        "purposes": list(dataset.purposes),
        "update_frequency": dataset.update_frequency,
        "format": dataset.format,
        "modes": [Mode.Name(mode).removeprefix("MODE_") for mode in dataset.modes],
        "grade": dataset.grade,
    }
    # Left out when empty, so that an entry published before there was such a member keeps its text and digest.
    if dataset.refusal_reason:
        document["refusal_reason"] = dataset.refusal_reason
    return canonical_json(document).decode()


def _field_document(field: DatasetField) -> dict[str, Any]:
    # What nobody graded is handled as the most sensitive (the enum's own rule).
    sensitivity = field.sensitivity or Sensitivity.SENSITIVITY_SENSITIVE
    document: dict[str, Any] = {
        "name": field.name,
        "title": field.title,
        "type": FieldType.Name(field.type).removeprefix("FIELD_TYPE_"),
        "sensitivity": Sensitivity.Name(sensitivity).removeprefix("SENSITIVITY_"),
        "transforms": list(field.transforms),
        "element": field.element,
    }
    if field.source:
        document["source"] = True
    if field.second_source_reason:
        document["second_source_reason"] = field.second_source_reason
    return document


def dataset_of(row: DatasetRow) -> Dataset:
    """Returns the message of a stored entry."""
    texts = ("name", "title", "description", "subject_scheme", "legal_citation", "update_frequency", "format")
    return Dataset(
        **{name: row.entry[name] for name in texts},
        fields=[
            DatasetField(
                name=field.name,
                title=field.title,
                type=FieldType.Value(f"FIELD_TYPE_{field.type}"),
                sensitivity=Sensitivity.Value(f"SENSITIVITY_{field.sensitivity}"),
                transforms=field.transforms,
                element=field.element,
                source=field.source,
                second_source_reason=field.second_source_reason,
            )
            for field in row.fields.values()
        ],
        subject_normalisers=row.entry["subject_normalisers"],
        sharing_class=SharingClass.Value(f"SHARING_CLASS_{row.sharing_class}"),
        conditions=row.entry["conditions"],
        purposes=row.entry["purposes"],
        modes=[Mode.Value(f"MODE_{mode}") for mode in row.entry["modes"]],
        grade=row.entry["grade"],
        retired=row.retired,
        revision=row.revision,
        published_at=timestamp(row.published_at),
        position=row.position,
        etag=etag(row),
        refusal_reason=row.entry.get("refusal_reason", ""),
    )


def etag(row: DatasetRow) -> str:
    """Returns the etag of a stored entry."""
    return etag_of(row.name, row.revision, int(row.retired))


def require_publishable(dataset: Dataset, pack: Pack) -> None:
    """Returns when the entry may be published under a rule pack.

    Raises:
        InvalidArgument: it may not; every violation is named.
    """
    if found := list(_violations(dataset, pack)):
        raise InvalidArgument(found[0].field, found[0].description, others=found[1:])


def _violations(dataset: Dataset, pack: Pack) -> Iterator[FieldViolation]:
    yield from form_violations(dataset, pack)
    yield from _field_violations(dataset)
    for place, name in enumerate(dataset.subject_normalisers):
        try:
            normaliser(name)
        except ValueError as error:
            yield FieldViolation(f"dataset.subject_normalisers[{place}]", str(error))
    for member in ("conditions", "purposes", "modes"):
        texts = list(getattr(dataset, member))
        for place, text in enumerate(texts):
            path = f"dataset.{member}[{place}]"
            if not text or (isinstance(text, str) and (not text.strip() or len(text) > _MAX_TEXT)):
                yield FieldViolation(path, f"must be stated, in at most {_MAX_TEXT} characters")
            elif isinstance(text, int) and text not in Mode.values():
                yield FieldViolation(path, "must be one of the modes that Mode defines")
            elif text in texts[:place]:
                yield FieldViolation(path, "is there already")


def _field_violations(dataset: Dataset) -> Iterator[FieldViolation]:
    names = [field.name for field in dataset.fields]
    for place, field in enumerate(dataset.fields):
        path = f"dataset.fields[{place}]"
        if field.name in names[:place]:
            yield FieldViolation(f"{path}.name", "is the name of an earlier field")
        for index, notation in enumerate(field.transforms):
            try:
                Transform.parse(notation)
            except ValueError as error:
                yield FieldViolation(f"{path}.transforms[{index}]", str(error))
    yield from _source_violations(dataset)


def _source_violations(dataset: Dataset) -> Iterator[FieldViolation]:
    """A source is the source of a named element, once in an entry."""
    claimed = set[str]()
    for place, field in enumerate(dataset.fields):
        path = f"dataset.fields[{place}]"
        if field.source and not field.element.strip():
            yield FieldViolation(
                f"{path}.element", "must name the data element that the field is the source of"
            )
        elif field.source and field.element in claimed:
            yield FieldViolation(
                f"{path}.source", "an earlier field of the dataset is the source of this element"
            )
        if field.source:
            claimed.add(field.element)
        if field.second_source_reason and not field.source:
            yield FieldViolation(
                f"{path}.second_source_reason", "belongs to a source; set source, or leave it out"
            )
        elif field.second_source_reason and not field.second_source_reason.strip():
            yield FieldViolation(f"{path}.second_source_reason", "must say why, or be left out")


def publishable_json(dataset: Dataset, pack: Pack) -> tuple[DatasetName, str]:
    """Returns the name and the canonical JSON of an entry that may be published under a rule pack.

    Raises:
        InvalidArgument: it may not; every violation is named.
    """
    name = DatasetName.parse(dataset.name, field="dataset.name")
    require_publishable(dataset, pack)
    document = entry_json(dataset)
    if len(document.encode()) > _MAX_BYTES:
        raise InvalidArgument(
            "dataset", f"takes more than {_MAX_BYTES} bytes; shorten titles and descriptions"
        )
    return name, document
