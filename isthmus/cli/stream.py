"""`isthmus stream`: a whole dataset, or the part of it that satisfies conditions, into a file."""

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from isthmus.canonical import canonical_json
from isthmus.cli.connection import connect
from isthmus.cli.exchange import Case, Contract, Emergency, Fields, Purpose, Receipt, predicate_of
from isthmus.cli.part_file import PartFile
from isthmus.cli.stream_formats import Format, conversion_of, writer_of
from isthmus.client import Client, RowStream

Out = Annotated[
    Path,
    typer.Option("--out", help="The file; its name ends in .parquet, .arrow, .csv or .jsonl."),
]
Wheres = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only such rows, as '出生日期<=2008-09-01'. Repeatable: all must hold."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted stream left.")]
Retry = Annotated[
    bool, typer.Option("--retry/--no-retry", help="Go on by itself after an interruption that may pass.")
]


def stream(
    context: typer.Context,
    contract: Contract,
    purpose: Purpose,
    fields: Fields,
    out: Out,
    wheres: Wheres = None,
    case: Case = "",
    emergency: Emergency = "",
    resume: Resume = False,
    retry: Retry = True,
    check_receipt: Receipt = False,
) -> None:
    """Receive a whole dataset, or the rows of it that satisfy every --where, into a file.

    The file appears when it is whole. What is interrupted is kept as NAME.part, and the same command with --resume goes
    on after the last row that it holds. Arrow and Parquet need the extra `arrow`. In CSV, text that a spreadsheet would take
    for a formula gets an apostrophe before it.
    """
    form = _form(out)
    asked = [contract, purpose, list(fields), wheres or [], case, emergency, form.value]
    digest = hashlib.sha256(canonical_json(asked)).hexdigest()
    with connect(context) as client, PartFile(out, asked=digest, resume=resume) as file:
        received = client.exchange.stream(
            contract=contract,
            purpose=purpose,
            fields=fields,
            filters=[predicate_of(client, contract, where) for where in wheres or []],
            case_reference=case,
            emergency=emergency,
            arrow=form.arrow,
            resume=retry,
            resume_token=file.mark.token,
        )
        try:
            _receive(received, form, list(fields), file)
            signer = _signer(client, received) if check_receipt else ""
            file.finish(conversion_of(form))
        except BaseException:
            if file.kept:
                typer.echo(file.kept, err=True)
            raise
    parts = [f"{file.rows} rows in {out}", received.exchange, signer]
    typer.echo("; ".join(part for part in parts if part), err=True)


def _form(out: Path) -> Format:
    try:
        return Format(out.suffix.lstrip(".").lower())
    except ValueError:
        known = ", ".join(f".{each}" for each in Format)
        raise typer.BadParameter(f"must end in one of {known}", param_hint="--out") from None


def _receive(received: RowStream, form: Format, names: list[str], file: PartFile) -> None:
    writer = writer_of(form, names, file)
    with _progress(file.mark.rows) as progress:
        for part in received.parts():
            data, rows = writer.take(part)
            file.append(data, token=part.resume_token, rows=rows)
            progress.update(rows, len(data))


def _signer(client: Client, received: RowStream) -> str:
    return f"receipt signed by {client.verify_receipt(received.result).node.resource}"


class Progress(Protocol):
    """Is told of what arrives."""

    def update(self, rows: int, size: int) -> None: ...


class _Silent:
    def update(self, rows: int, size: int) -> None:
        """Tells nobody."""


class _Shown:
    """One line on a terminal: rows, rows a second, bytes."""

    def __init__(self, bar: Any, rows: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, told="")
        self._rows, self._new, self._bytes = rows, 0, 0
        self._started = time.monotonic()

    def update(self, rows: int, size: int) -> None:
        """Shows what there is now."""
        self._rows, self._new, self._bytes = self._rows + rows, self._new + rows, self._bytes + size
        speed = self._new / max(0.001, time.monotonic() - self._started)
        told = f"{self._rows:,} rows  {speed:,.0f} rows/s  {self._bytes / 1e6:,.1f} MB"
        self._bar.update(self._task, told=told)


@contextmanager
def _progress(rows: int) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(bar, rows)
