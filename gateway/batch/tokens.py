"""The tokens of many subjects: those of `isthmus.subjects.SubjectTokens`, with the work that all share done once.

HMAC (RFC 2104) begins by hashing the key, padded, which takes most of its time for so short a text as an identifier. Both
states that come of it are kept here while the identifiers of one batch are read, and no longer.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from isthmus.subjects import SubjectTokens

_BLOCK: Final = 64
_TOKEN_DIGITS: Final = 32
_INNER: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER: Final = bytes(each ^ 0x5C for each in range(256))


def token_maker(tokens: SubjectTokens, scheme: str, *, epoch: int) -> Callable[[str], str]:
    """Returns what makes the token of a canonical identifier, as `tokens.token` does.

    Args:
        tokens: the subject keys.
        scheme: of the identifiers.
        epoch: of the key.
    """
    key = tokens.keys[epoch].ljust(_BLOCK, b"\0")
    inner, outer = sha256(key.translate(_INNER)), sha256(key.translate(_OUTER))
    inner.update(scheme.encode() + b"\0")
    prefix = f"{epoch}."

    def make(identifier: str) -> str:
        first, second = inner.copy(), outer.copy()
        first.update(identifier.encode())
        second.update(first.digest())
        return prefix + second.hexdigest()[:_TOKEN_DIGITS]

    return make
