"""`isthmus audit reconcile`: the log against the departments' own journals, offline."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.output import Json, Limit, print_facts, print_json, print_table
from isthmus.cli.progress import Bar

if TYPE_CHECKING:
    from audit.reconcile.compare import Report
    from audit.reconcile.finding import Finding

_FAILED: Final = 1
_SQLITE: Final = b"SQLite format 3\0"


def reconcile(
    ledger: Annotated[
        str, typer.Argument(help="The database file, or sqlite:/// and its path; a copy will do.")
    ],
    journal: Annotated[
        list[str],
        typer.Option(
            "--journal",
            metavar="DEPARTMENT=FILE",
            help="A department's journal: its SQLite file, or what `isthmus department journal` wrote. Repeat it.",
        ),
    ],
    since: Annotated[
        str, typer.Option("--since", help="Only exchanges that began then or later, RFC 3339.")
    ] = "",
    until: Annotated[
        str,
        typer.Option(
            "--until",
            help="Only exchanges that began before; when the older copy was made. Now unless given.",
        ),
    ] = "",
    grace: Annotated[
        float,
        typer.Option(
            "--grace", min=0, help="Seconds before that in which an exchange may still be under way."
        ),
    ] = 600.0,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """Compare the log with the departments' own journals; exit 1 when something is not explained.

    Both sides wrote down the same exchanges. What a department served and the log does not know, what the log released and
    no department served, and what they tell differently is listed first; then what has an ordinary cause. Nothing that
    is printed says whom an exchange was about. Verify the log first: this trusts what it reads.
    """
    from audit.batch.lines import LineError
    from audit.reconcile.journal import JournalError
    from audit.record import RecordError

    try:
        end = _time(until, "--until") or datetime.now(UTC)
        report = _compare(
            ledger,
            _journals(journal),
            between=(_time(since, "--since"), end),
            settled=end - timedelta(seconds=grace),
            keep=limit,
        )
    except (OSError, JournalError, RecordError, LineError, ValueError) as error:
        raise _refused(str(error)) from None
    _show(report, as_json=as_json)
    if report.alarming:
        raise typer.Exit(_FAILED)


def _compare(
    ledger: str,
    journals: dict[str, Path],
    *,
    between: tuple[datetime | None, datetime],
    settled: datetime,
    keep: int,
) -> "Report":
    from sqlalchemy.exc import SQLAlchemyError

    from audit.ledger.offline import open_offline
    from audit.reconcile.compare import reconcile
    from audit.reconcile.journal import read_journal
    from audit.reconcile.log import LogReader

    since, until = between
    try:
        with ExitStack() as files:
            log = LogReader(files.enter_context(open_offline(ledger)), since=since, until=until)
            lines = {
                department: read_journal(
                    _documents(files, path, department), department, since=since, until=until
                )
                for department, path in journals.items()
            }
            bar = files.enter_context(Bar("comparing", total=log.count()))
            return reconcile(log, lines, settled=settled, keep=keep, progress=bar.advance)
    except SQLAlchemyError as error:
        raise ValueError(
            f"a file cannot be read as a ledger or journal of this version ({type(error).__name__})"
        ) from None


def _documents(files: ExitStack, path: Path, department: str) -> Iterable[bytes]:
    from audit.ledger.offline import open_offline
    from audit.reconcile.journal import MAX_LINE_BYTES
    from services.journal_export import export_journal

    file = files.enter_context(path.open("rb"))
    if file.read(len(_SQLITE)) == _SQLITE:
        return export_journal(files.enter_context(open_offline(str(path))), department)
    file.seek(0)
    # Bounded: a line that is longer is cut here, and refused as no JSON.
    return iter(lambda: file.readline(MAX_LINE_BYTES), b"")


def _journals(texts: list[str]) -> dict[str, Path]:
    found = dict(map(_named, texts))
    if len(found) != len(texts):
        raise typer.BadParameter("name each department once", param_hint="--journal")
    return found


def _named(text: str) -> tuple[str, Path]:
    from isthmus.names import DepartmentName

    name, _, path = text.partition("=")
    if not name or not path:
        raise typer.BadParameter(
            "write DEPARTMENT=FILE, as in civil-registry=journal.db", param_hint="--journal"
        )
    return str(DepartmentName(name.removeprefix("departments/"))), Path(path)


def _time(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter("a time is RFC 3339 with a zone, as 2026-11-01T00:00:00Z", param_hint=option)
    return found.astimezone(UTC)


def _show(report: "Report", *, as_json: bool) -> None:
    from audit.reconcile.compare import by_kind

    found = by_kind(report.findings)
    facts: dict[str, Any] = {
        "alarming": report.alarming,
        "decisions": report.decisions,
        "journal_lines": report.lines,
        "agreed": report.agreed,
        "not_compared": report.elsewhere,
        "counts": {kind.value: count for kind, count in sorted(report.counts.items())},
    }
    if as_json:
        print_json({**facts, "findings": [_document(each) for each in found]})
        return
    if found:
        headers = ("", "KIND", "EXCHANGE", "DEPARTMENT", "RECORD", "SERVED", "WHAT")
        print_table(headers, _rows(found))
    facts["counts"] = [f"{kind} {count}" for kind, count in facts["counts"].items()]
    print_facts(facts)


def _rows(found: Iterable["Finding"]) -> Iterator[tuple[str, ...]]:
    for each in found:
        mark, index = "!" if each.alarming else "", "" if each.index is None else f"records/{each.index}"
        yield mark, each.difference.value, each.exchange, each.department, index, each.served_at, each.words


def _document(finding: "Finding") -> dict[str, Any]:
    return {
        "kind": finding.difference.value,
        "alarming": finding.alarming,
        "exchange": finding.exchange,
        "department": finding.department,
        "record": finding.index,
        "served_at": finding.served_at,
        "words": finding.words,
    }


def _refused(why: str) -> typer.Exit:
    typer.echo(f"refused: {why}", err=True)
    return typer.Exit(_FAILED)
