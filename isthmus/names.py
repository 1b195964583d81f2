"""Resource names (AIP-122): the paths by which departments, datasets, contracts and exchanges are known."""

import re
import uuid
from dataclasses import dataclass
from typing import Final, Self

from isthmus.errors import InvalidArgument

SLUG: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MAX_LENGTH: Final = 256


def _match(pattern: re.Pattern[str], text: str, field: str, form: str) -> re.Match[str]:
    found = pattern.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None:
        raise InvalidArgument(field, f"must have the form {form} (lower-case letters, digits and hyphens)")
    return found


_DEPARTMENT: Final = re.compile(f"departments/({SLUG})")
_DATASET: Final = re.compile(f"departments/({SLUG})/datasets/({SLUG})")
_SYSTEM: Final = re.compile(f"departments/({SLUG})/systems/({SLUG})")
_CONTRACT: Final = re.compile(f"contracts/({SLUG})(?:@([1-9][0-9]{{0,8}}))?")
_CONSENT: Final = re.compile(f"consents/({_UUID})")
_EXCHANGE: Final = re.compile(f"exchanges/({_UUID})")


@dataclass(frozen=True, slots=True)
class DepartmentName:
    """`departments/{department}`."""

    department: str

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Read a name. Raises InvalidArgument naming `field`."""
        return cls(_match(_DEPARTMENT, text, field, "departments/{department}")[1])

    def __str__(self) -> str:
        return f"departments/{self.department}"


@dataclass(frozen=True, slots=True)
class DatasetName:
    """`departments/{department}/datasets/{dataset}`."""

    department: str
    dataset: str

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Read a name. Raises InvalidArgument naming `field`."""
        found = _match(_DATASET, text, field, "departments/{department}/datasets/{dataset}")
        return cls(found[1], found[2])

    @property
    def parent(self) -> DepartmentName:
        """The department that owns the dataset."""
        return DepartmentName(self.department)

    def __str__(self) -> str:
        return f"departments/{self.department}/datasets/{self.dataset}"


@dataclass(frozen=True, slots=True)
class SystemName:
    """`departments/{department}/systems/{system}`."""

    department: str
    system: str

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Read a name. Raises InvalidArgument naming `field`."""
        found = _match(_SYSTEM, text, field, "departments/{department}/systems/{system}")
        return cls(found[1], found[2])

    @property
    def parent(self) -> DepartmentName:
        """The department that runs the system."""
        return DepartmentName(self.department)

    def __str__(self) -> str:
        return f"departments/{self.department}/systems/{self.system}"


@dataclass(frozen=True, slots=True)
class ContractName:
    """`contracts/{contract}`, or `contracts/{contract}@{version}` for one version of it."""

    contract: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str, *, field: str = "name", versioned: bool | None = None) -> Self:
        """Read a name.

        Args:
            text: the name.
            field: the request field to name in an error.
            versioned: True demands a version, False forbids one, None takes either.

        Raises:
            InvalidArgument: the text is no such name.
        """
        found = _match(_CONTRACT, text, field, "contracts/{contract}@{version}")
        if versioned is True and found[2] is None:
            raise InvalidArgument(field, "must name a version: contracts/{contract}@{version}")
        if versioned is False and found[2] is not None:
            raise InvalidArgument(field, "must not name a version: contracts/{contract}")
        return cls(found[1], int(found[2]) if found[2] else None)

    @property
    def base(self) -> "ContractName":
        """The contract without a version."""
        return ContractName(self.contract)

    def at(self, version: int) -> "ContractName":
        """One version of the contract, counted from 1."""
        return ContractName(self.contract, version)

    def __str__(self) -> str:
        suffix = "" if self.version is None else f"@{self.version}"
        return f"contracts/{self.contract}{suffix}"


@dataclass(frozen=True, slots=True)
class ConsentName:
    """`consents/{uuid}`."""

    uuid: str

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Read a name. Raises InvalidArgument naming `field`."""
        return cls(_match(_CONSENT, text, field, "consents/{uuid}")[1])

    @classmethod
    def new(cls) -> Self:
        """A name nobody has used (a random UUID, RFC 9562 version 4)."""
        return cls(str(uuid.uuid4()))

    def __str__(self) -> str:
        return f"consents/{self.uuid}"


@dataclass(frozen=True, slots=True)
class ExchangeName:
    """`exchanges/{uuid}`."""

    uuid: str

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Read a name. Raises InvalidArgument naming `field`."""
        return cls(_match(_EXCHANGE, text, field, "exchanges/{uuid}")[1])

    def __str__(self) -> str:
        return f"exchanges/{self.uuid}"
