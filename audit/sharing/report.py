"""The report: every figure of `isthmus.v1.ReportSharingResponse`, from what the fold has taken in. Pure.

What each figure means is said in `proto/isthmus/v1/sharing_service.proto`, and for readers in docs/SHARING.md.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

from audit.sharing.catalogue import Offer
from audit.sharing.days import DAY_MS, day_text
from audit.sharing.fold import Key, SharingFold, Use
from audit.sharing.negotiation import Version
from isthmus.terms import timestamp
from isthmus.v1 import sharing_service_pb2 as pb
from isthmus.v1.common_pb2 import SharingClass

DEFAULT_DAYS: Final = 30
_YEAR_MS: Final = 365 * DAY_MS
_REFUSED: Final = "REFUSED"


@dataclass(frozen=True, slots=True)
class Period:
    """What a report is about: from the first day to the last, both included, and the moment its end stands for."""

    first: int
    last: int
    as_of: int

    @property
    def start(self) -> int:
        """When it begins, milliseconds since 1970."""
        return self.first * DAY_MS

    def holds(self, at: int) -> bool:
        """Whether a moment lies in it, and not after what it is about."""
        return self.start <= at <= self.as_of


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the figures are counted from."""

    period: Period
    offers: Sequence[Offer]
    uses: dict[Key, Use]
    in_force: Sequence[tuple[str, Version]]
    versions: Sequence[tuple[str, Version]]
    unused: frozenset[str]
    throttled: frozenset[str]

    @property
    def departments(self) -> list[str]:
        """Everybody who offers, asks or takes part."""
        found = {each.department for each in self.offers}
        for provider, consumer, _ in self.uses:
            found |= {provider, consumer}
        for _, version in self.versions:
            if version.proposed <= self.period.as_of:
                found |= {version.provider, version.consumer}
        return sorted(found)


def make_report(fold: SharingFold, first: int, last: int, *, root: bytes) -> pb.ReportSharingResponse:
    """Returns the report about the records that `fold` has taken in.

    Args:
        fold: it remembers the days that are asked for.
        first: the first day, by `audit.sharing.days.day_number`.
        last: the last day, included.
        root: the RFC 6962 root of the records, 32 bytes.
    """
    end = (last + 1) * DAY_MS - 1
    period = Period(first, last, end if fold.newest_ms is None else min(end, fold.newest_ms))
    facts = _gather(fold, period)
    return pb.ReportSharingResponse(
        first_day=day_text(first),
        last_day=day_text(last),
        as_of=timestamp(datetime.fromtimestamp(period.as_of / 1000, UTC)),
        log_size=fold.size,
        root_hash=root,
        overall=_department(facts, ""),
        departments=[_department(facts, each) for each in facts.departments],
        pairs=_pairs(facts),
        datasets=_datasets(facts),
    )


def _gather(fold: SharingFold, period: Period) -> _Facts:
    uses: dict[Key, Use] = defaultdict(Use)
    for key, use in fold.uses(period.first, period.last):
        uses[key].add(use)
    named = list(fold.negotiations.named())
    versions = [(name, each) for name, contract in named for each in contract.versions.values()]
    between = [(name, each) for name, each in versions if each.between_departments]
    in_force = [(name, each) for name, each in between if each.in_force(period.as_of)]
    given = {name for name, each in named if each.given.between(period.first, period.last)}
    throttled = {name for name, each in named if each.throttled.between(period.first, period.last)}
    old = {name for name, each in between if each.in_force(period.as_of) and each.in_force(period.start)}
    return _Facts(
        period=period,
        offers=list(fold.catalogue.offers(period.as_of)),
        uses=dict(uses),
        in_force=in_force,
        versions=between,
        unused=frozenset(old - given),
        throttled=frozenset(throttled),
    )


def _department(facts: _Facts, name: str) -> pb.DepartmentSharing:
    """The scorecard of one department, or with an empty name that of all together."""
    own = [each for each in facts.offers if not name or each.department == name]
    offered = {each.dataset for each in own}
    agreed = {each.dataset for _, each in facts.in_force} & offered
    given = {key: use for key, use in facts.uses.items() if not name or key[0] == name}
    taken = {key: use for key, use in facts.uses.items() if not name or key[1] == name}
    used = {key[2] for key, use in given.items() if use.allowed} & offered
    total = _sum(given.values())
    return pb.DepartmentSharing(
        department=name,
        datasets_offered=len(offered),
        datasets_refused=sum(each.sharing_class == _REFUSED for each in own),
        datasets_under_contract=len(agreed),
        datasets_used=len(used),
        silo_index=1 - len(used) / len(offered) if offered else None,
        answers=_answers(facts, name),
        allowed=total.allowed,
        denied=total.denied,
        failed=total.failed,
        row_count=total.rows,
        denials=_reasons(total.denials),
        weak=_weak(facts, name, {each for each in own if each.dataset in agreed}),
        datasets_consumed=len({key[2] for key, use in taken.items() if use.allowed}),
        answers_received=sum(use.allowed for use in taken.values()),
        collections_avoided=sum(use.facts for use in taken.values()),
    )


def _answers(facts: _Facts, name: str) -> pb.SharingAnswers:
    period = facts.period
    asked = [
        each
        for _, each in facts.versions
        if each.asks_provider and each.proposed <= period.as_of and (not name or each.provider == name)
    ]
    answered = [each for each in asked if period.holds(each.answered)]
    silent = [each for each in asked if each.answered > period.as_of]
    days = [each.workdays for each in answered if each.workdays is not None]
    overdue = [each for each in silent if each.overdue <= period.as_of and each.closed >= period.start]
    return pb.SharingAnswers(
        in_time=sum(not each.late for each in answered),
        late=sum(each.late for each in answered),
        never=len(overdue),
        waiting=sum(each.overdue > period.as_of and each.closed > period.as_of for each in silent),
        median_workdays=median(days) if days else None,
        rejections=_reasons(Counter(each.rejection for each in answered if each.rejection)),
    )


def _weak(facts: _Facts, name: str, agreed: Iterable[Offer]) -> pb.WeakSharing:
    period = facts.period
    force = [(each, version) for each, version in facts.in_force if not name or version.provider == name]
    mine = {each for each, version in facts.versions if not name or version.provider == name}
    late = {each for each, version in facts.versions if each in mine and period.holds(version.missed)}
    return pb.WeakSharing(
        late=len(late),
        stale=sum(each.published < period.as_of - _YEAR_MS for each in agreed),
        partial=len({each for each, version in force if version.fields < version.asked}),
        throttled=len(facts.throttled & mine),
        unused=len(facts.unused & {each for each, _ in force}),
    )


def _pairs(facts: _Facts) -> list[pb.SharingPair]:
    contracts = Counter((each.provider, each.consumer) for _, each in facts.in_force)
    uses: dict[tuple[str, str], Use] = defaultdict(Use)
    datasets: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (provider, consumer, dataset), use in facts.uses.items():
        uses[provider, consumer].add(use)
        if use.allowed:
            datasets[provider, consumer].add(dataset)
    return [
        pb.SharingPair(
            provider=pair[0],
            consumer=pair[1],
            contracts=contracts[pair],
            datasets_used=len(datasets[pair]),
            allowed=uses[pair].allowed,
            denied=uses[pair].denied,
            failed=uses[pair].failed,
            row_count=uses[pair].rows,
        )
        for pair in sorted({*contracts, *uses})
    ]


def _datasets(facts: _Facts) -> list[pb.DatasetSharing]:
    agreed: dict[str, set[str]] = defaultdict(set)
    for _, version in facts.in_force:
        agreed[version.dataset].add(version.consumer)
    using: dict[str, set[str]] = defaultdict(set)
    allowed: Counter[str] = Counter()
    for (_, consumer, dataset), use in facts.uses.items():
        allowed[dataset] += use.allowed
        if use.allowed:
            using[dataset].add(consumer)
    return [
        pb.DatasetSharing(
            dataset=each.dataset,
            sharing_class=SharingClass.Value(f"SHARING_CLASS_{each.sharing_class}"),
            consumers_under_contract=len(agreed[each.dataset]),
            consumers_using=len(using[each.dataset]),
            allowed=allowed[each.dataset],
        )
        for each in facts.offers
    ]


def _reasons(counts: Counter[str]) -> list[pb.SharingReason]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [pb.SharingReason(reason=reason, count=count) for reason, count in ordered]


def _sum(uses: Iterable[Use]) -> Use:
    total = Use()
    for each in uses:
        total.add(each)
    return total
