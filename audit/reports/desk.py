"""What every report needs: the ledger, who asks, and that the report is a record before anybody reads it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import sqlalchemy as sa

from audit.ledger import Ledger
from audit.search.find import PAGE_BYTES, Finder
from audit.search.lookup import Lookup, record_lookup
from audit.search.query import Found
from isthmus.errors import InvalidArgument
from isthmus.rpc import Caller
from isthmus.rpc.paging import cursor_of

Reader = Callable[[Caller], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where reports are made.

    Attributes:
        ledger: the ledger.
        read: opens a snapshot for a caller whose certificate was not denied, until the caller's deadline.
        clock: returns the present time, UTC-aware.
        finder: finds and counts records.
    """

    ledger: Ledger
    read: Reader
    clock: Callable[[], datetime]
    finder: Finder


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A report that somebody asked for: who, by which method, why, and when it came."""

    who: Caller
    action: str
    reason: str
    received: datetime

    def remaining(self, now: datetime) -> float | None:
        """Seconds that are left of the caller's deadline; None where it set none."""
        return None if self.who.deadline is None else max(0.0, (self.who.deadline - now).total_seconds())


def record_report(desk: Desk, ask: Ask, *, found: int, token: str = "", resource: str = "") -> None:
    """Put the report on record.

    Args:
        desk: where it was made.
        ask: what was asked.
        found: how many records or lines it shows.
        token: of the person that it is about.
        resource: the contract or department that it is about.

    Raises:
        LedgerUnavailable: it is not durable, so the report must not be shown.
    """
    lookup = Lookup(
        caller=ask.who,
        action=ask.action,
        texts={"reason": ask.reason},
        subject_token=token,
        resource=resource,
        found=found,
    )
    record_lookup(desk.ledger, lookup, received=ask.received, deadline_s=ask.remaining(desk.clock()))


def page_of(found: Iterable[Found], size: int) -> tuple[list[Found], bool]:
    """At most `size` records of at most 1 MiB together, but one at least; and whether there are more."""
    page: list[Found] = []
    room = PAGE_BYTES
    for each in islice(found, size + 1):
        room -= len(each.leaf)
        if page and (len(page) == size or room < 0):
            return page, True
        page.append(each)
    return page, False


def span_left(request: object) -> tuple[int, int] | None:
    """From where to where in the log the rest of a report lies, as its page token says; None for the first page.

    The end stays where it was for the first page: each page of a report is itself one more record.

    Raises:
        InvalidArgument: the token is none that this service gave.
    """
    cursor = cursor_of(request)
    if cursor is None:
        return None
    numbers = [part for part in cursor if isinstance(part, int) and part >= 0]
    if len(numbers) != 2 or len(cursor) != 2:
        raise InvalidArgument("page_token", "is not a token that this service gave; begin again without one")
    return numbers[0], numbers[1]
