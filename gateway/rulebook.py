"""The rule packs of a deployment, which of them new cases begin under, and the days its calendars know."""

from datetime import datetime, timedelta
from pathlib import Path

from gateway.clocks.calendar import Calendar
from gateway.clocks.calendar_file import load_calendar
from gateway.clocks.pack import Pack, RulePacks, UnknownPack, calendar_for
from gateway.clocks.pack_folder import load_packs

DEFAULT_PACK = "neutral"


class Rulebook:
    """Answers for every case, old or new, which version of a rule pack holds for it; safe from many threads.

    Args:
        packs: every version of every pack.
        name: of the pack that new cases begin under.
        calendar: what the deployment loaded itself; goes before the official data for the days it knows.

    Raises:
        UnknownPack: there is no pack of that name.
    """

    def __init__(
        self, packs: RulePacks, name: str = DEFAULT_PACK, *, calendar: Calendar | None = None
    ) -> None:
        if name not in packs.names:
            raise UnknownPack(f"there is no rule pack {name}; there are {', '.join(packs.names) or 'none'}")
        self._packs = packs
        self._name = name
        # A calendar is thousands of days: made once for each version, and not for each case.
        self._calendars = {ref: calendar_for(packs.by_ref(ref), calendar) for ref in packs.refs}

    @classmethod
    def load(
        cls, name: str = DEFAULT_PACK, *, folder: Path | None = None, calendars: Path | None = None
    ) -> "Rulebook":
        """Reads the packs that come with the software, and a deployment's own packs and calendars.

        Raises:
            ConfigError: a file cannot be used; names it.
            UnknownPack: there is no pack of that name.
        """
        calendar = None if calendars is None else load_calendar(calendars)
        return cls(load_packs(folder), name, calendar=calendar)

    @property
    def refs(self) -> tuple[str, ...]:
        """Every version that a case can be judged under."""
        return self._packs.refs

    def current(self, now: datetime) -> Pack:
        """The version that a case begins under at `now`, by the day in the pack's own zone.

        Raises:
            UnknownPack: the pack is not in force yet.
        """
        # Whatever its zone, the local day is at most one day ahead of the day in UTC.
        near = self._packs.at(self._name, now.date() + timedelta(days=1))
        return self._packs.at(self._name, now.astimezone(near.tzinfo).date())

    def of(self, ref: str) -> Pack | None:
        """The version a case began under; None when its file is gone, so that nobody can judge the case here."""
        try:
            return self._packs.by_ref(ref)
        except UnknownPack:
            return None

    def calendar(self, pack: Pack) -> Calendar:
        """The calendar that a pack's working days are counted on."""
        return self._calendars[pack.ref]
