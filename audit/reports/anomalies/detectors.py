"""Finds anomalies of each kind in a period of the log."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from audit.record import milliseconds
from audit.reports.anomalies import queries
from audit.reports.anomalies.bursts import BurstFinder
from audit.reports.anomalies.found import Anomaly, Tally, can_be_named
from audit.reports.anomalies.history import History, Judge, Unusual
from audit.reports.anomalies.hours import Hours, Stretch, WorkCalendar
from audit.reports.anomalies.limits import AnomalyLimits
from audit.reports.anomalies.stories import (
    burst_story,
    emergency_story,
    off_hours_story,
    person_story,
    persons_story,
    volume_story,
)
from audit.reports.period import Period
from audit.reports.plain import resource_of
from audit.search.facts import LedgerFacts
from audit.search.query import compile_filter

CANDIDATES: Final = 10_000
"""How many tallies of one kind, and how many open emergencies, are looked at closely; a note says when there were more."""
_NAMED: Final = 5
_AT_ONCE: Final = 50
"""Emergencies that one filter lists: a filter holds 64 restrictions."""
_OVERDUE: Final = "EMERGENCY_REVIEW_OVERDUE"
_REVIEWED: Final = "EMERGENCY_REVIEWED"
Counter = Callable[[queries.Span, int], Iterable[Tally]]
Cut = Callable[[datetime, datetime], Iterator[Stretch]]


@dataclass(slots=True)
class Detectors:
    """One search for anomalies.

    Args:
        connection: a snapshot of the ledger.
        size: the number of its records.
        period: where they are looked for.
        limits: what is worth a look.
    """

    connection: sa.Connection
    size: int
    period: Period
    limits: AnomalyLimits
    notes: list[str] = field(default_factory=list)
    _hours: Hours = field(init=False)
    _facts: LedgerFacts = field(init=False)

    def __post_init__(self) -> None:
        calendar = WorkCalendar()
        limits = self.limits
        zone = ZoneInfo(limits.zone)
        self._hours = Hours(zone, limits.night_begins, limits.night_ends, calendar.is_worked)
        self._facts = LedgerFacts(self.connection, self.size)
        days = self._hours.dates(self._history_start, self.period.until)
        if years := calendar.assumed_years(days):
            self._note(
                f"the calendar of working days has no notice for {', '.join(map(str, years))}: Monday to Friday "
                "were taken as worked"
            )

    def volume(self) -> Iterator[Anomaly]:
        """Contracts with far more exchanges on a day than on earlier days of the same sort."""

        def count(span: queries.Span, least: int) -> Iterable[Tally]:
            found = queries.tallies(self.connection, queries.CONTRACT, span, least=least)
            return (each for each in found if can_be_named(each.key))

        least = self.limits.volume_least
        return map(volume_story, self._compared(queries.CONTRACT, count, self._hours.days, least, "volume"))

    def off_hours(self) -> Iterator[Anomaly]:
        """Systems at work in nights or on days of rest in which they usually are not."""

        def count(span: queries.Span, least: int) -> Iterable[Tally]:
            return queries.tallies(self.connection, queries.CALLER, span, least=least)

        least = self.limits.off_hours_least
        found = self._compared(queries.CALLER, count, self._hours.off_hours, least, "hours of work")
        return map(off_hours_story, found)

    def many_subjects(self) -> Iterator[Anomaly]:
        """Systems that asked about far more persons on a day than before, and persons who were asked about very often."""

        def count(span: queries.Span, least: int) -> Iterable[Tally]:
            return queries.persons(self.connection, span, least=least)

        least = self.limits.subjects_least
        found = self._compared(queries.CALLER, count, self._hours.days, least, "number of persons")
        for each in found:
            # Those without a person, as streams are, lie between the others, and the filter lists them too.
            span = (each.tally.first, each.tally.last + 1)
            listed = queries.exchanges_of(self.connection, each.tally.key, span)
            yield persons_story(replace(each, tally=replace(each.tally, records=listed)))
        for stretch, span in self._spans(self._hours.days(self.period.since, self.period.until)):
            often = queries.often_asked(self.connection, span, least=self.limits.person_least)
            for tally, systems in often:
                yield person_story(stretch, tally, systems, least=self.limits.person_least)

    def denial_bursts(self) -> Iterator[Anomaly]:
        """Systems that were denied again and again within a short time."""
        limits = self.limits
        finder = BurstFinder(limits.denial_least, limits.denial_window_minutes, limits.denial_share)
        for _, minutes in queries.minutes(self.connection, self._span(self.period.since, self.period.until)):
            for burst in finder.find(minutes):
                yield burst_story(burst, least=limits.denial_least, window=limits.denial_window_minutes)

    def emergencies(self) -> Iterator[Anomaly]:
        """Emergency uses that nobody has reviewed, although it was due before the period ended; by contract."""
        found = list(islice(self._open_emergencies(), CANDIDATES + 1))
        if len(found) > CANDIDATES:
            self._note(
                f"there are over {CANDIDATES:,} emergency uses without review: not all are in the report"
            )
        found = sorted(found[:CANDIDATES], key=lambda each: (each[0].key, each[0].first))
        contracts = sorted({tally.key for tally, _ in found})
        for contract in contracts:
            mine = [each for each in found if each[0].key == contract]
            for start in range(0, len(mine), _AT_ONCE):
                yield emergency_story(mine[start : start + _AT_ONCE], until=self.period.until)

    @property
    def _history_start(self) -> datetime:
        return self.period.since - timedelta(days=self.limits.history_days)

    def _compared(
        self, by: sa.Column[str], count: Counter, cut: Cut, least: int, what: str
    ) -> Iterator[Unusual]:
        """What is unusual among the tallies of the period, by their own history."""
        period = cut(self.period.since, self.period.until)
        every = ((stretch, tally) for stretch, span in self._spans(period) for tally in count(span, least))
        found = list(islice(every, CANDIDATES + 1))
        if len(found) > CANDIDATES:
            self._note(
                f"over {CANDIDATES:,} tallies reach the least {what}: the later ones were not compared"
            )
            found.pop()
        history = self._history(by, {tally.key for _, tally in found}, count, cut)
        judge = Judge(self.limits.deviations, least, self.limits.min_history)
        yield from judge.unusual(found, history)
        if judge.unjudged:
            self._note(_unjudged(sorted(judge.unjudged), what, self.limits.min_history))

    def _history(self, by: sa.Column[str], keys: set[str], count: Counter, cut: Cut) -> History:
        span = self._span(self._history_start, self.period.since)
        if not keys:
            return History({})
        began = {key: at for key, at in queries.first_positions(self.connection, by, span) if key in keys}
        # Who was at work before, and then nothing at all for weeks, has a history: that of doing nothing.
        began |= dict.fromkeys(queries.seen_before(self.connection, by, keys - began.keys(), span[0]), 0)
        history = History(began)
        for stretch, part in self._spans(cut(self._history_start, self.period.since)):
            counts = {each.key: each.count for each in count(part, 1) if each.key in keys}
            history.add(stretch.sort, part[1], counts)
        return history

    def _open_emergencies(self) -> Iterator[tuple[Tally, datetime | None]]:
        """Each with the time its review was due, however old; and those of which the log says nothing of that, and whose
        time after `emergency_review_hours` fell into the period, with None.
        """
        end = self._span(self.period.since, self.period.until)[1]
        for exchange, leaves in queries.review_records(self.connection, end):
            due = _due(leaves)
            tally = queries.decision_of(self.connection, exchange) if due else None
            if tally is not None:
                yield tally, due
        patience = timedelta(hours=self.limits.emergency_review_hours)
        span = self._span(self.period.since - patience, self.period.until - patience)
        condition = compile_filter("emergency = true AND decision = ALLOW")
        for exchange, tally in queries.emergencies(self.connection, span, condition):
            if not queries.reviewed(self.connection, exchange, end):
                yield tally, None

    def _spans(self, stretches: Iterable[Stretch]) -> Iterator[tuple[Stretch, queries.Span]]:
        for stretch in stretches:
            span = self._span(stretch.start, stretch.end)
            if span[0] < span[1]:
                yield stretch, span

    def _span(self, start: datetime, end: datetime) -> queries.Span:
        return self._facts.since(milliseconds(start)), self._facts.since(milliseconds(end))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _due(leaves: Iterable[bytes]) -> datetime | None:
    """When the review was due that the clerk missed; None where it did not, or one came after all."""
    due = None
    for leaf in leaves:
        told = json.loads(leaf).get("change", {})
        if told.get("event") == _REVIEWED:
            return None
        if told.get("event") == _OVERDUE:
            due = datetime.fromisoformat(told["review_due"]).astimezone(UTC)
    return due


def _unjudged(keys: list[str], what: str, least: int) -> str:
    named = ", ".join(map(resource_of, keys[:_NAMED])) + (
        f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    )
    return f"the {what} was not judged of {named}: the history has fewer than {least} days or nights of the same kind"
