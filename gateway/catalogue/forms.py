"""What a catalogue entry must state, and may not, by its sharing class and the rule pack in force. Pure.

The three classes and what each needs are those of State Council decree 809 articles 14 and 15; which contents are
required beyond them is the pack's to say (`gateway/rules/*.toml`), and every refusal names the pack's article.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from gateway.clocks.limits import Form, FormKind
from gateway.clocks.pack import Pack
from isthmus.errors import FieldViolation
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import SharingClass

_REFUSED: Final = SharingClass.SHARING_CLASS_REFUSED
_CONDITIONAL: Final = SharingClass.SHARING_CLASS_CONDITIONAL
_UNCONDITIONAL: Final = SharingClass.SHARING_CLASS_UNCONDITIONAL

_STATED: Final[Mapping[str, Callable[[Dataset], bool]]] = {
    "title": lambda entry: bool(entry.title.strip()),
    "fields": lambda entry: bool(entry.fields),
    # The provider is the department in the name, so an entry with a name states it.
    "provider": lambda entry: bool(entry.name),
    "format": lambda entry: bool(entry.format.strip()),
    "update_frequency": lambda entry: bool(entry.update_frequency.strip()),
    "sharing_class": lambda entry: entry.sharing_class != SharingClass.SHARING_CLASS_UNSPECIFIED,
    # What is never shared is served in no mode.
    "modes": lambda entry: bool(entry.modes) or entry.sharing_class == _REFUSED,
    "grade": lambda entry: bool(entry.grade.strip()),
    "description": lambda entry: bool(entry.description.strip()),
    "conditions": lambda entry: bool(entry.conditions),
    "purposes": lambda entry: bool(entry.purposes),
    "refusal_reason": lambda entry: bool(entry.refusal_reason.strip()),
    "legal_citation": lambda entry: bool(entry.legal_citation.strip()),
}
"""Whether an entry states what a form of a pack asks for, by the name that the pack uses."""

_OWN_FORM: Final = {_CONDITIONAL: FormKind.CONDITIONAL_ENTRY, _REFUSED: FormKind.REFUSED_ENTRY}

_NEEDED: Final[Mapping[str, str]] = {
    "legal_citation": "is required when the sharing class is REFUSED (不予共享): name the law, administrative regulation "
    "or State Council decision",
    "conditions": "must state at least one condition when the sharing class is CONDITIONAL (有条件共享); an answer may "
    "cite only these",
    "modes": "must hold at least one mode in which the dataset is served",
}

_FORBIDDEN: Final[Mapping[SharingClass.ValueType, Mapping[str, str]]] = {
    _UNCONDITIONAL: {
        member: "must be empty when the sharing class is UNCONDITIONAL (无条件共享); publish it as CONDITIONAL to limit "
        "its use"
        for member in ("conditions", "purposes")
    },
    _REFUSED: {
        member: "must be empty when the sharing class is REFUSED (不予共享): what is not shared is shared under no "
        "condition and for no purpose; publish it as CONDITIONAL to share it"
        for member in ("conditions", "purposes")
    },
}
_REASON_OF_OTHERS: Final = (
    "must be empty unless the sharing class is REFUSED (不予共享): what is shared is not refused"
)


def form_violations(dataset: Dataset, pack: Pack) -> Iterator[FieldViolation]:
    """Yields what the entry leaves out that its class or the pack requires, and what it says that its class forbids."""
    required = dict(_by_class(dataset))
    for form in _forms(dataset, pack):
        for member in form.fields:
            words = _demand(form, pack)
            if member not in _STATED:
                words = f"{words}, and this version has no place for it; correct the form in the rule pack"
            required[member] = (
                f"{required[member]} ({words})" if member in required else f"must be stated: {words}"
            )
    for member, words in required.items():
        stated = _STATED.get(member)
        if stated is None or not stated(dataset):
            yield FieldViolation(f"dataset.{_path(member)}", words)
    yield from _forbidden(dataset, pack)


def _by_class(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """The members that hold in every deployment, whatever its pack leaves unregulated."""
    if dataset.sharing_class == _REFUSED:
        yield "legal_citation", _NEEDED["legal_citation"]
        return
    if dataset.sharing_class == _CONDITIONAL:
        yield "conditions", _NEEDED["conditions"]
    yield "modes", _NEEDED["modes"]


def _forms(dataset: Dataset, pack: Pack) -> Iterator[Form]:
    kinds = (FormKind.CATALOGUE_ENTRY, _OWN_FORM.get(dataset.sharing_class))
    yield from (pack.forms[kind] for kind in kinds if kind is not None and kind in pack.forms)


def _demand(form: Form, pack: Pack) -> str:
    return f"{form.title_en} ({form.title_zh}), {form.article}, rule pack {pack.ref}"


def _forbidden(dataset: Dataset, pack: Pack) -> Iterator[FieldViolation]:
    form = pack.forms.get(_OWN_FORM.get(dataset.sharing_class, FormKind.CONDITIONAL_ENTRY))
    source = f" ({form.article})" if form else ""
    for member, words in _FORBIDDEN.get(dataset.sharing_class, {}).items():
        if getattr(dataset, member):
            yield FieldViolation(f"dataset.{member}", f"{words}{source}")
    if dataset.refusal_reason and dataset.sharing_class != _REFUSED:
        yield FieldViolation("dataset.refusal_reason", _REASON_OF_OTHERS)


def _path(member: str) -> str:
    return "name" if member == "provider" else member
