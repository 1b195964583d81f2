"""The part of the log that a report looks at."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from audit.record import milliseconds
from audit.search.facts import LedgerFacts
from isthmus.errors import InvalidArgument
from isthmus.terms import instant


@dataclass(frozen=True, slots=True)
class Period:
    """From a time on until before another, UTC."""

    since: datetime
    until: datetime


def period_of(
    since: Timestamp | None, until: Timestamp | None, *, default: datetime, now: datetime, longest: timedelta
) -> Period:
    """The period that a request names.

    Args:
        since: its beginning; `default` unless given.
        until: its end; the end of the log, just after `now`, unless given.
        default: where it begins.
        now: the present time.
        longest: how long it may be.

    Raises:
        InvalidArgument: it ends before it begins, or is too long.
    """
    # Nobody's clock is exact: what was logged a moment ago belongs to the report of now.
    found = Period(
        default if since is None else instant(since),
        now + timedelta(minutes=1) if until is None else instant(until),
    )
    if found.until <= found.since:
        raise InvalidArgument("until", "must be later than since, so that the period holds something")
    if found.until - found.since > longest:
        raise InvalidArgument("since", f"is too early: a report covers at most {longest.days} days")
    return found


def span_of(facts: LedgerFacts, period: Period) -> tuple[int, int]:
    """The positions of the records of a period, from the first up to before the second."""
    return facts.since(milliseconds(period.since)), facts.since(milliseconds(period.until))
