"""Reading the items of a grant: form and bounds, with the exact place of what is wrong."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from isthmus.errors import IsthmusError
from isthmus.names import ContractName, DatasetName, DepartmentName, ExchangeName, SystemName
from isthmus.terms import json_to_predicate
from isthmus.transforms import Transform
from isthmus.v1.common_pb2 import MODE_BATCH, MODE_QUERY, MODE_STREAM, MODE_VERIFY, Mode, Predicate
from services.grant_subjects import MAX_SUBJECTS, GrantedSubjects, read_subjects
from services.members import GrantFormError, Members

MAX_ITEMS: Final = 1_024
MAX_FIELDS: Final = 512
MAX_FILTERS: Final = 16
MAX_VALUES: Final = 100
MAX_RESUME: Final = 1_024
"""Characters of a resume token, as in exchange_service.proto."""

_MAX_REMEMBERED: Final = 4_096

_MODES: Final[Mapping[str, Mode.ValueType]] = {
    "QUERY": MODE_QUERY,
    "VERIFY": MODE_VERIFY,
    "BATCH": MODE_BATCH,
}
_STREAM_MODES: Final[Mapping[str, Mode.ValueType]] = {"STREAM": MODE_STREAM}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RESUME: Final = re.compile(r"[A-Za-z0-9_-]+")
_ITEM: Final = frozenset(
    [
        "exchange",
        "mode",
        "consumer",
        "system",
        "contract",
        "terms_digest",
        "dataset",
        "purpose",
        "fields",
        "row_filters",
        "subjects",
        "predicate",
    ]
)
_STREAM_ITEM: Final = _ITEM | {"filters", "encoding", "resume"}


class Encoding(StrEnum):
    """How a stream's rows are written."""

    ROWS = "ROWS"
    ARROW = "ARROW"


_ENCODINGS: Final[Mapping[str, Encoding]] = {each.value: each for each in Encoding}


@dataclass(frozen=True, slots=True)
class GrantedField:
    """A field and the transform under which it may leave."""

    name: str
    transform: Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantItem:
    """One exchange that the gateway has admitted.

    `filters` (the caller's, besides the contract's `row_filters`), `encoding` and `resume` belong to a stream.
    """

    exchange: str
    mode: Mode.ValueType
    consumer: str
    system: str
    contract: ContractName
    terms_digest: str
    dataset: DatasetName
    purpose: str
    fields: tuple[GrantedField, ...]
    row_filters: tuple[Predicate, ...]
    subjects: GrantedSubjects
    predicate: Predicate | None
    filters: tuple[Predicate, ...] = ()
    encoding: Encoding = Encoding.ROWS
    resume: str = ""


def read_items(grant: Members) -> tuple[GrantItem, ...]:
    """The items of a grant for Fetch, each exchange once.

    Raises:
        GrantFormError: names the member that is missing, malformed or out of bounds.
    """
    contents = grant.list("items", 1, MAX_ITEMS)
    items = tuple(
        _item(content, f"items[{position}]", modes=_MODES) for position, content in enumerate(contents)
    )
    if len({item.exchange for item in items}) != len(items):
        raise GrantFormError("items names an exchange twice")
    if sum(len(item.subjects.ids) for item in items) > MAX_SUBJECTS:
        raise GrantFormError(f"items name more than {MAX_SUBJECTS} subjects together")
    return items


def read_stream(grant: Members) -> tuple[GrantItem, ...]:
    """The one item of a grant for StreamRows.

    Raises:
        GrantFormError: names the member that is missing, malformed or out of bounds.
    """
    return (_item(grant.list("items", 1, 1)[0], "items[0]", modes=_STREAM_MODES),)


def _item(content: object, place: str, *, modes: Mapping[str, Mode.ValueType]) -> GrantItem:
    members = Members(content, place, allowed=_ITEM if modes is _MODES else _STREAM_ITEM)
    mode = modes.get(members.text("mode", 16))
    if mode is None:
        other = "StreamRows serves STREAM" if modes is _MODES else "Fetch serves the others"
        raise GrantFormError(f"{members.at('mode')} must be {' or '.join(modes)}; {other}")
    try:
        item = GrantItem(
            exchange=str(ExchangeName.parse(members.text("exchange", 64), field=members.at("exchange"))),
            mode=mode,
            consumer=str(DepartmentName.parse(members.text("consumer", 128), field=members.at("consumer"))),
            system=str(SystemName.parse(members.text("system", 192), field=members.at("system"))),
            contract=ContractName.parse(
                members.text("contract", 128), field=members.at("contract"), versioned=True
            ),
            terms_digest=members.text("terms_digest", 64, _DIGEST),
            dataset=DatasetName.parse(members.text("dataset", 192), field=members.at("dataset")),
            purpose=members.text("purpose", 256),
            fields=_fields(members, mode),
            row_filters=_filters(members, "row_filters"),
            subjects=read_subjects(members, mode),
            predicate=_predicate(members, mode),
            **(_stream(members) if mode == MODE_STREAM else {}),
        )
    except IsthmusError as error:
        raise GrantFormError(error.message) from None
    if not item.system.startswith(item.consumer + "/"):
        raise GrantFormError(f"{members.at('system')} does not belong to {members.at('consumer')}")
    return item


def _stream(members: Members) -> dict[str, Any]:
    encoding = _ENCODINGS.get(members.text("encoding", 16))
    if encoding is None:
        raise GrantFormError(f"{members.at('encoding')} must be {' or '.join(_ENCODINGS)}")
    # An empty token is how a stream begins; text() wants at least one character.
    resume = members.text("resume", MAX_RESUME, _RESUME) if members.get("resume") != "" else ""
    return {
        "filters": _filters(members, "filters"),
        "encoding": encoding,
        "resume": resume,
    }


@lru_cache(maxsize=_MAX_REMEMBERED)
def _granted_field(name: str, notation: str) -> GrantedField:
    # The same few fields come with every exchange of a contract.
    return GrantedField(name, Transform.parse(notation))


def _fields(members: Members, mode: Mode.ValueType) -> tuple[GrantedField, ...]:
    fields = []
    for position, content in enumerate(members.list("fields", int(mode != MODE_VERIFY), MAX_FIELDS)):
        each = Members(content, f"{members.at('fields')}[{position}]", allowed={"name", "transform"})
        notation = each.text("transform", 32)
        try:
            fields.append(_granted_field(each.text("name", 128), notation))
        except GrantFormError:
            raise
        except ValueError as error:
            raise GrantFormError(f"{each.at('transform')}: {error}") from None
    if len({each.name for each in fields}) != len(fields):
        raise GrantFormError(f"{members.at('fields')} names a field twice")
    return tuple(fields)


def _filters(members: Members, name: str) -> tuple[Predicate, ...]:
    contents = members.list(name, 0, MAX_FILTERS)
    place = members.at(name)
    return tuple(_bounded(content, f"{place}[{position}]") for position, content in enumerate(contents))


def _predicate(members: Members, mode: Mode.ValueType) -> Predicate | None:
    content = members.get("predicate")
    if (content is not None) != (mode == MODE_VERIFY):
        raise GrantFormError(f"{members.at('predicate')} must be there for VERIFY and for no other mode")
    return None if content is None else _bounded(content, members.at("predicate"))


def _bounded(content: object, place: str) -> Predicate:
    Members(content, place, allowed={"field", "operator", "values"}).list("values", 1, MAX_VALUES)
    try:
        return json_to_predicate(content, field=place)
    except IsthmusError:
        # The reader's own words may come from the value; the place is enough.
        raise GrantFormError(f"{place} is no predicate") from None
