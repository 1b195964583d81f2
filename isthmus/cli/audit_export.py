"""`isthmus audit export`: records of the trail into a file, with their proof left where it is."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.canonical import canonical_json
from isthmus.cli.connection import connect
from isthmus.cli.part_file import PartFile, PartFileError

Out = Annotated[Path, typer.Option("--out", help="The file. It appears when it is whole.", dir_okay=False)]
Why = Annotated[str, typer.Option("--reason", help="Why you export (导出事由); it is recorded.")]
Filter = Annotated[
    str, typer.Argument(metavar="[FILTER]", help="AIP-160, such as 'decision = DENY AND index > 99'.")
]


class Format(StrEnum):
    """The form of the file."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    OCSF = "ocsf"


_SENT_AS: Final = {Format.JSONL: "json-lines", Format.PARQUET: "json-lines"}


def export(
    context: typer.Context,
    out: Out,
    reason: Why,
    filter_: Filter = "",
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="jsonl (all of each record), csv, parquet (extra `arrow`), ocsf (for a SIEM)."
        ),
    ] = Format.JSONL,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted export left.")
    ] = False,
) -> None:
    """Export records, oldest first, into a file. The export itself is recorded before its first byte leaves.

    It ends where the log ended when it began. What is interrupted is kept as NAME.part, and the same command with
    --resume goes on after the last record that it holds; that is recorded too. In CSV, text that a spreadsheet would take
    for a formula gets an apostrophe before it.
    """
    asked = hashlib.sha256(canonical_json([filter_, form.value])).hexdigest()
    convert = _conversion(form)
    with connect(context, audit=True) as client, PartFile(out, asked=asked, resume=resume) as file:
        name = _SENT_AS.get(form, form.value)
        received = client.audit.export(
            filter_, reason=reason, export_format=name, resume_token=file.mark.token
        )
        try:
            with _counting(file.rows) as count:
                for part in received:
                    file.append(part.data, token=part.resume_token, rows=part.record_count)
                    count(part.record_count)
            file.finish(convert)
        except BaseException:
            if file.kept:
                typer.echo(file.kept, err=True)
            raise
    typer.echo(f"{file.rows} records in {out}", err=True)


def _conversion(form: Format) -> Callable[[Path, Path], None] | None:
    """What makes the file of the lines that arrive; known before anything is asked for and recorded."""
    if form is not Format.PARQUET:
        return None
    from audit.export.parquet import ParquetMissing, parquet_from_json_lines, require_parquet

    try:
        require_parquet()
    except ParquetMissing as error:
        raise PartFileError(str(error)) from None
    return parquet_from_json_lines


@contextmanager
def _counting(already: int) -> Iterator[Callable[[int], None]]:
    """Shows how many records there are on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        task = shown.add_task("", total=None, completed=already)
        yield lambda count: shown.update(task, advance=count)
