"""The report of who looked at a person, as a document for them: on a terminal, as text, and as a page to be printed."""

import html
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from pathlib import Path
from typing import Final

import typer

from isthmus.cli.local_time import day_of, zone_words
from isthmus.cli.output import clean
from isthmus.v1.audit_service_pb2 import Record, RecordKind, SubjectAccess
from isthmus.v1.common_pb2 import Decision, Mode

TITLE: Final = "Who looked at this person's data (个人信息查询记录)"
_STYLES: Final = {
    "emergency": "bold red",
    "given": "",
    "denied": "yellow",
    "failed": "dim",
    "asked": "dim",
    "looked": "cyan",
}
_SUMS: Final = {
    "emergency": "EMERGENCY ACCESS WITHOUT CONSENT (紧急调用)",
    "given": "data or an answer given (已提供)",
    "denied": "refused (已拒绝)",
    "failed": "failed, nothing given (未成功)",
    "asked": "questions how a request would be decided, nothing given (预判)",
    "looked": "look-ups in this record itself (审计查询)",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: when (local), what sort of thing, in which words, and where it stands in the log."""

    at: datetime
    sort: str
    words: str
    record: str


@dataclass(frozen=True, slots=True)
class Page:
    """The whole document. `truncated` says that there is more than was asked for."""

    entries: Sequence[Entry]
    zone: str
    made: datetime
    truncated: bool = False

    def sums(self) -> Iterator[str]:
        """How often each sort of thing happened, a line each."""
        for sort, words in _SUMS.items():
            if count := sum(each.sort == sort for each in self.entries):
                yield f"{count} × {words}"

    def days(self) -> Iterator[tuple[str, list[Entry]]]:
        """What happened, day by day."""
        for day, entries in groupby(self.entries, key=lambda each: each.at.date()):
            yield day_of(day), list(entries)


def page_of(
    accesses: Sequence[SubjectAccess],
    *,
    zone: tzinfo | None,
    name: str | None,
    made: datetime,
    truncated: bool,
) -> Page:
    """Makes the document.

    Args:
        accesses: oldest first.
        zone: whose times it tells; this machine's where it is None.
        name: of the zone, if it has one.
        made: the present time, aware.
        truncated: whether there are more accesses.
    """
    entries = [_entry(each, zone) for each in accesses]
    local = made.astimezone(zone)
    return Page(entries, zone_words(name, local), local, truncated)


def print_page(page: Page) -> None:
    """Writes it: tables by day on a terminal, plain lines into a pipe."""
    typer.echo(TITLE)
    typer.echo(f"Times are in {page.zone}. Made on {day_of(page.made)} at {page.made:%H:%M}.")
    for line in page.sums():
        typer.echo(f"  {line}")
    if not page.entries:
        typer.echo("Nobody has.")
    for day, entries in page.days():
        typer.echo(f"\n{day}")
        _table(entries) if sys.stdout.isatty() else _lines(entries)
    if page.truncated:
        typer.echo("\nThere is more: --limit brings it.")


def write_page(page: Page, path: Path) -> None:
    """Writes it as one HTML file that needs no other, to be read in any browser and printed."""
    parts = [f"<h1>{html.escape(TITLE)}</h1>"]
    parts.append(
        f"<p>Times are in {html.escape(page.zone)}. Made on {day_of(page.made)} at {page.made:%H:%M}.</p><ul>"
    )
    parts += [f"<li>{html.escape(each)}</li>" for each in page.sums()]
    parts.append("</ul>" if page.entries else "</ul><p>Nobody has.</p>")
    for day, entries in page.days():
        parts.append(f"<h2>{html.escape(day)}</h2><table><thead><tr><th>Time</th><th>What happened</th>")
        parts.append("<th>Record</th></tr></thead><tbody>")
        parts += [_row(each) for each in entries]
        parts.append("</tbody></table>")
    if page.truncated:
        parts.append("<p>There is more than this page holds.</p>")
    parts.append(f"<footer>{html.escape(_FOOT)}</footer>")
    path.write_text(_HTML.replace("BODY", "\n".join(parts)), encoding="utf-8")


_FOOT: Final = "Each line is a record of a log that nobody can rewrite unnoticed. Quote the number of a record when you ask about it."
_HTML: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Who looked at this person's data</title><style>
body { font: 11pt/1.5 "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; margin: 2em auto;
  max-width: 60em; padding: 0 1em; color: #111; background: #fff }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin: 1.5em 0 .3em; break-after: avoid }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { text-align: left; vertical-align: top; padding: .3em .6em; border: 1px solid #999 }
td:first-child, td:last-child { white-space: nowrap }
tr.emergency td { border: 3px solid #b00; font-weight: bold } tr.denied td { background: #f4f0e0 }
tr.failed td, tr.asked td { color: #555 } tr.looked td { background: #eaf1f6 }
footer { margin-top: 2em; font-size: .9em; color: #444 }
</style></head><body>
BODY
</body></html>
"""


def _row(entry: Entry) -> str:
    cells = (f"{entry.at:%H:%M:%S}", entry.words, entry.record)
    inside = "".join(f"<td>{html.escape(each)}</td>" for each in cells)
    return f'<tr class="{entry.sort}">{inside}</tr>'


def _lines(entries: Sequence[Entry]) -> None:
    for each in entries:
        typer.echo(f"  {each.at:%H:%M:%S}  {each.words} [{each.record}]")


def _table(entries: Sequence[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("TIME", "WHAT HAPPENED", "RECORD", header_style="bold", show_lines=True)
    for each in entries:
        # Text, not str: brackets in a purpose are no markup.
        table.add_row(
            Text(f"{each.at:%H:%M:%S}"), Text(each.words, style=_STYLES[each.sort]), Text(each.record)
        )
    Console().print(table)


def _entry(access: SubjectAccess, zone: tzinfo | None) -> Entry:
    record = access.record
    at = record.logged_at.ToDatetime(tzinfo=UTC).astimezone(zone)
    # Before the first colon stands the time in UTC, which is told in local time here.
    words = clean(access.summary.partition(": ")[2])
    return Entry(at, _sort(record, words), words[:1].upper() + words[1:], f"records/{record.index}")


def _sort(record: Record, words: str) -> str:
    if record.kind != RecordKind.RECORD_KIND_DECISION:
        return "asked" if record.action == "Explain" else "looked"
    decision = record.decision
    if record.mode == Mode.MODE_BATCH and "nothing was released" in words:
        # What came of all of a batch is not what came of this person.
        decision = Decision.DECISION_DENY if "was refused" in words else Decision.DECISION_ERROR
    if decision == Decision.DECISION_ALLOW:
        return "emergency" if record.emergency else "given"
    return "denied" if decision == Decision.DECISION_DENY else "failed"
