"""The notation of field transforms: `plain`, `mask:N`, `hash`, `bucket:N`, `bucket:year`, `bucket:month`, `omit`.

Manifests, contracts and grants all use it; the department node applies the transforms at the source.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

_NOTATION: Final = re.compile(r"(plain|hash|omit)|mask:([0-9]{1,2})|bucket:([1-9][0-9]{0,8}|year|month)")


class TransformKind(StrEnum):
    """What happens to a value before it leaves its department."""

    PLAIN = "plain"
    MASK = "mask"
    HASH = "hash"
    BUCKET = "bucket"
    OMIT = "omit"


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform with its argument: how many characters a mask leaves, or how wide a bucket is."""

    kind: TransformKind
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the notation. Raises ValueError saying what is allowed."""
        found = _NOTATION.fullmatch(text)
        if found is None:
            raise ValueError(
                "a transform is plain, mask:N, hash, bucket:N, bucket:year, bucket:month or omit"
            )
        if found[1]:
            return cls(TransformKind(found[1]))
        if found[2]:
            return cls(TransformKind.MASK, str(int(found[2])))
        return cls(TransformKind.BUCKET, found[3])

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.argument}" if self.argument else self.kind.value

    def hides_at_least(self, required: "Transform") -> bool:
        """Whether this reveals nothing that `required` would hide.

        Only transforms of one kind compare, besides `plain` (hides nothing) and `omit` (hides all): a hash is
        not a stronger mask, since equal hashes reveal equal values.
        """
        if required.kind is TransformKind.PLAIN or self.kind is TransformKind.OMIT:
            return True
        if self.kind is not required.kind:
            return False
        if self.kind is TransformKind.MASK:
            return int(self.argument) <= int(required.argument)
        if self.kind is TransformKind.BUCKET:
            return _bucket_contains(self.argument, required.argument)
        return True


def _bucket_contains(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    if wide.isdigit() and narrow.isdigit():
        return int(wide) % int(narrow) == 0
    return (wide, narrow) == ("year", "month")


def allowed(asked: str, offered: Sequence[str]) -> bool:
    """Whether a provider that offers a field under these transforms may release it under `asked`.

    Args:
        asked: the notation in a contract or a grant.
        offered: the mildest transforms the provider accepts; none means `plain` is accepted.

    Raises:
        ValueError: one of them is not the notation.
    """
    wanted = Transform.parse(asked)
    return not offered or any(wanted.hides_at_least(Transform.parse(each)) for each in offered)
