"""The figures of the log as it is now: a fold that follows the ledger, so that a report need not read it from the beginning."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from audit.background import Background
from audit.ledger import Ledger
from audit.ledger.schema import records
from audit.ledger.tree import Head
from audit.sharing.days import day_of, parse_day
from audit.sharing.fold import SharingFold
from audit.sharing.report import DEFAULT_DAYS, make_report
from isthmus.errors import InvalidArgument, Unavailable
from isthmus.reasons import Reason
from isthmus.v1.sharing_service_pb2 import ReportSharingResponse

_CHUNK: Final = 2_000
_EVERY_S: Final = 1.0
_WORTH_WAITING: Final = 20_000
"""Records that a caller waits for; beyond that it is told to come back."""
_AGAIN: Final = timedelta(seconds=5)
_LEAVES: Final = (
    sa.select(records.c.leaf)
    .where(records.c.idx >= sa.bindparam("first"), records.c.idx < sa.bindparam("end"))
    .order_by(records.c.idx)
)


class LiveSharing:
    """Follows a ledger; safe to use from many threads. `start` it; `stop` it in any case.

    Args:
        ledger: the ledger.
        clock: returns the present time, UTC-aware.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._turn = threading.Lock()
        self._fold = SharingFold()
        self._stopping = threading.Event()
        self._following = Background("sharing", self._follow, _EVERY_S)

    def start(self) -> None:
        """Follow the ledger from now on."""
        self._following.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        self._following.stop()

    @property
    def behind(self) -> int:
        """How many records are not taken in yet.

        Raises:
            Unavailable: the ledger cannot be read.
        """
        return max(0, self._ledger.newest().size - self._fold.size)

    def report(self, first_day: str = "", last_day: str = "") -> ReportSharingResponse:
        """Returns the report about the log as it is now.

        Args:
            first_day: of UTC, such as `2026-11-24`; 29 days before the last one unless given.
            last_day: today unless given.

        Raises:
            InvalidArgument: there are no such days, or earlier ones than are kept ready.
            Unavailable: the ledger cannot be read, or much of it has still to be.
        """
        today = day_of(self._clock())
        last = parse_day(last_day, field="last_day") if last_day else today
        first = parse_day(first_day, field="first_day") if first_day else max(0, last - DEFAULT_DAYS + 1)
        if not first <= last <= today:
            raise InvalidArgument("last_day", "must be neither before first_day nor after today")
        with self._turn:
            head = self._catch_up()
            if first < self._fold.oldest_day:
                raise InvalidArgument(
                    "first_day",
                    f"lies before the {self._fold.kept} days that are kept ready; make the report from a copy of the log, "
                    "with isthmus report recompute",
                )
            return make_report(self._fold, first, last, root=head.root)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            with self._turn, self._ledger.read() as connection:
                head = self._ledger.head(connection)
                if self._fold.size >= head.size:
                    return
                self._take(connection, min(head.size, self._fold.size + _CHUNK))

    def _catch_up(self) -> Head:
        with self._ledger.read() as connection:
            head = self._ledger.head(connection)
            if head.size - self._fold.size > _WORTH_WAITING:
                words = (
                    f"{head.size - self._fold.size} records of the log are still to be read for this report"
                )
                raise Unavailable(Reason.OVERLOADED, words, retry_after=_AGAIN)
            self._take(connection, head.size)
            return head

    def _take(self, connection: sa.Connection, end: int) -> None:
        found = connection.execute(_LEAVES, {"first": self._fold.size, "end": end})
        for leaf in found.scalars():
            self._fold.add(leaf)
