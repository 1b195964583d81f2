"""From a canonical identifier to what a column holds, and back.

Templates go out, normalisers come back, and only a pair that closes the circle is ever looked up. So two
subjects can never share a stored form, and one person is never answered with the rows of another.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from isthmus.errors import InvalidArgument
from isthmus.subjects import normalise, normaliser
from services.manifest import SubjectColumn

PLACEHOLDER: Final = "{}"

MISSING: Final = frozenset({"", "NONE", "NULL"})
"""What stands for no identifier at all, in any case; `isthmus.subjects` refuses it."""
MAX_IDENTIFIER: Final = 256

_MAX_CHECKS: Final = 1_024
_PROBES: Final = ("7", "A7", "7a", "00000007", "甲7")

Bind = Callable[[str], Any]


def check_template(template: str, normalisers: Iterable[str]) -> str:
    """Says what is wrong with a template, or nothing when the normalisers undo it."""
    if template.count(PLACEHOLDER) != 1:
        return "must hold {} exactly once, where the identifier stands"
    if "{" in template.replace(PLACEHOLDER, "") or "}" in template.replace(PLACEHOLDER, ""):
        return "may hold no other braces than {}"
    names = tuple(normalisers)
    probes = [canonical for each in _PROBES if (canonical := canonical_or_none(each, names)) is not None]
    if all(canonical_or_none(template.replace(PLACEHOLDER, each), names) != each for each in probes):
        return "is not undone by the normalisers, so stored identifiers would not be recognised"
    return ""


def canonical_or_none(identifier: str, normalisers: tuple[str, ...]) -> str | None:
    """The canonical form, or None for text that holds no identifier."""
    try:
        return normalise(identifier, normalisers)
    except InvalidArgument:
        return None


@lru_cache(maxsize=_MAX_CHECKS)
def canonical_check(normalisers: tuple[str, ...]) -> Callable[[str], bool]:
    """A function that says whether an identifier is in its canonical form; the same as asking `canonical_or_none`.

    Printable ASCII that no normaliser changes is the common case, and is told without the general way's look at
    every character.
    """
    steps = tuple(normaliser(name) for name in normalisers)

    def check(identifier: str) -> bool:
        if (
            identifier.isascii()
            and identifier.isprintable()
            and len(identifier) <= MAX_IDENTIFIER
            and identifier.strip(' "').upper() not in MISSING
        ):
            for step in steps:
                if step(identifier) != identifier:
                    break
            else:
                return True
        return canonical_or_none(identifier, normalisers) == identifier

    return check


def bind_for(kind: sa.types.TypeEngine[Any]) -> Bind:
    """How text becomes a bound value for a column of this type; the result is None where it cannot."""
    if isinstance(kind, sa.Uuid):
        return _uuid
    if isinstance(kind, sa.Integer):
        return _integer
    if isinstance(kind, sa.Numeric):
        return _decimal
    return lambda text: text


def _integer(text: str) -> int | None:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text.isascii() and text.isdigit() else None
    except InvalidOperation:
        return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def key_text(key: object, *, padded: bool = False) -> str:
    """A stored key as text; `padded` drops the blanks that a CHAR(n) column adds."""
    if isinstance(key, Decimal) and key == key.to_integral_value():
        return str(int(key))
    return str(key).rstrip(" ") if padded else str(key)


@dataclass(slots=True)
class StoredForms:
    """The stored forms of one dataset's subjects.

    Args:
        subject: the manifest's entry.
        kind: the reflected type of the column.
    """

    subject: SubjectColumn
    kind: sa.types.TypeEngine[Any]
    _bind: Bind = field(init=False)
    _padded: bool = field(init=False)

    def __post_init__(self) -> None:
        self._bind = bind_for(self.kind)
        self._padded = isinstance(self.kind, sa.CHAR)

    def candidates(self, identifiers: Iterable[str]) -> dict[Any, str]:
        """The bound values under which canonical identifiers may be stored, each with its identifier."""
        found: dict[Any, str] = {}
        canonical = canonical_check(self.subject.normalisers)
        for identifier in identifiers:
            for template in self.subject.stored:
                plain = template == PLACEHOLDER
                bound = self._bind(identifier if plain else template.replace(PLACEHOLDER, identifier))
                if bound is None:
                    continue
                same = bound is identifier and not self._padded
                if canonical(identifier) if same else self.canonical(bound) == identifier:
                    found[bound] = identifier
        return found

    def canonical(self, key: object) -> str | None:
        """The canonical identifier behind a stored key."""
        return canonical_or_none(key_text(key, padded=self._padded), self.subject.normalisers)

    def resolver(self, candidates: Mapping[Any, str]) -> Callable[[object], str | None]:
        """A function from a row's key to the identifier that was asked for, or None.

        A database may find more than it was asked for, under a collation that ignores case for example:
        such a row belongs to nobody here.
        """
        asked = frozenset(candidates.values())
        known: dict[Any, str | None] = dict(candidates)

        def resolve(key: object) -> str | None:
            if key in known:
                return known[key]
            canonical = self.canonical(key)
            known[key] = canonical if canonical in asked else None
            return known[key]

        return resolve
