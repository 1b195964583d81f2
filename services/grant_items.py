"""Reading the items of a grant: form and bounds, with the exact place of what is wrong."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from isthmus.errors import IsthmusError
from isthmus.names import ContractName, DatasetName, DepartmentName, ExchangeName, SystemName
from isthmus.terms import json_to_predicate, parse_rfc3339
from isthmus.transforms import Transform
from isthmus.v1.common_pb2 import MODE_BATCH, MODE_QUERY, MODE_VERIFY, Mode, Predicate

MAX_ITEMS: Final = 1_024
MAX_SUBJECTS: Final = 10_000
MAX_FIELDS: Final = 512
MAX_FILTERS: Final = 16
MAX_VALUES: Final = 100

_MAX_REMEMBERED: Final = 4_096

_MODES: Final = {"QUERY": MODE_QUERY, "VERIFY": MODE_VERIFY, "BATCH": MODE_BATCH}
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCHEME: Final = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_TOKEN: Final = re.compile(r"[0-9]{1,9}\.[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
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


class GrantFormError(ValueError):
    """A member of a grant is missing, malformed or out of bounds. The message names it and no value."""


@dataclass(frozen=True, slots=True)
class GrantedField:
    """A field and the transform under which it may leave."""

    name: str
    transform: Transform


@dataclass(frozen=True, slots=True)
class GrantedSubject:
    """A subject: its scheme, its canonical identifier, and the token that stands for it in records."""

    scheme: str
    id: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantItem:
    """One exchange that the gateway has admitted."""

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
    subjects: tuple[GrantedSubject, ...]
    predicate: Predicate | None


class Members:
    """The members of a JSON object, read with the place in every error."""

    def __init__(self, content: object, place: str, *, allowed: set[str] | frozenset[str]) -> None:
        if not isinstance(content, dict):
            raise GrantFormError(f"{place} must be an object")
        if content.keys() - allowed:
            raise GrantFormError(f"{place} may hold only {', '.join(sorted(allowed))}")
        self._content = content
        self.place = place

    def at(self, name: str) -> str:
        return f"{self.place}.{name}"

    def text(self, name: str, longest: int, pattern: re.Pattern[str] | None = None) -> str:
        value = self._content.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= longest:
            raise GrantFormError(f"{self.at(name)} must be text of 1 to {longest} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise GrantFormError(f"{self.at(name)} has the wrong form")
        return value

    def uuid(self, name: str) -> str:
        return self.text(name, 36, _UUID)

    def time(self, name: str) -> datetime:
        try:
            return parse_rfc3339(self.text(name, 40), field=self.at(name))
        except (IsthmusError, OverflowError):
            raise GrantFormError(f"{self.at(name)} must be an RFC 3339 time with an offset") from None

    def list(self, name: str, fewest: int, most: int) -> list[Any]:
        value = self._content.get(name, [])
        if not isinstance(value, list) or not fewest <= len(value) <= most:
            raise GrantFormError(f"{self.at(name)} must be a list of {fewest} to {most}")
        return value

    def get(self, name: str) -> Any:
        return self._content.get(name)


def read_items(grant: Members) -> tuple[GrantItem, ...]:
    """The items of a grant, each exchange once.

    Raises:
        GrantFormError: names the member that is missing, malformed or out of bounds.
    """
    contents = grant.list("items", 1, MAX_ITEMS)
    items = tuple(_item(content, f"items[{position}]") for position, content in enumerate(contents))
    if len({item.exchange for item in items}) != len(items):
        raise GrantFormError("items names an exchange twice")
    if sum(len(item.subjects) for item in items) > MAX_SUBJECTS:
        raise GrantFormError(f"items name more than {MAX_SUBJECTS} subjects together")
    return items


def _item(content: object, place: str) -> GrantItem:
    members = Members(content, place, allowed=_ITEM)
    mode = _MODES.get(members.text("mode", 16))
    if mode is None:
        raise GrantFormError(f"{members.at('mode')} must be QUERY, VERIFY or BATCH; StreamRows serves STREAM")
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
            row_filters=_filters(members),
            subjects=_subjects(members, mode),
            predicate=_predicate(members, mode),
        )
    except IsthmusError as error:
        raise GrantFormError(error.message) from None
    if not item.system.startswith(item.consumer + "/"):
        raise GrantFormError(f"{members.at('system')} does not belong to {members.at('consumer')}")
    return item


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


def _filters(members: Members) -> tuple[Predicate, ...]:
    contents = members.list("row_filters", 0, MAX_FILTERS)
    place = members.at("row_filters")
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


def _subjects(members: Members, mode: Mode.ValueType) -> tuple[GrantedSubject, ...]:
    most = MAX_SUBJECTS if mode == MODE_BATCH else 1
    subjects = []
    for position, content in enumerate(members.list("subjects", 1, most)):
        place = f"{members.at('subjects')}[{position}]"
        each = Members(content, place, allowed={"scheme", "id", "token"})
        subjects.append(
            GrantedSubject(
                each.text("scheme", 64, _SCHEME), each.text("id", 256), each.text("token", 64, _TOKEN)
            )
        )
    return tuple(subjects)
