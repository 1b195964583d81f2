"""The provider's own veto: whether an item of a grant stays within the manifest.

Whatever the gateway has admitted, the department releases only what its manifest offers, and in no milder form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from isthmus.names import DatasetName
from isthmus.transforms import Transform, TransformKind, allowed
from isthmus.v1.common_pb2 import Mode, Predicate
from services.grant_items import GrantedField, GrantItem
from services.manifest import DatasetEntry, Field, transform_fits, type_name
from services.predicates import PredicateError, compile_predicate
from services.stored import canonical_check
from services.tables import quoted

_MAX_REMEMBERED: Final = 4_096
_PLAIN: Final = Transform(TransformKind.PLAIN)


class Veto(Exception):
    """An item goes beyond the manifest. The message says where, and what the manifest would allow."""


@dataclass(frozen=True, slots=True)
class Manifested:
    """What the manifest says about an item: its dataset and, in the item's order, its fields."""

    dataset: DatasetEntry
    fields: tuple[Field, ...]


class VetoRules:
    """The manifest as rules.

    Args:
        datasets: the manifest's datasets.
        hashes: whether the node has a key to hash with.
    """

    def __init__(self, datasets: Sequence[DatasetEntry], *, hashes: bool) -> None:
        self._datasets: Mapping[str, DatasetEntry] = {each.name: each for each in datasets}
        self._fields = {each.name: {field.name: field for field in each.fields} for each in datasets}
        self._hashes = hashes
        # A pure question about manifest and transform, asked again with every exchange; vetoes are not remembered.
        self._allowed = lru_cache(maxsize=_MAX_REMEMBERED)(self._field)

    def check(self, item: GrantItem) -> Manifested:
        """Returns what an item asks for, in the manifest's terms.

        Raises:
            Veto: the dataset is not offered or is refused, a field does not exist, a transform is milder than
                the manifest demands or cannot be applied, the mode or the identifier scheme is not the
                dataset's, the purpose is not one of those it serves, a predicate does not suit its field, or a
                stream is filtered by a field that is not granted as plain.
        """
        dataset = self._datasets.get(str(item.dataset))
        if dataset is None or dataset.refused:
            why = "is not in the manifest" if dataset is None else "is classed as never shared (不予共享)"
            raise Veto(f"{item.dataset} {why}")
        self._check_use(item, dataset)
        fields = tuple(self._allowed(dataset.name, each) for each in item.fields)
        for row_filter in item.row_filters:
            self._check_predicate(dataset, row_filter)
        for asked in item.filters:
            self._check_filter(dataset, item, asked)
        if item.predicate:
            self._check_question(dataset, item.predicate)
        return Manifested(dataset, fields)

    def knows(self, dataset: DatasetName) -> bool:
        """Whether the manifest has a dataset of this name."""
        return str(dataset) in self._datasets

    def _check_use(self, item: GrantItem, dataset: DatasetEntry) -> None:
        if item.mode not in dataset.modes:
            offered = ", ".join(Mode.Name(mode).removeprefix("MODE_") for mode in dataset.modes)
            raise Veto(f"{item.dataset} is offered for {offered} only")
        if dataset.purposes and item.purpose not in dataset.purposes:
            raise Veto(f"{item.dataset} does not serve this purpose; the catalogue lists those it serves")
        if item.subjects.ids and item.subjects.scheme != dataset.subject.scheme:
            raise Veto(f"{item.dataset} knows its subjects by {dataset.subject.scheme}")
        canonical = canonical_check(dataset.subject.normalisers)
        if not all(map(canonical, item.subjects.ids)):
            raise Veto(
                f"a subject is not in the canonical form of {item.dataset}; "
                "publish the dataset again, so that the catalogue has this manifest's normalisers"
            )

    def known_field(self, dataset: DatasetEntry, name: str) -> Field:
        """The field of that name. Raises Veto."""
        field = self._fields[dataset.name].get(name)
        if field is None:
            raise Veto(f"{dataset.name} has no field {quoted(name)}")
        return field

    def _field(self, dataset: str, granted: GrantedField) -> Field:
        field = self.known_field(self._datasets[dataset], granted.name)
        if not allowed(str(granted.transform), field.transforms):
            mildest = " or ".join(field.transforms)
            raise Veto(f"the field {quoted(field.name)} may leave as {mildest}, not as {granted.transform}")
        if not transform_fits(granted.transform, field.type):
            raise Veto(
                f"{granted.transform} cannot be applied to {quoted(field.name)}, {type_name(field.type)}"
            )
        if granted.transform.kind is TransformKind.HASH and not self._hashes:
            raise Veto("this node has no hash_key to hash with")
        return field

    def _check_question(self, dataset: DatasetEntry, predicate: Predicate) -> None:
        field = self.known_field(dataset, predicate.field)
        # A yes or a no tells as much as the value does to somebody who asks often enough.
        if set(field.transforms) == {TransformKind.OMIT.value}:
            raise Veto(f"the field {quoted(field.name)} never leaves, not even as a yes or a no")
        self._check_predicate(dataset, predicate)

    def _check_filter(self, dataset: DatasetEntry, item: GrantItem, predicate: Predicate) -> None:
        plain = any(each.name == predicate.field and each.transform == _PLAIN for each in item.fields)
        # Which rows remain tells what the value is: a filter would see through a mask, a hash or a bucket.
        if not plain:
            raise Veto(
                f"a stream is filtered by fields that are granted as plain; {quoted(predicate.field)} is not"
            )
        self._check_predicate(dataset, predicate)

    def _check_predicate(self, dataset: DatasetEntry, predicate: Predicate) -> None:
        field = self.known_field(dataset, predicate.field)
        try:
            compile_predicate(predicate, field)
        except PredicateError as error:
            raise Veto(f"the predicate on {quoted(field.name)} cannot be asked: {error}") from None
