"""What was seen and what was usual, in words, with the numbers it was judged by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from audit.reports.anomalies.bursts import Burst
from audit.reports.anomalies.found import (
    Anomaly,
    Kind,
    Tally,
    at,
    caller_filter,
    contract_filter,
    person_filter,
)
from audit.reports.anomalies.history import Unusual
from audit.reports.anomalies.hours import Stretch
from audit.reports.plain import counted, resource_of

_TIME: Final = "%Y-%m-%d %H:%M UTC"


def volume_story(found: Unusual) -> Anomaly:
    """Unusually many exchanges under a contract."""
    words = (
        f"{counted(found.tally.count, 'exchange')} under {found.tally.key} {found.stretch}; {_usual(found)}"
    )
    return _anomaly(
        Kind.VOLUME, words, found.tally, found.tally.key, contract_filter(found.tally), found.weight
    )


def off_hours_story(found: Unusual) -> Anomaly:
    """A system at work when it usually is not."""
    resource = resource_of(found.tally.key)
    words = f"{counted(found.tally.count, 'exchange')} of {resource} {found.stretch}; {_usual(found)}"
    listed = caller_filter(found.tally, "kind = DECISION")
    return _anomaly(Kind.OFF_HOURS, words, found.tally, resource, listed, found.weight)


def persons_story(found: Unusual) -> Anomaly:
    """A system that asked about unusually many persons."""
    resource = resource_of(found.tally.key)
    persons = counted(found.tally.count, "different person")
    words = f"{resource} asked about {persons} {found.stretch}; {_usual(found)}"
    listed = caller_filter(found.tally, "kind = DECISION")
    return _anomaly(Kind.MANY_SUBJECTS, words, found.tally, resource, listed, found.weight)


def person_story(stretch: Stretch, tally: Tally, systems: int, *, least: int) -> Anomaly:
    """A person whom somebody asked about very often. Who that is stays in the token."""
    asked = f"{counted(tally.count, 'exchange')} of {counted(systems, 'system')}"
    words = f"one person was asked about in {asked} {stretch}; from {least} on that is always worth a look"
    return _anomaly(Kind.MANY_SUBJECTS, words, tally, "", person_filter(tally), tally.count / least)


def burst_story(burst: Burst, *, least: int, window: int) -> Anomaly:
    """A burst of denials."""
    resource = resource_of(burst.denials.key)
    words = (
        f"{resource} was denied {counted(burst.denials.count, 'time')} from {at(burst.denials.first_ms):{_TIME}} to "
        f"{at(burst.denials.last_ms):{_TIME}}; at the worst {burst.peak:,} times within {counted(window, 'minute')}, "
        f"which was {burst.share:.0%} of what it asked; from {least} on that is a burst"
    )
    listed = caller_filter(burst.denials, "decision = DENY")
    return _anomaly(Kind.DENIAL_BURST, words, burst.denials, resource, listed, burst.peak / least)


def emergency_story(open_uses: Sequence[tuple[Tally, datetime | None]], *, until: datetime) -> Anomaly:
    """Emergency uses of one contract that nobody has reviewed, in the order of the log."""
    tallies = [tally for tally, _ in open_uses]
    contract = tallies[0].key
    uses = counted(len(tallies), "emergency use")
    dues = [due for _, due in open_uses if due is not None]
    oldest = min(dues, default=None)
    words = f"{uses} (紧急调用) under {contract}: no review is in the log"
    words += f"; the oldest was due at {oldest:{_TIME}}" if oldest else ""
    if silent := len(tallies) - len(dues):
        words += f"; of {silent} the log does not say when it was due"
    listed = " OR ".join(f"index = {each.first}" for each in tallies)
    late = max(0.0, (until - (oldest or at(tallies[0].first_ms))).total_seconds() / 86_400)
    whole = Tally(
        key=contract,
        records=len(tallies),
        count=len(tallies),
        first=tallies[0].first,
        last=tallies[-1].last,
        first_ms=tallies[0].first_ms,
        last_ms=tallies[-1].last_ms,
    )
    return _anomaly(Kind.EMERGENCY_UNREVIEWED, words, whole, contract, listed, 2 + late)


def _usual(found: Unusual) -> str:
    usual = found.usual
    return (
        f"on {usual.size} {found.stretch.sort.many} before, {usual.middle:,.4g} were usual (the median), "
        f"give or take {usual.spread:,.3g}; from {found.limit:,} on it is unusual"
    )


def _anomaly(kind: Kind, words: str, tally: Tally, resource: str, listed: str, weight: float) -> Anomaly:
    return Anomaly(
        kind=kind,
        summary=f"{words}.",
        resource=resource,
        start_ms=tally.first_ms,
        end_ms=tally.last_ms,
        records=tally.records,
        filter=listed,
        weight=weight,
    )
