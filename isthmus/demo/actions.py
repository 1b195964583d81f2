"""What can happen in a story, and what is expected to come of it. Values only; `isthmus.demo.player` acts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from isthmus.demo.parties import DATA_OFFICE
from isthmus.demo.scenario import Contract, Subject, Test

ALLOW: Final = "ALLOW"
DENY: Final = "DENY"
HANDSHAKE_REFUSED: Final = "HANDSHAKE_REFUSED"
"""The reason of a refusal that comes before any call: TLS ends the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A Query by a party, about a subject.

    Args:
        who: the path of the caller's identity, such as `/department/education/system/enrolment`.
        test: makes it a Verify of this predicate instead.
        foreign: the caller's certificate is by an authority that the gateway does not know.
        others: makes it a BatchQuery about these subjects too.
        emergency: why it goes without consent, where the contract allows that in an emergency.
    """

    who: str
    contract: str
    purpose: str
    subject: Subject
    fields: tuple[str, ...] = ()
    case: str = ""
    test: Test | None = None
    foreign: bool = False
    emergency: str = ""
    others: tuple[Subject, ...] = ()


@dataclass(frozen=True, slots=True)
class Propose:
    """An officer of the consumer proposes a contract."""

    contract: Contract


@dataclass(frozen=True, slots=True)
class Sign:
    """An officer of a department signs a contract."""

    contract: Contract
    department: str
    officer: str = DATA_OFFICE


@dataclass(frozen=True, slots=True)
class Counter:
    """The provider answers a proposal with other terms: those of `contract`, which has the same id."""

    contract: Contract
    reason: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """The provider suspends a contract."""

    contract: Contract
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """The provider resumes a contract."""

    contract: Contract
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewEmergency:
    """An officer of the provider reviews every emergency use of a contract; there must be one."""

    contract: Contract
    reason: str


@dataclass(frozen=True, slots=True)
class AwaitExpiry:
    """Time passes until a contract's period is over."""

    contract: Contract


@dataclass(frozen=True, slots=True)
class AwaitOverdue:
    """The gateway notices that a proposal was not answered in time."""

    contract: Contract


@dataclass(frozen=True, slots=True)
class ChangeConsent:
    """A portal pauses, resumes or withdraws a consent: `verb` is `Pause`, `Resume` or `Withdraw`."""

    verb: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DenyCertificate:
    """The operator denies a party's certificate for good; `who` is the path of its identity."""

    who: str
    reason: str


Change = (
    ReviewEmergency
    | Sign
    | Counter
    | Suspend
    | Resume
    | AwaitExpiry
    | AwaitOverdue
    | ChangeConsent
    | DenyCertificate
)
Action = Ask | Propose | Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a step must lead to.

    Args:
        decision: ALLOW or DENY.
        reasons: all of them, in any order.
        known: whether the provider knows the subject; None where that does not matter.
        verdict: `YES`, `NO` or `UNKNOWN` for a Verify.
        each: of a BatchQuery, what each subject gets: ALLOW, or the reason why not.
        says: a regular expression that must be found in the words of a refusal.
        shows: a regular expression for each released field; every released value must match it wholly.
    """

    decision: str = ALLOW
    reasons: frozenset[str] = frozenset()
    known: bool | None = None
    verdict: str = ""
    each: tuple[str, ...] = ()
    says: str = ""
    shows: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a story. Without `expected` it is a change that must succeed and decides nothing."""

    name: str
    action: Action
    expected: Expected | None = None


def denied(*reasons: str, says: str = "") -> Expected:
    """A denial for exactly these reasons, whose words hold the regular expression `says`."""
    return Expected(decision=DENY, reasons=frozenset(reasons), says=says)
