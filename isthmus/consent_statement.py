"""What a portal states and signs when a person consents: the payload of an `isthmus-consent+jws`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Self

from isthmus.errors import StatementInvalid, TermsInvalid
from isthmus.terms import parse_rfc3339, rfc3339
from isthmus.v1.common_pb2 import Mode
from isthmus.v1.consent_service_pb2 import CollectionMethod, GrantorKind

_TIMES: Final = frozenset({"not_before", "not_after", "stated_at", "of_age_at"})
_LISTS: Final = frozenset({"purposes", "fields", "modes"})
_NOTICE: Final = frozenset({"uri", "sha256", "language"})
_OPTIONAL: Final[Mapping[str, Any]] = MappingProxyType({"party": "", "max_uses": 0, "of_age_at": None})
"""Members that may be absent, and what their absence says. A statement leaves them out when it says no more."""

MAX_USES: Final = 1_000_000_000
"""The highest limit of uses that a statement may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentStatement:
    """A person's consent, as the portal states it. It names the person only by a commitment.

    Args:
        consent: `consents/{uuid}`, chosen by the portal.
        contract: `contracts/{contract}@{version}`.
        terms_digest: SHA-256 of that version's canonical terms, hex.
        subject_commitment: see `isthmus.subjects.subject_commitment`.
        purposes, fields, modes: what is consented to, each within the contract; modes by name, such as `QUERY`.
        not_before, not_after: when it is in force, the end exclusive.
        grantor: `SELF`, `GUARDIAN` or `DELEGATE`.
        collection: `ONLINE`, `COUNTER` or `PAPER`.
        evidence_reference: where the evidence is kept; empty when none is needed.
        notice: `uri`, `sha256` and `language` of the text that was shown.
        stated_at: when the portal stated it.
        party: which of the required parties consents, in the words of the request; empty when none are required.
        max_uses: at most so many exchanges; 0 for no limit.
        of_age_at: when the person comes of age and a guardian's consent ends; None for another's consent, and for
            permanent guardianship.
    """

    consent: str
    contract: str
    terms_digest: str
    subject_commitment: str
    purposes: tuple[str, ...]
    fields: tuple[str, ...]
    modes: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    grantor: str
    collection: str
    evidence_reference: str
    notice: Mapping[str, str]
    stated_at: datetime
    party: str = ""
    max_uses: int = 0
    of_age_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """The payload to sign; optional members that say nothing are left out."""
        members: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, nothing in _OPTIONAL.items():
            if members[name] == nothing:
                del members[name]
        for name in _TIMES & members.keys():
            members[name] = rfc3339(members[name])
        for name in _LISTS:
            members[name] = list(members[name])
        return {**members, "notice": dict(self.notice)}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read a payload that was signed.

        Raises:
            StatementInvalid: a member is missing, unknown or of the wrong form; names it.
        """
        names = {field.name for field in fields(cls)}
        if odd := sorted(names ^ {*document.keys(), *_OPTIONAL}):
            word = "is missing" if odd[0] in names else "is unknown"
            raise StatementInvalid(f"the member {odd[0][:64]!r} {word}")
        try:
            members = {name: _read(name, content) for name, content in document.items()}
        except TermsInvalid as error:
            raise StatementInvalid(error.message) from None
        return cls(**members)


def _read(name: str, content: Any) -> Any:
    if name in _LISTS:
        if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
            raise StatementInvalid(f"{name} must be a list of texts")
        if not content or len(content) > 512 or len(set(content)) != len(content):
            raise StatementInvalid(f"{name} must hold 1 to 512 different texts")
        if name == "modes" and not set(content) <= _names(Mode, "MODE_"):
            raise StatementInvalid(f"modes must be among {', '.join(sorted(_names(Mode, 'MODE_')))}")
        return tuple(content)
    if name == "notice":
        if not isinstance(content, dict) or content.keys() != _NOTICE:
            raise StatementInvalid("notice must hold uri, sha256 and language")
        return {key: _text(f"notice.{key}", value) for key, value in content.items()}
    if name == "max_uses":
        if type(content) is not int or not 0 <= content <= MAX_USES:
            raise StatementInvalid(f"max_uses must be a whole number from 0 to {MAX_USES}")
        return content
    if name == "of_age_at" and content is None:
        return None
    if name in _TIMES:
        return parse_rfc3339(_text(name, content), field=name)
    if name == "grantor" and content not in _names(GrantorKind, "GRANTOR_KIND_"):
        raise StatementInvalid("grantor must be SELF, GUARDIAN or DELEGATE")
    if name == "collection" and content not in _names(CollectionMethod, "COLLECTION_METHOD_"):
        raise StatementInvalid("collection must be ONLINE, COUNTER or PAPER")
    return _text(name, content)


def _text(name: str, content: object) -> str:
    if not isinstance(content, str) or len(content) > 1024:
        raise StatementInvalid(f"{name} must be text of at most 1024 characters")
    return content


def _names(enum: Any, prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name, number in enum.items() if number}
