"""What the rules need to know of the records: read apart from each other, judged in their order."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from audit.batch.lines import Line
from audit.record import AccessRecord, Kind
from audit.verifier.leaf import is_quick

_EXCHANGE: Final = re.compile(
    r"exchanges/([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})"
)

BATCH: Final = "BATCH"

Key = bytes | str
Consents = tuple[Mapping[str, str | int], ...]


class Basis(NamedTuple):
    """All that a release rests on but consents: many releases have the same."""

    contract: str
    terms_digest: str
    provider: str
    consumer: str
    dataset: str
    certificate: str
    needs_consent: bool
    emergency: bool


class Release(NamedTuple):
    """The record at `position` allowed an exchange.

    `token` is that of the person; None in a batch, whose lines have theirs.
    """

    position: int
    basis: Basis
    consents: Consents
    token: str | None


class Whole(NamedTuple):
    """A record that takes more than its release to judge: a control, a stream, a batch with what is left of its lines."""

    position: int
    record: AccessRecord
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Of consecutive records: the exchanges decided, and what else there is to judge; both in order of position."""

    decided: list[tuple[Key, int]] = field(default_factory=list)
    steps: list[Release | Whole] = field(default_factory=list)
    _bases: dict[Basis, Basis] = field(default_factory=dict)

    def add(self, index: int, record: AccessRecord, lines: tuple[Line, ...] = ()) -> None:
        """The next record."""
        if record.kind is Kind.DECISION:
            self.decided.append((key_of(record.exchange), index))
        if lines or not is_quick(record) or record.mode == BATCH:
            self.steps.append(Whole(index, record, lines))
        elif record.decision == "ALLOW":
            # One object for all that are equal, so that a process sends it to another once.
            release = release_of(index, record)
            basis = self._bases.setdefault(release.basis, release.basis)
            self.steps.append(release._replace(basis=basis))


def release_of(index: int, record: AccessRecord) -> Release:
    """What there is to judge of a record that allowed an exchange."""
    token = None if record.mode == BATCH else record.subject_token
    return Release(index, basis_of(record), record.consents, token)


def basis_of(record: AccessRecord) -> Basis:
    """What a release rests on."""
    return Basis(
        record.contract,
        record.terms_digest,
        record.provider,
        record.consumer,
        record.dataset,
        record.certificate,
        record.legal_basis == "CONSENT" and record.mode != BATCH,
        bool(record.emergency),
    )


def key_of(exchange: str) -> Key:
    """The name of an exchange in as few bytes as tell it from all others."""
    match = _EXCHANGE.fullmatch(exchange)
    return bytes.fromhex("".join(match.groups())) if match else exchange


def name_of(key: Key) -> str:
    """The name that `key_of` shortened."""
    return key if isinstance(key, str) else f"exchanges/{uuid.UUID(bytes=key)}"
