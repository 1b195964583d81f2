"""How long the first page of each search takes on a ledger of many records.

    python -m tests.bench.audit_scale --records 1000000 --folder /var/tmp/scale

The ledger is made once and used again. Each search is made through the audit service's own code, on the newest snapshot,
and the record that it leaves is made durable: what a caller waits for, without the network. The worst case is measured
too, in which the newest 16,384 records are in no segment yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from audit.ledger import Ledger
from audit.record import AccessRecord, Kind
from audit.reports.words import to_message
from audit.search.count import count_records
from audit.search.find import Finder, Search
from audit.search.keep import SegmentKeeper
from audit.search.lookup import SubjectIndex, commit_texts
from audit.search.segments import SEGMENT
from audit.search.store import SegmentStore, beside
from isthmus.identity import Identity, Role
from isthmus.ids import new_exchange
from isthmus.v1.common_pb2 import Subject
from tests.bench.audit_ledger import KEY, TOKENS, build, open_ledger
from tests.bench.audit_town import SCHEME
from tests.bench.progress import progress

GOAL_MS: Final = 100.0
AUDITOR: Final = Identity("data.example", Role.AUDITOR, None, "wang")
OFFICER: Final = Identity("data.example", Role.OFFICER, "tax", "li")
PEOPLE_PER_RECORD: Final = 0.2
COUNTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("", ()),
    ("", ("decision",)),
    ("", ("consumer", "provider", "purpose")),
    ("decision = DENY", ("reason",)),
    ("", ("month", "system")),
    ("consumer = departments/tax", ("day",)),
)


def searches(last: str, records: int) -> list[str]:
    """What auditors ask: each field, what is rare, what is nowhere, and combinations."""
    old = f"index < {records // 200}"
    return [
        "",
        "consumer = departments/tax",
        "consumer = departments/nobody",
        "provider = departments/health",
        "dataset = departments/health/datasets/person",
        "dataset = departments/health/datasets/none",
        "contract = contracts/natural-resources-civil-registry-0",
        "contract = contracts/nobody@1",
        "purpose = 婚姻登记初审",
        "purpose = 没有这个用途",
        "purpose : 婚姻",
        "purpose : 没有",
        "legal_basis = CONSENT",
        "legal_basis = CONTRACT",
        "decision = DENY",
        "decision = ERROR",
        "reason = QUOTA_EXHAUSTED",
        "reason = DEPARTMENT_TIMEOUT",
        "reason = POLICY_ERROR",
        "system = departments/tax/systems/system-1",
        "system = departments/tax/systems/none",
        "case_reference = 案-2026-0000001",
        "case_reference = 没有",
        "case_reference : 9999",
        "case_reference : 没有",
        "mode = STREAM",
        "kind = EXPORT",
        "emergency = true",
        "emergency = false AND decision = ERROR",
        "action = SignContract",
        "resource = contracts/nobody@1",
        "caller : auditor",
        "caller : nobody",
        f"exchange = {last}",
        "exchange = exchanges/01a209c9-b5bc-764f-96c7-f488ff7ebc42",
        'time < "2025-11-02T00:00:00Z"',
        'time >= "2026-03-01T00:00:00Z" AND time < "2026-03-02T00:00:00Z" AND decision = DENY',
        f"index >= {records // 2} AND index < {records // 2 + 9}",
        "stream = OPEN",
        "stream = ENDED",
        "consumer = departments/tax AND provider = departments/health",
        "consumer = departments/tax AND decision = DENY AND reason = PROVIDER_VETO",
        "consumer = departments/tax AND decision = ERROR",
        f"consumer = departments/tax AND {old}",
        "purpose : 婚姻 AND emergency = true AND mode = VERIFY",
        "decision = ERROR OR reason = POLICY_ERROR OR kind = EXPORT",
        "NOT (decision = ALLOW OR decision = DENY OR kind = CONTROL OR kind = LOOKUP OR kind = STREAM_END)",
        "NOT purpose : 核验 AND emergency = true",
        "(consumer = departments/tax OR consumer = departments/health) AND NOT mode = QUERY AND case_reference : 77",
        "legal_basis = VITAL_INTEREST AND case_reference = 没有 AND NOT emergency = true",
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """A search, how many records its first page holds, whether there are more, and how long it took, ms."""

    search: str
    who: str
    found: int
    more: bool
    p50: float
    p99: float


class Desk:
    """An audit service without a network.

    Args:
        ledger: the ledger.
        finder: finds its records.
    """

    def __init__(self, ledger: Ledger, finder: Finder) -> None:
        self._ledger = ledger
        self._finder = finder

    def first_page(self, search: Search) -> tuple[int, bool]:
        """How many records the first page of a search holds, and whether there are more."""
        with self._ledger.read() as connection:
            page = self._finder.page(connection, search, before=None, limit=50)
        messages = [to_message(each.index, each.leaf) for each in page.found]
        self._record(search, len(messages))
        return len(page.found), page.next is not None

    def count(self, search: Search, by: tuple[str, ...]) -> tuple[int, bool]:
        """How many records a search finds in all, and whether there are more than 50 lines."""
        with self._ledger.read() as connection:
            counts = count_records(self._finder, connection, search, by=by, limit=50)
        self._record(search, counts.total)
        return counts.total, counts.truncated

    def _record(self, search: Search, found: int) -> None:
        commitments, detail = commit_texts({"filter": search.filter})
        now = datetime.now(UTC)
        record = AccessRecord(
            exchange=str(new_exchange(now)),
            kind=Kind.LOOKUP,
            at={"in": now},
            caller=search.identity.uri,
            row_count=found,
            action="ListRecords",
            change=commitments,
        )
        self._ledger.transact(lambda transaction: transaction.append(record, detail=detail))


def measure(action: Callable[[], tuple[int, bool]], *, times: int, search: str, who: str) -> Timing:
    """Does it so many times."""
    taken: list[float] = []
    result = (0, False)
    for _ in range(times):
        began = time.perf_counter()
        result = action()
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return Timing(search, who, *result, statistics.median(taken), taken[min(times - 1, int(times * 0.99))])


def run(path: Path, *, times: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Measures everything on the ledger at a path."""
    store = SegmentStore(beside(str(path)), KEY)
    with closing(open_ledger(path, lambda: datetime.now(UTC))) as ledger, closing(store):
        keeper = SegmentKeeper(ledger.read, store)
        began = time.perf_counter()
        report("keeping columns")
        made = keeper.keep()
        kept_s = time.perf_counter() - began
        desk = Desk(ledger, Finder(store))
        size = ledger.newest().size
        found = {"kept": _all(ledger, desk, times=times, report=report)}
        counts = []
        for text, by in COUNTS:
            what = f"count {text} by {', '.join(by) or 'nothing'}"
            report(what)
            action = partial(desk.count, Search(AUDITOR, text), by)
            counts.append(measure(action, times=max(3, times // 4), search=what, who="auditor"))
        # As long before the next segment is kept as can be: 16,384 records are read from the ledger itself.
        store.forget(size // SEGMENT - 1)
        found["worst"] = _all(ledger, desk, times=max(5, times // 4), report=report)
        keeper.keep()
    return {
        "records": size,
        "segments_made": made,
        "segments_s": kept_s,
        "goal_ms": GOAL_MS,
        "searches": {name: [_members(each) for each in timings] for name, timings in found.items()},
        "counts": [_members(each) for each in counts],
    }


def _all(ledger: Ledger, desk: Desk, *, times: int, report: Callable[[str], None]) -> list[Timing]:
    last = _last_exchange(ledger)
    timings = []
    for text in searches(last, ledger.newest().size):
        report(f"searching: {text}")
        for who, identity in (("auditor", AUDITOR), ("officer", OFFICER)):
            search = Search(identity, text)
            timings.append(measure(partial(desk.first_page, search), times=times, search=text, who=who))
    subjects = SubjectIndex(TOKENS, {SCHEME: ()})
    for number, words in ((7, "a person"), (10**12, "a person nobody asked about")):
        _, tokens = subjects.find(Subject(scheme=SCHEME, id=f"1101{number:014}"))
        search = Search(AUDITOR, "", tokens)
        timings.append(measure(partial(desk.first_page, search), times=times, search=words, who="auditor"))
    return timings


def _last_exchange(ledger: Ledger) -> str:
    with ledger.read() as connection:
        query = "SELECT exchange FROM records WHERE idx > 0 AND kind = 'DECISION' ORDER BY idx DESC LIMIT 1"
        return str(connection.exec_driver_sql(query).scalar_one())


def _members(timing: Timing) -> dict[str, Any]:
    return {
        "search": timing.search,
        "who": timing.who,
        "found": timing.found,
        "more": timing.more,
        "p50_ms": round(timing.p50, 2),
        "p99_ms": round(timing.p99, 2),
    }


def _print(results: dict[str, Any]) -> None:
    for name, timings in (*results["searches"].items(), ("counts", results["counts"])):
        print(f"\n{name}: {results['records']:,} records, milliseconds")
        print(f"{'p50':>8} {'p99':>8} {'found':>8}  search")
        for each in sorted(timings, key=lambda each: -float(each["p50_ms"])):
            more = "+" if each["more"] else " "
            shown = f"{each['search'] or '(everything)'} [{each['who']}]"
            print(f"{each['p50_ms']:8.1f} {each['p99_ms']:8.1f} {each['found']:7}{more}  {shown}")


def main() -> int:
    """Makes the ledger where there is none, measures, and prints; 1 where a first page took longer than 100 ms."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, help="where the ledger is made and kept; a temporary one unless given"
    )
    parser.add_argument("--times", type=int, default=20, help="how often each search is made")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    with _folder(given.folder) as folder, progress() as report:
        path = folder / f"ledger-{given.records}.db"
        people = max(10, int(given.records * PEOPLE_PER_RECORD))
        build(path, given.records, people=people, report=report)
        results = run(path, times=given.times, report=report)
    _print(results)
    if given.json:
        given.json.write_text(json.dumps(results, ensure_ascii=False, indent=2), encoding="utf-8")
    slow = [
        each
        for each in results["searches"]["kept"] + results["searches"]["worst"]
        if each["p50_ms"] > GOAL_MS
    ]
    print(f"\n{len(slow)} of the first pages took longer than {GOAL_MS:.0f} ms")
    return 1 if slow else 0


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


if __name__ == "__main__":
    sys.exit(main())
