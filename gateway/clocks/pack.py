"""Rule packs: the limits and duties of one law or local rule, as versions that are each in force from a day.

A case keeps the `ref` of the pack it began under, and `RulePacks.by_ref` finds that version for as long as its
file is there, whatever came into force since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gateway.clocks.calendar import Calendar, LayeredCalendar, StateCouncilCalendar, WeekdayCalendar
from gateway.clocks.limits import CalendarKind, Form, FormKind, Limit, LimitKind, Rule, RuleKind, Supplement


class UnknownPack(LookupError):
    """There is no such pack, or none in force on that day; says which there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One version of a rule pack.

    Args:
        name: a slug, such as `china-809`.
        effective: the local day from which it is in force.
        title_en, title_zh: its name in words.
        source: the citation of the whole.
        calendar: what its working days are counted on.
        zone: the IANA name of the zone whose days are counted.
        supplement: what an incomplete request does to the clock.
        limits, rules, forms: by kind; a kind that is absent is not regulated.
        bases: the refs of the packs it tightens, the nearest first.
    """

    name: str
    effective: date
    title_en: str
    title_zh: str
    source: str
    calendar: CalendarKind
    zone: str
    supplement: Supplement
    limits: Mapping[LimitKind, Limit] = field(default_factory=dict)
    rules: Mapping[RuleKind, Rule] = field(default_factory=dict)
    forms: Mapping[FormKind, Form] = field(default_factory=dict)
    bases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("limits", "rules", "forms"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def ref(self) -> str:
        """The version's identity, such as `china-809@2025-08-01`, to be kept with every case."""
        return f"{self.name}@{self.effective.isoformat()}"

    @property
    def tzinfo(self) -> ZoneInfo:
        """The zone, ready for `gateway.clocks.deadlines`."""
        return ZoneInfo(self.zone)

    def requires(self, kind: RuleKind) -> bool:
        """Whether the pack imposes a duty."""
        rule = self.rules.get(kind)
        return rule is not None and rule.required

    def required_fields(self, kind: FormKind) -> tuple[str, ...]:
        """The fields that something must state; none when the pack says nothing."""
        form = self.forms.get(kind)
        return form.fields if form else ()


class RulePacks:
    """Every version of every pack that a deployment knows.

    Raises:
        ValueError: two of `packs` have the same ref.
    """

    def __init__(self, packs: Iterable[Pack]) -> None:
        self._by_ref: dict[str, Pack] = {}
        self._by_name: dict[str, list[Pack]] = {}
        for pack in sorted(packs, key=lambda each: each.effective):
            if pack.ref in self._by_ref:
                raise ValueError(f"{pack.ref} is given twice")
            self._by_ref[pack.ref] = pack
            self._by_name.setdefault(pack.name, []).append(pack)

    @property
    def names(self) -> tuple[str, ...]:
        """The packs' names, sorted."""
        return tuple(sorted(self._by_name))

    @property
    def refs(self) -> tuple[str, ...]:
        """Every version's ref, sorted."""
        return tuple(sorted(self._by_ref))

    def at(self, name: str, day: date) -> Pack:
        """The version of a pack that is in force on a local day.

        Raises:
            UnknownPack: there is no such pack, or `day` is before its first version.
        """
        versions = self._by_name.get(name)
        if versions is None:
            raise UnknownPack(f"there is no such rule pack; there are {', '.join(self.names) or 'none'}")
        in_force = [each for each in versions if each.effective <= day]
        if not in_force:
            raise UnknownPack(f"{name} is in force from {versions[0].effective}, and not yet on {day}")
        return in_force[-1]

    def by_ref(self, ref: str) -> Pack:
        """The version a case began under.

        Raises:
            UnknownPack: its file is gone; the case cannot be judged until it is back.
        """
        pack = self._by_ref.get(ref)
        if pack is None:
            raise UnknownPack(
                f"there is no such version of a rule pack; there are {', '.join(self.refs) or 'none'}; "
                "put back the file of the version the case began under"
            )
        return pack


def calendar_for(pack: Pack, operator: Calendar | None = None) -> Calendar:
    """The calendar a pack counts on.

    Args:
        pack: names the kind.
        operator: what the deployment loaded; goes before the official data for the days it knows.
    """
    official: Calendar = WeekdayCalendar()
    if pack.calendar is CalendarKind.STATE_COUNCIL:
        official = StateCouncilCalendar()
    return LayeredCalendar((official,) if operator is None else (operator, official))
