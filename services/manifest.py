"""What a department offers: the datasets of its manifest, as values that everything else in the node obeys.

`services.manifest_file` reads them from `department.toml`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from isthmus.tracing import TracingSettings
from isthmus.transforms import Transform, TransformKind
from isthmus.v1 import catalog_service_pb2
from isthmus.v1.common_pb2 import (
    FIELD_TYPE_DATE,
    FIELD_TYPE_DECIMAL,
    FIELD_TYPE_DOUBLE,
    FIELD_TYPE_INT64,
    FIELD_TYPE_STRING,
    FIELD_TYPE_TIMESTAMP,
    SHARING_CLASS_REFUSED,
    FieldType,
    Mode,
    Sensitivity,
    SharingClass,
)
from services.tables import Problem

_NUMERIC = frozenset({FIELD_TYPE_INT64, FIELD_TYPE_DOUBLE, FIELD_TYPE_DECIMAL})
_CALENDAR = frozenset({FIELD_TYPE_DATE, FIELD_TYPE_TIMESTAMP})


class ManifestError(ValueError):
    """A manifest cannot be used. `problems` holds everything that is wrong; the message, one line each."""

    def __init__(self, file: str | Path, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.problems = problems


def type_name(kind: FieldType.ValueType) -> str:
    """A field type as a manifest writes it, for example `int64`."""
    return FieldType.Name(kind).removeprefix("FIELD_TYPE_").lower()


def transform_fits(transform: Transform, kind: FieldType.ValueType) -> bool:
    """Whether a transform can be applied to values of a type: buckets of width N need numbers, others dates."""
    if transform.kind is not TransformKind.BUCKET:
        return True
    return kind in (_NUMERIC if transform.argument.isdigit() else _CALENDAR)


def released_type(transform: Transform, kind: FieldType.ValueType) -> FieldType.ValueType:
    """The type of a field's values after a transform: masks and hashes are text, the rest keeps its type."""
    if transform.kind in (TransformKind.MASK, TransformKind.HASH):
        return FIELD_TYPE_STRING
    return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a dataset, and the column it comes from."""

    name: str
    column: str
    type: FieldType.ValueType
    title: str = ""
    sensitivity: Sensitivity.ValueType = Sensitivity.SENSITIVITY_UNSPECIFIED
    transforms: tuple[str, ...] = ()
    element: str = ""
    source: bool = False
    second_source_reason: str = ""

    def proto(self) -> catalog_service_pb2.DatasetField:
        """The field as the catalogue publishes it; the column stays at home."""
        return catalog_service_pb2.DatasetField(
            name=self.name,
            title=self.title,
            type=self.type,
            sensitivity=self.sensitivity,
            transforms=self.transforms,
            element=self.element,
            source=self.source,
            second_source_reason=self.second_source_reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectColumn:
    """How a dataset names its subjects.

    Args:
        column: the column that holds the identifier.
        scheme: the identifier scheme, for example `us.ope`.
        normalisers: turn an identifier into its canonical form (`isthmus.subjects.normaliser`).
        stored: templates from the canonical form to what the column holds, `{}` standing for the identifier.
    """

    column: str
    scheme: str
    normalisers: tuple[str, ...] = ()
    stored: tuple[str, ...] = ("{}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """One dataset of the manifest. `name` is `departments/{department}/datasets/{dataset}`."""

    id: str
    name: str
    title: str
    table: str
    subject: SubjectColumn
    fields: tuple[Field, ...]
    sharing_class: SharingClass.ValueType
    modes: tuple[Mode.ValueType, ...]
    description: str = ""
    schema: str = ""
    legal_citation: str = ""
    refusal_reason: str = ""
    conditions: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    update_frequency: str = ""
    format: str = ""
    grade: str = ""

    @property
    def refused(self) -> bool:
        """Whether the sharing class forbids sharing it at all."""
        return self.sharing_class == SHARING_CLASS_REFUSED

    def proto(self) -> catalog_service_pb2.Dataset:
        """The entry as the catalogue publishes it; table and columns stay at home."""
        return catalog_service_pb2.Dataset(
            name=self.name,
            title=self.title,
            description=self.description,
            fields=[each.proto() for each in self.fields],
            subject_scheme=self.subject.scheme,
            subject_normalisers=self.subject.normalisers,
            sharing_class=self.sharing_class,
            legal_citation=self.legal_citation,
            refusal_reason=self.refusal_reason,
            conditions=self.conditions,
            purposes=self.purposes,
            update_frequency=self.update_frequency,
            format=self.format,
            modes=self.modes,
            grade=self.grade,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the node listens and as whom. Paths are absolute or relative to the working directory.

    Each stream keeps one of the `threads`, so `max_streams` must leave some for the rest.
    """

    trust_domain: str
    address: str
    certificate: Path
    key: Path
    ca: Path
    metrics: str = ""
    threads: int = 32
    max_streams: int = 4
    hash_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """The department's database and the limits on what one answer takes from it.

    Args:
        url: an SQLAlchemy URL; it may hold a password, so it never appears in `repr` or in an error.
        schema: the schema of tables that name none; empty for the database's default.
        timezone: the IANA zone of stored times that name none.
        statement_timeout_seconds: how long one statement may run, where the engine can be told.
    """

    url: str = field(repr=False)
    schema: str = ""
    timezone: str = "UTC"
    statement_timeout_seconds: int = 10
    max_rows_per_subject: int = 1_000
    max_rows_per_answer: int = 50_000
    max_answer_bytes: int = 3 * 1024 * 1024
    pool_size: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A department's whole manifest."""

    path: Path
    department: str
    title: str
    source: SourceSettings
    journal_url: str = field(repr=False)
    datasets: tuple[DatasetEntry, ...]
    server: ServerSettings | None = None
    tracing: TracingSettings = field(default_factory=TracingSettings)

    def datasets_proto(self) -> list[catalog_service_pb2.Dataset]:
        """The datasets as the catalogue publishes them, in the order of the file."""
        return [each.proto() for each in self.datasets]
