"""What an admitted item needs from the database, and how its rows become an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache

from isthmus.names import DatasetName
from isthmus.transforms import TransformKind
from isthmus.v1.common_pb2 import Column, Predicate
from services.grant_items import GrantedField, GrantItem
from services.manifest import DatasetEntry, Field, released_type
from services.predicates import Holds, compile_predicate
from services.transforms import Release, pairwise_key, release
from services.veto import VetoRules

_MAX_SHAPES = 1024


@dataclass(frozen=True, slots=True)
class ReleasedField:
    """A field of the answer: where its value stands in a row (None when it is omitted), and what is released."""

    name: str
    index: int | None
    release: Release


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of an answer, the database's columns it reads, and how one becomes the other."""

    columns: tuple[Column, ...]
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

    `needed` are the database's columns, the shape's first; `question` is there for a Verify only.
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
        filters = tuple(self._condition(dataset, each, needed) for each in item.row_filters)
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
            released.append(ReleasedField(field.name, index, how))
            kind = released_type(granted.transform, field.type)
            columns.append(Column(name=field.name, type=kind, transform=str(granted.transform)))
        return Shape(tuple(columns), tuple(needed), tuple(released))


def _position(column: str, needed: list[str]) -> int:
    if column not in needed:
        needed.append(column)
    return needed.index(column)
