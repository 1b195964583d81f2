"""The deadlines of a contract version: derived, whenever somebody asks, from stored facts and the rule pack that the
case began under. Pure, and nothing of it is stored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from gateway.clocks.deadlines import DeadlineError, Due, Pause, due, working_days_between
from gateway.clocks.limits import Limit, LimitKind, RuleKind
from gateway.clocks.pack import Pack
from gateway.contracts.states import ContractEventType, ContractState, Dated, effective_state
from gateway.rulebook import Rulebook

_UNITS: Final = {
    "working_days": "工作日 working days",
    "days": "日 days",
    "hours": "小时 hours",
    "months": "个月 months",
    "years": "年 years",
}
_ENDED_BY_A_CALL: Final = frozenset(
    {ContractState.REJECTED, ContractState.COUNTERED, ContractState.WITHDRAWN, ContractState.TERMINATED}
)


class DeadlineKind(StrEnum):
    """What a deadline is for: the names of isthmus.v1.DeadlineKind."""

    ANSWER = "ANSWER"
    PROVIDE = "PROVIDE"
    RECTIFY = "RECTIFY"


OVERDUE_EVENT: Final = {
    DeadlineKind.ANSWER: ContractEventType.ANSWER_OVERDUE,
    DeadlineKind.PROVIDE: ContractEventType.PROVIDE_OVERDUE,
    DeadlineKind.RECTIFY: ContractEventType.RECTIFY_OVERDUE,
}


class Case(Dated, Protocol):
    """The facts that deadlines follow from: `gateway.state.contracts.ContractRow` holds them."""

    @property
    def rule_pack(self) -> str: ...
    @property
    def sharing_class(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def supplement_requested_at(self) -> datetime | None: ...
    @property
    def supplemented_at(self) -> datetime | None: ...
    @property
    def extended_by(self) -> int: ...
    @property
    def answered_at(self) -> datetime | None: ...
    @property
    def agreed_at(self) -> datetime | None: ...
    @property
    def suspended_at(self) -> datetime | None: ...
    @property
    def rectify_by(self) -> datetime | None: ...
    @property
    def resumed_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A time by which something must have happened.

    Args:
        kind: what it is for.
        start: when its clock began.
        due: the first moment that is too late, UTC; None while the clock is stopped, or when nobody can say.
        met_at: when it happened; None while it has not.
        overdue: whether it is past due, or was met late, or the version ended after it was due.
        rule: the limit and the article behind it, in words.
        assumed_years: years without an official calendar; Monday to Friday was assumed for them.
        stopped: whether the clock is stopped until a supplement comes.
    """

    kind: DeadlineKind
    start: datetime
    due: datetime | None
    met_at: datetime | None
    overdue: bool
    rule: str
    assumed_years: tuple[int, ...] = ()
    stopped: bool = False


def deadlines(
    case: Case, rulebook: Rulebook, now: datetime, *, provided: Callable[[], datetime | None]
) -> tuple[Deadline, ...]:
    """Returns every deadline that has begun, met or not, in the order of their kinds.

    Args:
        case: the version.
        rulebook: knows the rule pack it began under. Without it the deadlines say that they cannot be computed here.
        now: the present time.
        provided: says when data first went out under the version; asked only when that matters.
    """
    pack = rulebook.of(case.rule_pack)
    if pack is None:
        return _unknown(case)
    return tuple(_Clocks(case, pack, rulebook, now).all(provided))


def answer_limit(case: Case, pack: Pack) -> Limit | None:
    """The limit for answering a proposal, by the sharing class that the dataset had when it was made."""
    unconditional = case.sharing_class == "UNCONDITIONAL"
    kind = LimitKind.ANSWER_UNCONDITIONAL if unconditional else LimitKind.ANSWER_CONDITIONAL
    return pack.limits.get(kind)


def workdays_until(case: Case, at: datetime, rulebook: Rulebook) -> int | None:
    """How many working days after a proposal `at` is; None where that cannot be said."""
    pack = rulebook.of(case.rule_pack)
    if pack is None:
        return None
    try:
        return working_days_between(case.created_at, at, rulebook.calendar(pack), zone=pack.tzinfo).days
    except DeadlineError:
        return None


def _unknown(case: Case) -> tuple[Deadline, ...]:
    words = f"cannot be computed here: the rule pack {case.rule_pack or '(none)'} is not loaded"
    answer = Deadline(
        kind=DeadlineKind.ANSWER,
        start=case.created_at,
        due=None,
        met_at=case.answered_at,
        overdue=False,
        rule=words,
    )
    return (answer,)


def _in_words(limit: Limit, extended_by: int = 0) -> str:
    amount = f"{limit.amount}+{extended_by}" if extended_by else f"{limit.amount}"
    return f"{limit.title_zh} {limit.title_en}: {amount} {_UNITS[limit.unit.value]} ({limit.article})"


class _Clocks:
    """The clocks of one version under one pack."""

    def __init__(self, case: Case, pack: Pack, rulebook: Rulebook, now: datetime) -> None:
        self._case = case
        self._pack = pack
        self._calendar = rulebook.calendar(pack)
        self._now = now
        self._ended = self._end()

    def all(self, provided: Callable[[], datetime | None]) -> Iterator[Deadline]:
        """Every deadline that has begun."""
        for found in (self.answer(), self.provide(provided), self.rectify()):
            if found is not None:
                yield found

    def answer(self) -> Deadline | None:
        """From the proposal to the other department's answer."""
        case, limit = self._case, answer_limit(self._case, self._pack)
        if limit is None:
            return None
        pauses: tuple[Pause, ...] = ()
        if case.supplement_requested_at is not None:
            pauses = (Pause(case.supplement_requested_at, case.supplemented_at),)
        found = due(
            limit,
            case.created_at,
            self._calendar,
            zone=self._pack.tzinfo,
            extended_by=case.extended_by,
            supplement=self._pack.supplement.clock,
            pauses=pauses,
        )
        words = _in_words(limit, case.extended_by)
        return self._deadline(
            DeadlineKind.ANSWER, case.created_at, found, met_at=case.answered_at, rule=words
        )

    def provide(self, provided: Callable[[], datetime | None]) -> Deadline | None:
        """From the agreement, or the beginning of the period where that is later, to the first release."""
        case, limit = self._case, self._pack.limits.get(LimitKind.PROVISION)
        if limit is None or case.agreed_at is None:
            return None
        start = max(case.agreed_at, case.not_before)
        found = due(limit, start, self._calendar, zone=self._pack.tzinfo)
        return self._deadline(DeadlineKind.PROVIDE, start, found, met_at=provided(), rule=_in_words(limit))

    def rectify(self) -> Deadline | None:
        """From a suspension to its end: by the time that it states, or else within the limit of the pack."""
        case, limit = self._case, self._pack.limits.get(LimitKind.RECTIFICATION)
        start = case.suspended_at
        if start is None:
            return None
        if case.rectify_by is not None:
            day = case.rectify_by.astimezone(self._pack.tzinfo).date()
            found, words = Due(case.rectify_by, day), self._stated()
        elif limit is not None:
            counted = due(limit, start, self._calendar, zone=self._pack.tzinfo)
            assert counted is not None, "a clock without pauses never stops"
            found, words = counted, _in_words(limit)
        else:
            return None
        return self._deadline(DeadlineKind.RECTIFY, start, found, met_at=case.resumed_at, rule=words)

    def _stated(self) -> str:
        rule = self._pack.rules.get(RuleKind.SUSPENSION_RECTIFICATION)
        words = "中止时限定的整改期限 the time that the suspension set for putting its cause right"
        return words if rule is None else f"{words} ({rule.article})"

    def _deadline(
        self,
        kind: DeadlineKind,
        start: datetime,
        found: Due | None,
        *,
        met_at: datetime | None,
        rule: str,
    ) -> Deadline:
        until = met_at or self._ended or self._now
        return Deadline(
            kind=kind,
            start=start,
            due=None if found is None else found.at,
            met_at=met_at,
            overdue=found is not None and found.missed(until),
            rule=rule,
            assumed_years=() if found is None else found.assumed_years,
            stopped=found is None and met_at is None and self._ended is None,
        )

    def _end(self) -> datetime | None:
        """When the version came to an end; None while it has not."""
        case, state = self._case, effective_state(self._case, self._now)
        if state in _ENDED_BY_A_CALL:
            return case.updated_at
        if state is ContractState.EXPIRED:
            return case.not_after
        if state is ContractState.SUPERSEDED:
            return case.superseded_at or case.updated_at
        return None
