"""What an admitted item needs from the database, and how its rows become an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import Any

from isthmus.names import DatasetName
from isthmus.transforms import TransformKind
from isthmus.v1.common_pb2 import FIELD_TYPE_DECIMAL, FIELD_TYPE_STRING, Column, FieldType, Predicate, RowSet
from services.grant_items import GrantedField, GrantItem
from services.manifest import DatasetEntry, Field, released_type
from services.predicates import Holds, compile_predicate
from services.transforms import Release, pairwise_key, release
from services.values import stands_as_text
from services.veto import VetoRules
from services.wire import NULL, WRITERS

_MAX_SHAPES = 1024


@dataclass(frozen=True, slots=True)
class ReleasedField:
    """A field of the answer.

    Args:
        index: where its value stands in a row; None when it is omitted.
        kind: the type of what is released.
        release: from a stored value to what is released.
        cell: the same, written as an entry of `Row.values`.
        plain: whether the value leaves as it is stored, but for its type.
    """

    name: str
    index: int | None
    kind: FieldType.ValueType
    release: Release
    cell: Callable[[object], bytes]
    plain: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of an answer, the database's columns it reads, and how one becomes the other.

    `head` are the columns as they begin a serialised RowSet.
    """

    columns: tuple[Column, ...]
    head: bytes
    needed: tuple[str, ...]
    fields: tuple[ReleasedField, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A row filter or a predicate: which value of a row it reads, and whether it holds."""

    field: str
    index: int
    holds: Holds


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPlan:
    """An item that the manifest allows.

    `needed` are the database's columns, the shape's first; `filters` are the contract's and, of a stream, the
    caller's; `question` is there for a Verify only.
    """

    item: GrantItem
    dataset: DatasetEntry
    shape: Shape
    needed: tuple[str, ...]
    filters: tuple[Condition, ...]
    question: Condition | None


class Planner:
    """Plans items; remembers shapes, because many exchanges ask for the same fields.

    Args:
        rules: the manifest's veto.
        hash_key: the node's secret for hashes, or None.
        zone: the zone of stored times that name none.
    """

    def __init__(self, rules: VetoRules, *, hash_key: bytes | None, zone: tzinfo) -> None:
        self._rules = rules
        self._hash_key = hash_key
        self._zone = zone
        self._shape = lru_cache(maxsize=_MAX_SHAPES)(self._build_shape)

    def plan(self, item: GrantItem) -> ItemPlan:
        """What to do for an item. Raises Veto when it goes beyond the manifest."""
        allowed = self._rules.check(item)
        dataset = allowed.dataset
        # The key of a hash belongs to the contract; answers without hashes share a shape across contracts.
        hashed = any(each.transform.kind is TransformKind.HASH for each in item.fields)
        fields = () if item.predicate is not None else tuple(zip(item.fields, allowed.fields, strict=True))
        shape = self._shape(dataset.name, fields, str(item.contract.base) if hashed else "")
        needed = list(shape.needed)
        filters = tuple(self._condition(dataset, each, needed) for each in (*item.row_filters, *item.filters))
        question = None if item.predicate is None else self._condition(dataset, item.predicate, needed)
        return ItemPlan(
            item=item,
            dataset=dataset,
            shape=shape,
            needed=tuple(needed),
            filters=filters,
            question=question,
        )

    def knows(self, dataset: DatasetName) -> bool:
        """Whether the manifest has a dataset of this name."""
        return self._rules.knows(dataset)

    def _condition(self, dataset: DatasetEntry, predicate: Predicate, needed: list[str]) -> Condition:
        field = self._rules.known_field(dataset, predicate.field)
        holds = compile_predicate(predicate, field, zone=self._zone)
        return Condition(field.name, _position(field.column, needed), holds)

    def _build_shape(
        self, dataset: str, fields: Sequence[tuple[GrantedField, Field]], contract: str
    ) -> Shape:
        key = None
        if contract and self._hash_key is not None:
            key = pairwise_key(self._hash_key, contract=contract, dataset=dataset)
        needed: list[str] = []
        columns, released = [], []
        for granted, field in fields:
            omitted = granted.transform.kind is TransformKind.OMIT
            index = None if omitted else _position(field.column, needed)
            how = release(field, granted.transform, key=key, zone=self._zone)
            kind = released_type(granted.transform, field.type)
            plain = granted.transform.kind is TransformKind.PLAIN
            released.append(ReleasedField(field.name, index, kind, how, _cell(how, kind, plain), plain))
            columns.append(Column(name=field.name, type=kind, transform=str(granted.transform)))
        head = RowSet(columns=columns).SerializeToString(deterministic=True)
        return Shape(tuple(columns), head, tuple(needed), tuple(released))


def _cell(how: Release, kind: FieldType.ValueType, plain: bool) -> Callable[[Any], bytes]:
    write = WRITERS[kind]

    def cell(raw: Any) -> bytes:
        value = how(raw)
        return NULL if value is None else write(value)

    if not plain or kind not in (FIELD_TYPE_STRING, FIELD_TYPE_DECIMAL):
        return cell
    stands = stands_as_text(kind)
    return lambda raw: write(raw) if type(raw) is str and stands(raw) else cell(raw)


def _position(column: str, needed: list[str]) -> int:
    if column not in needed:
        needed.append(column)
    return needed.index(column)
