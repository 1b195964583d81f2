"""The values a rule pack is made of: limits, yes-or-no rules, required fields, and what a supplement does."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Unit(Enum):
    """What a limit is counted in."""

    WORKING_DAYS = "working_days"
    DAYS = "days"
    HOURS = "hours"
    MONTHS = "months"
    YEARS = "years"


MAX_AMOUNT: Final = {
    Unit.WORKING_DAYS: 1_000,
    Unit.DAYS: 3_660,
    Unit.HOURS: 10_000,
    Unit.MONTHS: 1_200,
    Unit.YEARS: 100,
}


class LimitKind(Enum):
    """What a limit is for, and from when it is counted."""

    CATALOGUE_UPDATE = "catalogue_update"
    """From the change of law or duty to the updated entry, handed in for review."""
    CATALOGUE_REVIEW = "catalogue_review"
    """From receiving the updated entry to having reviewed and published it."""
    ANSWER_UNCONDITIONAL = "answer_unconditional"
    """From receiving the request for unconditionally shared data to the answer."""
    ANSWER_CONDITIONAL = "answer_conditional"
    """From receiving the request for conditionally shared data to the answer."""
    PROVISION = "provision"
    """From the agreeing answer to the data being shared."""
    CORRECTION = "correction"
    """From receiving a correction request to having verified, corrected and reported back."""
    RECTIFICATION = "rectification"
    """From the suspension to the consumer having put the breach right."""
    DISPUTE = "dispute"
    """From bringing a dispute before the authority to its result."""
    USE_RECORDS = "use_records"
    """From the use to the day from which the record of it may be destroyed."""

    @property
    def at_least(self) -> bool:
        """Whether the limit is a period to keep something, so that stricter means longer."""
        return self is LimitKind.USE_RECORDS


class RuleKind(Enum):
    """A duty that a pack imposes or does not."""

    TWO_PERSON = "two_person"
    """A request, and an answer to one, needs the consent of a second person of the same department."""
    REFUSAL_REASON = "refusal_reason"
    """A refusal states its reason."""
    INCOMPLETE_NOT_REFUSED = "incomplete_not_refused"
    """An incomplete request is answered by a notice of what is missing, never by a refusal."""
    ONLY_PUBLISHED_CONDITIONS = "only_published_conditions"
    """An answer may rely on no condition that the catalogue entry does not list."""
    ONE_SOURCE = "one_source"
    """A data element has one source department."""
    SUSPENSION_REASON = "suspension_reason"
    """A suspension names the breach that it answers."""
    SUSPENSION_RECTIFICATION = "suspension_rectification"
    """A suspension sets a period for putting the breach right; termination for the breach comes after it."""
    STOP_NEGOTIATED = "stop_negotiated"
    """A provider changes or ends a share only with good reason, after negotiating and filing it."""


class FormKind(Enum):
    """What must state certain fields."""

    CATALOGUE_ENTRY = "catalogue_entry"
    CONDITIONAL_ENTRY = "conditional_entry"
    """A catalogue entry of the conditional class, in addition."""
    REFUSED_ENTRY = "refused_entry"
    """A catalogue entry of the class not shared, in addition."""
    REQUEST = "request"
    USE_RECORD = "use_record"


class SupplementClock(Enum):
    """What the clock does between the notice of what is missing and the supplement."""

    CONTINUES = "continues"
    PAUSES = "pauses"
    RESTARTS = "restarts"


class CalendarKind(Enum):
    """The calendar a pack counts working days on."""

    STATE_COUNCIL = "state_council"
    WEEKDAYS = "weekdays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """By how much a limit may be extended, in the limit's own unit, and what that takes.

    `authority_consents`: the data authority of the same level agrees first. `requester_told`: the other side is
    told.
    """

    amount: int
    authority_consents: bool
    requester_told: bool
    article: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit and the article that sets it. Raises ValueError for an amount out of bounds.

    Args:
        kind: what it is for.
        amount: 1 to `MAX_AMOUNT[unit]`.
        unit: what `amount` counts.
        article: the citation, ready to be shown.
        title_en, title_zh: the limit in words.
        extension: None where none is possible.
    """

    kind: LimitKind
    amount: int
    unit: Unit
    article: str
    title_en: str
    title_zh: str
    extension: Extension | None = None

    def __post_init__(self) -> None:
        most = MAX_AMOUNT[self.unit]
        if not 1 <= self.amount <= most:
            raise ValueError(f"amount must be from 1 to {most} {self.unit.value}")
        if self.extension is None:
            return
        if not 1 <= self.extension.amount <= most:
            raise ValueError(f"extension: amount must be from 1 to {most} {self.unit.value}")
        if self.kind.at_least:
            raise ValueError("extension: a period to keep something cannot be extended; leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A duty, whether the pack imposes it, and the article it is from."""

    kind: RuleKind
    required: bool
    article: str
    title_en: str
    title_zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The fields that something must state, and the article that says so."""

    kind: FormKind
    fields: tuple[str, ...]
    article: str
    title_en: str
    title_zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """What happens when a request lacks material.

    Args:
        clock: what the answer's clock does until the supplement is received.
        notices: how many times a provider may ask for what is missing, 1 to 16.
        article: the citation, ready to be shown.
    """

    clock: SupplementClock
    notices: int
    article: str

    def __post_init__(self) -> None:
        if not 1 <= self.notices <= 16:
            raise ValueError("notices must be from 1 to 16")
