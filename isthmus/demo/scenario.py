"""What a demonstration is made of: departments with their databases, contracts, consents and a cast of subjects.

Values only. `isthmus.demo.sources` makes them from data, `isthmus.demo.story` tells what happens to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from isthmus.terms import rfc3339

CONSENT: Final = "CONSENT"
_YEAR: Final = timedelta(days=365)
_REVIEW_HOURS: Final = 72


@dataclass(frozen=True, slots=True)
class Subject:
    """A person, an organisation or a premises. `label` is what the demonstration calls it."""

    label: str
    scheme: str
    id: str


@dataclass(frozen=True, slots=True)
class Test:
    """A predicate for a Verify; `value` is text, `kind` a member of isthmus.v1.Value without `_value`."""

    field: str
    operator: str
    value: str
    kind: str = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A department: its manifest as a developer of the department wrote it, and the tables behind it.

    Args:
        name: the slug, for example `civil-registry`.
        manifest: the TOML text of [department] and its datasets; address and database are added when it starts.
        files: the CSV files of its tables, each table named after its file.
        views: SQL that the department's own database runs after loading, for example to join two tables.
        systems: the slugs of its consumer systems.
    """

    name: str
    manifest: str
    files: tuple[Path, ...]
    views: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A contract: who may use which fields of what, for what, on which basis.

    Args:
        id: the part after `contracts/`.
        provider, consumer: slugs of departments.
        systems: slugs of the consumer's systems.
        dataset: the slug of the provider's dataset.
        fields: each with the transform under which it is released.
        quota: at most so many calls over the contract's life; 0 for no limit.
        lasts: how long it is in force from now.
        signers: the departments that sign it before the story begins.
        emergency: whether its systems may use it in an emergency, without the consent it otherwise needs.
    """

    id: str
    provider: str
    consumer: str
    systems: tuple[str, ...]
    dataset: str
    fields: Mapping[str, str]
    purposes: tuple[str, ...]
    legal_basis: str
    legal_citation: str
    modes: tuple[str, ...] = ("QUERY", "VERIFY", "BATCH")
    quota: int = 0
    lasts: timedelta = _YEAR
    signers: tuple[str, ...] | None = None
    emergency: bool = False

    @property
    def signed_by(self) -> tuple[str, ...]:
        """The departments that sign it before the story begins."""
        return (self.consumer, self.provider) if self.signers is None else self.signers

    @property
    def needs_consent(self) -> bool:
        """Whether its legal basis is the person's consent."""
        return self.legal_basis == CONSENT

    def variant(self, suffix: str, **changes: Any) -> "Contract":
        """The same contract under another id and with some changes."""
        return replace(self, id=f"{self.id}-{suffix}", **changes)

    def document(self, now: datetime) -> dict[str, Any]:
        """The terms as `isthmus.terms.document_to_terms` reads them; `now` is UTC-aware."""
        quota = {"window": "TOTAL", "calls": self.quota, "rows": 0, "scope": "CONTRACT"}
        systems = [f"departments/{self.consumer}/systems/{system}" for system in self.systems]
        emergency = {"allowed": True, "systems": systems, "review_within_hours": _REVIEW_HOURS}
        return {
            "provider": f"departments/{self.provider}",
            "consumer": f"departments/{self.consumer}",
            "systems": systems,
            "dataset": f"departments/{self.provider}/datasets/{self.dataset}",
            "fields": [{"name": name, "transform": how} for name, how in self.fields.items()],
            "purposes": list(self.purposes),
            "legal_basis": self.legal_basis,
            "legal_citation": self.legal_citation,
            "modes": list(self.modes),
            "quotas": [quota] if self.quota else [],
            "not_before": rfc3339(now),
            "not_after": rfc3339(now + self.lasts),
            "retention_days": 30,
            "break_glass": emergency if self.emergency else {},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent that is given before the story begins.

    Args:
        key: what the story calls it.
        contract: the contract's id.
        subject: whose data it is about.
        purposes, fields: what is consented to, within the contract.
        grantor: `SELF` or `GUARDIAN`.
        evidence_reference: the file number of a consent given at a counter; empty when given online.
    """

    key: str
    contract: str
    subject: Subject
    purposes: tuple[str, ...]
    fields: tuple[str, ...]
    grantor: str = "SELF"
    evidence_reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Those whose consent the story is about; each but `silent` has consented to the main contract."""

    silent: Subject
    withdrawing: Subject
    pausing: Subject
    minor: Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who plays the parts that every story has.

    Args:
        main: the contract that most of the story is about.
        statutory: a contract that needs no consent; the same as `main` where nothing does.
        refused: a contract over a dataset that may not be shared; its proposal must fail.
        subject: somebody the main contract's provider knows.
        statutory_subject: somebody the statutory contract's provider knows.
        unknown: somebody nobody knows.
        hidden_field: a field of the main dataset that the contract leaves out.
        shows: what released values must look like, a regular expression for each field.
        yes, no: predicates on the main contract that hold, and do not hold, for `subject`.
        other_purpose: a purpose that the main contract lacks.
        unlisted_system: a slug of the consumer's systems that the main contract does not list.
        third: department and system, by slug, that have no part in the main contract.
        people: those whose consent matters; None where the law asks for none.
    """

    main: Contract
    statutory: Contract
    refused: Contract
    subject: Subject
    statutory_subject: Subject
    unknown: Subject
    hidden_field: str
    shows: Mapping[str, str]
    yes: Test
    no: Test
    other_purpose: str
    unlisted_system: str
    third: tuple[str, str]
    people: People | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything a demonstration needs before its story begins.

    Args:
        source: what the data are, one word.
        title: what the data are, for people.
        contracts: those agreed before the story begins; the story adds variants of its own.
        consents: those given before the story begins.
        extras: further questions of this source, with the answers they get.
    """

    source: str
    title: str
    departments: tuple[Department, ...]
    contracts: tuple[Contract, ...]
    consents: tuple[Consent, ...]
    cast: Cast
    extras: tuple["Question", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A further question about one subject under a contract that allows it.

    Args:
        name: what the demonstration calls it.
        contract: one of the scenario's.
        subject: whom it is about.
        shows: what released values must look like, a regular expression for each field.
        purpose: the contract's first unless given.
    """

    name: str
    contract: Contract
    subject: Subject
    shows: Mapping[str, str]
    purpose: str = ""
