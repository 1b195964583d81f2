"""What a decision about an exchange depends on, and nothing else.

A decision is a pure function of `Facts`. Time enters only as what it stands for: whether a period has begun or
is over, the hour and the weekday. So equal facts give equal decisions, and a decision may be remembered by them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Whether the contract allows emergency use, and for which systems."""

    allowed: bool = False
    systems: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFacts:
    """The version of a contract that counts now; `fields` leaves out those with the transform `omit`."""

    name: str
    version: int
    terms_digest: str
    provider: str
    dataset: str
    state: str
    signed_by_both: bool
    begun: bool
    over: bool
    systems: frozenset[str]
    purposes: frozenset[str]
    fields: frozenset[str]
    modes: frozenset[str]
    legal_basis: str
    signed_requests: bool = False
    break_glass: BreakGlass = BreakGlass()

    def opens_in_emergency(self, system: str) -> bool:
        """Whether an emergency lets `system` go without the consent that the contract otherwise needs."""
        return self.break_glass.allowed and system in self.break_glass.systems


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """The catalogue entry; `sensitivities` are those of the requested fields."""

    retired: bool
    sharing_class: str
    scheme: str
    grade: str = ""
    sensitivities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentFacts:
    """One consent of the subject. `name` identifies it in records and has no part in the decision."""

    state: str
    begun: bool
    over: bool
    contract: str
    terms_digest: str
    purposes: frozenset[str]
    fields: frozenset[str]
    modes: frozenset[str]
    name: str = field(default="", compare=False)
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One exchange and the state of the world as far as it matters.

    `contract` is None unless the caller's department is the consumer of a contract of that name, and then
    `dataset` and `consent` MUST be None too: a caller never learns of a contract between others.
    """

    system: str
    consumer: str
    contract_name: str
    mode: str
    purpose: str
    fields: frozenset[str]
    scheme: str
    hour: int
    weekday: int
    credential_denied: bool = False
    case_reference_given: bool = False
    emergency: bool = False
    request_signed: bool = False
    quota_exhausted: bool = False
    contract: ContractFacts | None = None
    dataset: DatasetFacts | None = None
    consent: ConsentFacts | None = None

    def context(self) -> dict[str, Any]:
        """The `context` of the Cedar request, as the schema declares it."""
        context: dict[str, Any] = {name: _json(getattr(self, name)) for name in _OWN}
        for name, members in _PARTS.items():
            part = getattr(self, name)
            if part is not None:
                context[name] = {member: _json(getattr(part, member)) for member in members}
        return context


_OWN = (
    "system",
    "consumer",
    "credential_denied",
    "mode",
    "purpose",
    "fields",
    "scheme",
    "case_reference_given",
    "emergency",
    "request_signed",
    "quota_exhausted",
    "hour",
    "weekday",
)
_CONSENT = ("state", "begun", "over", "contract", "terms_digest", "purposes", "fields", "modes")
_PARTS: dict[str, tuple[str, ...]] = {
    "contract": (
        "name",
        "version",
        "terms_digest",
        "provider",
        "dataset",
        "state",
        "signed_by_both",
        "begun",
        "over",
        "systems",
        "purposes",
        "fields",
        "modes",
        "legal_basis",
        "signed_requests",
        "break_glass",
    ),
    "dataset": ("retired", "sharing_class", "scheme", "grade", "sensitivities"),
    "consent": _CONSENT,
}


def _json(value: object) -> object:
    if isinstance(value, BreakGlass):
        return {"allowed": value.allowed, "systems": sorted(value.systems)}
    return sorted(value) if isinstance(value, frozenset) else value


def select_consent(
    consents: Iterable[ConsentFacts],
    contract: ContractFacts,
    *,
    mode: str,
    purpose: str,
    fields: Collection[str],
) -> ConsentFacts | None:
    """Returns the consent that comes nearest to allowing the exchange, or None if there is none.

    One that is in force goes before one that is not, one that covers the purpose before one that does not,
    then the one that satisfies most conditions, then the newest. A consent that allows the exchange is
    therefore always preferred to one that does not.
    """

    def rank(consent: ConsentFacts) -> tuple[int, bool, bool, int, int, str]:
        in_force = consent.state == "ACTIVE" and consent.begun and not consent.over
        for_purpose = purpose in consent.purposes
        conditions = (
            in_force,
            for_purpose,
            consent.contract == contract.name and consent.terms_digest == contract.terms_digest,
            consent.fields.issuperset(fields),
            mode in consent.modes,
        )
        met = sum(conditions)
        return (met == len(conditions), in_force, for_purpose, met, consent.position, consent.name)

    return max(consents, key=rank, default=None)
