"""`isthmus batch`: facts about many subjects, from a CSV file into a CSV or JSON Lines file."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from isthmus.cli.connection import connect
from isthmus.cli.exchange import Case, Contract, Emergency, Fields, Purpose
from isthmus.cli.failures import DENIED
from isthmus.cli.output import cell, plain
from isthmus.cli.progress import Bar
from isthmus.client.batch import MOST, BatchItem

_SCHEME: Final = "scheme"
_ID: Final = "id"
_OWNER_ONLY: Final = 0o600
_HEADERS: Final = ("line", "id", "decision", "reasons", "known")

Sent = tuple[str, str]


def batch(
    context: typer.Context,
    contract: Contract,
    purpose: Purpose,
    fields: Fields,
    subjects: Annotated[
        Path,
        typer.Option(
            "--subjects",
            help="A CSV file with a header line, UTF-8: a column `id` (or --column) and, without --scheme, `scheme`.",
            dir_okay=False,
            exists=True,
        ),
    ],
    scheme: Annotated[str, typer.Option("--scheme", help="The identifier scheme of all subjects.")] = "",
    column: Annotated[str, typer.Option("--column", help="The column that holds the identifiers.")] = _ID,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A new file, .csv or .jsonl, that only you can read; CSV on standard output unless given.",
            dir_okay=False,
        ),
    ] = None,
    case: Case = "",
    emergency: Emergency = "",
) -> None:
    """Ask for facts about many subjects, an outcome each. Every 10,000 lines are an exchange of their own.

    Who is refused harms nobody else: each line says what was decided. Exits with 3 when nobody was answered about.
    """
    people = read_subjects(subjects, scheme=scheme, column=column)
    counts = {"answered": 0, "refused": 0}
    exchanges: list[str] = []
    with connect(context) as client, _writing(out, counts) as file, Bar("asking", total=len(people)) as bar:
        write = _writer(out, file, fields)
        for start in range(0, len(people), MOST):
            part = people[start : start + MOST]
            told = client.exchange.batch_items(
                contract=contract,
                purpose=purpose,
                subjects=part,
                fields=fields,
                case_reference=case,
                emergency=emergency,
            )
            for item in told:
                counts["answered" if item.allowed else "refused"] += 1
                write(start + item.index, part[item.index], item)
                bar.advance()
            exchanges.append(told.exchange)
    for exchange in exchanges:
        typer.echo(exchange, err=True)
    typer.echo(f"{counts['answered']} answered, {counts['refused']} refused", err=True)
    if not counts["answered"]:
        raise typer.Exit(DENIED)


def read_subjects(path: Path, *, scheme: str, column: str) -> list[Sent]:
    """Reads the subjects of a CSV file.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        scheme: of all of them; from the column `scheme` when empty.
        column: which column holds the identifiers.

    Raises:
        typer.BadParameter: a column or a value is missing, or the file is none. Says the line, and no identifier.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            wanted = [column] if scheme else [column, _SCHEME]
            if missing := [each for each in wanted if each not in (rows.fieldnames or ())]:
                raise typer.BadParameter(f"{path}: there is no column {' and no column '.join(missing)}")
            people = [
                (scheme or _filled(row, _SCHEME, number, path), _filled(row, column, number, path))
                for number, row in enumerate(rows, start=2)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{path}: is no CSV file in UTF-8 ({type(error).__name__})") from None
    if not people:
        raise typer.BadParameter(f"{path}: names no subject")
    return people


def _filled(row: dict[str, Any], column: str, number: int, path: Path) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise typer.BadParameter(f"{path}, line {number}: the column {column} is empty")
    return value


@contextmanager
def _writing(out: Path | None, counts: Mapping[str, int]) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    # Other people's data: nobody else on the machine may read them, and no file is written over.
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
    finally:
        if not any(counts.values()):
            out.unlink()


def _writer(out: Path | None, file: TextIO, fields: Sequence[str]) -> Any:
    if out is not None and out.suffix.lower() == ".jsonl":
        return lambda number, sent, item: file.write(_document(number, sent, item))
    table = csv.writer(file)
    table.writerow((*_HEADERS, *fields))
    return lambda number, sent, item: table.writerows(_rows(number, sent, item, fields))


def _rows(number: int, sent: Sent, item: BatchItem, fields: Sequence[str]) -> Iterable[Sequence[str]]:
    """A line for each row of a subject; one without values where there is none."""
    head = (str(number + 1), sent[1], _decision(item), _reasons(item), str(item.subject_known).lower())
    for row in item.rows or [{}]:
        yield (*head, *(cell(row.get(name)) for name in fields))


def _document(number: int, sent: Sent, item: BatchItem) -> str:
    members = {
        "line": number + 1,
        "scheme": sent[0],
        "id": sent[1],
        "decision": _decision(item),
        "reasons": [each.name for each in item.reasons],
        "known": item.subject_known,
        "rows": item.rows,
    }
    return json.dumps(members, ensure_ascii=False, default=plain) + "\n"


def _decision(item: BatchItem) -> str:
    return "answered" if item.allowed else "refused"


def _reasons(item: BatchItem) -> str:
    return " ".join(each.name for each in item.reasons)
