"""The terms of a contract as they are stored, held against the digest that was signed."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from isthmus.canonical import sha256_hex
from isthmus.errors import IsthmusError
from isthmus.reasons import Reason


class ContractDamaged(IsthmusError):
    """The stored terms of a version are not those that its digest, and so every signature, stands for."""

    def __init__(self, name: str) -> None:
        super().__init__(
            Reason.INTERNAL,
            f"{name}: its stored terms are not those that were signed, so nothing may rest on them; its operator "
            "restores the database from a backup",
        )


class DamagedTerms(Mapping[str, Any]):
    """Stands where the terms should be, and raises ContractDamaged at every use: one damaged version refuses itself, and
    not the others that are read with it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def damage(self) -> ContractDamaged:
        """What is wrong."""
        return ContractDamaged(self._name)

    def __getitem__(self, key: str) -> Any:
        raise self.damage

    def __iter__(self) -> Iterator[str]:
        raise self.damage

    def __len__(self) -> int:
        raise self.damage


# Checked on every read, and computed once: the same few contracts are read for every exchange.
@lru_cache(maxsize=4096)
def read_terms(text: str, digest: str, *, name: str) -> Mapping[str, Any]:
    """Returns the document that `text` holds, or `DamagedTerms` when it is not the one `digest` stands for.

    Args:
        text: the canonical JSON.
        digest: the SHA-256 that both departments signed, hex.
        name: `contracts/{contract}@{version}`.
    """
    if sha256_hex(text.encode()) != digest:
        return DamagedTerms(name)
    terms: dict[str, Any] = json.loads(text)
    return terms
