"""Who a batch is about: identifiers as the dataset knows them, their tokens, and whoever is named more than once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.batch.asked import Sent
from gateway.batch.tokens import token_maker
from isthmus.errors import InvalidArgument
from isthmus.subjects import SubjectTokens, normalise

NOBODY: Final = -1
_NO_CHANGE: Final = frozenset({"strip", "strip-quotes", "remove-dashes", "nfkc"})
_SIMPLE: Final = {"upper": str.upper, "lower": str.lower}
_MISSING: Final = frozenset({"NONE", "NULL"})
_MAX_LENGTH: Final = 256


class Person(NamedTuple):
    """A subject: its scheme, its canonical identifier, its current token, and its token in every key epoch."""

    scheme: str
    canonical: str
    token: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class People:
    """The distinct subjects of a batch.

    Attributes:
        persons: each once.
        places: for each subject of the request the number of its person; `NOBODY` where the identifier is none.
        normalisers: by which they were read, by scheme.
    """

    persons: tuple[Person, ...]
    places: tuple[int, ...]
    normalisers: dict[str, tuple[str, ...]]


def identify(
    subjects: Sequence[Sent], normalisers: dict[str, tuple[str, ...]], tokens: SubjectTokens
) -> People:
    """Returns who the subjects are.

    Args:
        subjects: as they were sent.
        normalisers: the names of the normalisers of each scheme among them.
        tokens: the subject keys.
    """
    readers = {scheme: reader(names) for scheme, names in normalisers.items()}
    makers = {scheme: _maker(tokens, scheme) for scheme in normalisers}
    numbers: dict[Sent, int] = {}
    persons: list[Person] = []
    places: list[int] = []
    for scheme, identifier in subjects:
        try:
            canonical = readers[scheme](identifier)
        except InvalidArgument:
            places.append(NOBODY)
            continue
        key = (scheme, canonical)
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(persons)
            every = makers[scheme](canonical)
            persons.append(Person(scheme, canonical, every[0], every))
        places.append(number)
    return People(tuple(persons), tuple(places), normalisers)


def _maker(tokens: SubjectTokens, scheme: str) -> Callable[[str], tuple[str, ...]]:
    """Returns what makes the token of an identifier in every key epoch, that of the current one first."""
    current, *others = [
        token_maker(tokens, scheme, epoch=epoch)
        for epoch in sorted(tokens.keys, key=lambda epoch: (epoch != tokens.current, epoch))
    ]
    if not others:
        return lambda canonical: (current(canonical),)
    return lambda canonical: (current(canonical), *(make(canonical) for make in others))


def reader(names: Sequence[str]) -> Callable[[str], str]:
    """Returns `isthmus.subjects.normalise` with these normalisers, quicker for plain letters and digits."""
    if not set(names) <= _NO_CHANGE | set(_SIMPLE):
        return lambda text: normalise(text, names)
    # On ASCII letters and digits the other normalisers change nothing.
    changes = [_SIMPLE[name] for name in names if name in _SIMPLE]
    change = changes[-1] if changes else None

    def read(text: str) -> str:
        if not (text.isascii() and text.isalnum()) or len(text) > _MAX_LENGTH or text.upper() in _MISSING:
            return normalise(text, names)
        return change(text) if change else text

    return read
