"""A ledger of one whole segment and some records more, and what is asked of it with the columns and without."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from audit.ledger import Ledger
from audit.search.access import visible_to
from audit.search.find import Finder, Search
from audit.search.query import compile_filter, newest_first
from audit.search.segments import SEGMENT
from audit.search.store import beside
from isthmus.identity import Identity, Role

AUDITOR = Identity("data.example", Role.AUDITOR, None, "wang")
OFFICER = Identity("data.example", Role.OFFICER, "tax", "li")
RECORDS = SEGMENT + 700


def plainly(ledger: Ledger, filter_: str, who: Identity = AUDITOR) -> list[int]:
    """What the ledger itself answers, all at once."""
    with ledger.read() as connection:
        conditions = [*visible_to(who), compile_filter(filter_)]
        return [each.index for each in newest_first(connection, conditions, before=None, limit=RECORDS)]


def paged(
    ledger: Ledger, finder: Finder, filter_: str, who: Identity = AUDITOR, *, limit: int = 1000
) -> list[int]:
    """What a finder answers, page by page."""
    found: list[int] = []
    before: int | None = None
    while True:
        with ledger.read() as connection:
            page = finder.page(connection, Search(who, filter_), before=before, limit=limit)
        assert len(page.found) <= limit
        found += [each.index for each in page.found]
        if page.next is None:
            return found
        assert before is None or page.next < before
        before = page.next


def copied(home: Path, folder: Path) -> Path:
    """A copy of a ledger and its columns in a folder."""
    path = folder / "ledger.db"
    for source, target in ((home, path), (beside(str(home)), beside(str(path)))):
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    return path
