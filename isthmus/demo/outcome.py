"""What came of a step, and whether that is what the story expects. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from isthmus.demo.actions import ALLOW, DENY, Expected, Step
from isthmus.demo.scenario import Test
from isthmus.errors import IsthmusError

ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a step.

    Args:
        decision: ALLOW, DENY, or ERROR when it failed for a technical reason.
        reasons: the codes of a refusal.
        words: what a person is told.
        exchange: `exchanges/{uuid}`, empty for what is no exchange.
        known, verdict, rows: the answer.
        each: of a BatchQuery, what each subject got: ALLOW, or the reason why not.
        explained: what Explain said just before, None when it was not asked.
    """

    decision: str
    reasons: frozenset[str] = frozenset()
    words: str = ""
    exchange: str = ""
    known: bool | None = None
    verdict: str = ""
    each: tuple[str, ...] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    explained: "Foretold | None" = None


@dataclass(frozen=True, slots=True)
class Foretold:
    """The decision and the reasons that Explain gave."""

    decision: str
    reasons: frozenset[str]


@dataclass(frozen=True, slots=True)
class Played:
    """A step that was played, and everything in which it differs from the story."""

    step: Step
    outcome: Outcome
    differences: tuple[str, ...] = field(default=())

    @property
    def decides(self) -> bool:
        """Whether it is a decision of the story; the rest are changes that had to succeed."""
        return self.step.expected is not None


def refusal(error: IsthmusError) -> Outcome:
    """The outcome of a call that was refused, or that failed: only what a rule refuses is a denial."""
    ruled = error.code.name in ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    return Outcome(
        decision=DENY if ruled else ERROR,
        reasons=frozenset(reason.name for reason in error.reasons),
        words=error.message,
        exchange=error.exchange or error.metadata.get("exchange", ""),
    )


def foretold(outcome: Outcome, explained: Foretold | None) -> Outcome:
    """The outcome together with what Explain had said."""
    return replace(outcome, explained=explained)


def differences(expected: Expected, outcome: Outcome) -> tuple[str, ...]:
    """Everything in which an outcome differs from what is expected of it, in words; none when it is the same."""
    found = [
        _unlike("decision", expected.decision, outcome.decision),
        _unlike("reasons", _listed(expected.reasons), _listed(outcome.reasons)),
        _unlike("known", expected.known, outcome.known) if expected.known is not None else "",
        _unlike("verdict", expected.verdict, outcome.verdict),
        _unlike("each subject", expected.each, outcome.each),
        *_explanations(outcome),
    ]
    if expected.says and not re.search(expected.says, outcome.words):
        found.append(f"its words do not hold {expected.says!r}")
    if outcome.decision == ALLOW and expected.shows:
        found += _values(expected.shows, outcome.rows)
    return tuple(each for each in found if each)


def _explanations(outcome: Outcome) -> list[str]:
    told = outcome.explained
    if told is None:
        return []
    return [
        _unlike("decision by Explain", told.decision, outcome.decision),
        _unlike("reasons by Explain", _listed(told.reasons), _listed(outcome.reasons)),
    ]


def _values(shows: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["no row was released"]
    # Never the value itself: it may be personal.
    return [
        f"a released value of {name} is not of the form {form}"
        for name, form in shows.items()
        if not all(re.fullmatch(form, text(row.get(name))) for row in rows)
    ]


def text(value: Any) -> str:
    """A released value as text; nothing for NULL."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return "" if value is None else str(value)


def test_value(test: Test) -> Any:
    """The Python value that a predicate compares with."""
    return date.fromisoformat(test.value) if test.kind == "date" else test.value


def _listed(reasons: frozenset[str]) -> str:
    return ", ".join(sorted(reasons)) or "none"


def _unlike(what: str, expected: object, found: object) -> str:
    return "" if expected == found else f"{what}: expected {expected}, got {found}"
