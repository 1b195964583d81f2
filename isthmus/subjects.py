"""Data subjects: canonical identifiers, and the keyed tokens that stand for them in the ledger."""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from isthmus.errors import InvalidArgument

_MISSING: Final = frozenset({"", "NONE", "NULL"})
_MAX_LENGTH: Final = 256
_MAX_PAD: Final = 64
_TOKEN_BYTES: Final = 16

_SIMPLE: Final[Mapping[str, Callable[[str], str]]] = {
    "strip": str.strip,
    "strip-quotes": lambda text: text.strip().strip('"').strip(),
    "upper": str.upper,
    "lower": str.lower,
    "digits": lambda text: re.sub(r"[^0-9]", "", text),
    "remove-dashes": lambda text: text.replace("-", ""),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
}
_PAD: Final = re.compile(r"pad:([0-9]{1,2})")


_CONTROLS: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
"""The characters of the Unicode categories Cc and Cs."""


@lru_cache(maxsize=256)
def normaliser(name: str) -> Callable[[str], str]:
    """The function behind a normaliser's name: strip, strip-quotes, upper, lower, digits, remove-dashes, nfkc, or
    pad:N (zeros on the left up to N characters).

    Raises:
        ValueError: there is no such normaliser; the message lists those there are.
    """
    if name in _SIMPLE:
        return _SIMPLE[name]
    found = _PAD.fullmatch(name)
    if found is None or not 1 <= int(found[1]) <= _MAX_PAD:
        raise ValueError(
            f"{name!r} is no normaliser; there are {', '.join(_SIMPLE)} and pad:1 to pad:{_MAX_PAD}"
        )
    width = int(found[1])
    return lambda text: text.rjust(width, "0")


def normalise(identifier: str, normalisers: Sequence[str], *, field: str = "subject.id") -> str:
    """An identifier's canonical form.

    Args:
        identifier: as a caller or a table holds it, for example `"00247700"` in literal quotes.
        normalisers: names for `normaliser`, applied in order.
        field: the request field to name in an error.

    Raises:
        InvalidArgument: the identifier is empty, a marker such as NONE or NULL, too long, or holds control
            characters. The identifier itself is not repeated.
    """
    text = identifier
    for name in normalisers:
        text = normaliser(name)(text) if text.strip(' "').upper() not in _MISSING else ""
    if text.strip().upper() in _MISSING:
        raise InvalidArgument(field, "holds no identifier")
    if len(text) > _MAX_LENGTH or _CONTROLS.search(text):
        raise InvalidArgument(
            field, f"must be at most {_MAX_LENGTH} characters, none of them control characters"
        )
    return text


@dataclass(frozen=True, slots=True)
class SubjectTokens:
    """Turns canonical identifiers into tokens `{epoch}.{32 hex digits}` by HMAC-SHA256.

    A bare hash would be no protection, because identity numbers can be enumerated (reference: Vault's audit log).

    Args:
        keys: the secret of each key epoch, 32 bytes.
        current: the epoch of new tokens.
    """

    keys: Mapping[int, bytes]
    current: int

    def __post_init__(self) -> None:
        if self.current not in self.keys:
            raise ValueError(f"there is no subject key for the current epoch {self.current}")
        if any(len(key) != 32 for key in self.keys.values()):
            raise ValueError("a subject key must be 32 bytes")

    def token(self, scheme: str, identifier: str, *, epoch: int | None = None) -> str:
        """The token of a subject.

        Args:
            scheme: the identifier scheme, for example `us.ope`.
            identifier: the canonical identifier.
            epoch: the key epoch; the current one unless given.
        """
        number = self.current if epoch is None else epoch
        message = scheme.encode() + b"\0" + identifier.encode()
        mac = hmac.digest(self.keys[number], message, "sha256")
        return f"{number}.{mac[:_TOKEN_BYTES].hex()}"

    def nonce(self, salt: bytes, *, epoch: int | None = None) -> bytes:
        """A commitment's nonce, 32 bytes: derived from a salt that is kept beside the log and a key that is not.

        Args:
            salt: the part and 32 bytes.
            epoch: the key epoch of the commitment; the current one unless given, which is right for new ones only.

        Who holds the database alone cannot open a commitment by guessing; whoever erases the salt has closed it for
        good.
        """
        key = self.keys[self.current if epoch is None else epoch]
        return hmac.digest(key, b"isthmus-commitment\0" + salt, "sha256")

    def all_tokens(self, scheme: str, identifier: str) -> tuple[str, ...]:
        """The subject's token in every epoch, for searches over the whole log."""
        return tuple(self.token(scheme, identifier, epoch=epoch) for epoch in sorted(self.keys))


def epochs(tokens: Iterable[str]) -> set[str]:
    """The key epochs of tokens."""
    return {token.partition(".")[0] for token in tokens}


def subject_commitment(nonce: bytes, scheme: str, identifier: str) -> str:
    """The commitment to a subject in a consent statement: SHA-256(nonce || scheme || 0x00 || id), in hex.

    Args:
        nonce: 32 random bytes, kept outside the ledger.
        scheme: the identifier scheme.
        identifier: the canonical identifier.
    """
    if len(nonce) != 32:
        raise InvalidArgument("subject_nonce", "must be 32 random bytes")
    return hashlib.sha256(nonce + scheme.encode() + b"\0" + identifier.encode()).hexdigest()
