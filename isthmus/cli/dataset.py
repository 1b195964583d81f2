"""`isthmus dataset`: from a department's data to a manifest: load CSV files, draft a manifest, check it.

Data goes to standard output, errors to standard error. Exit codes: 0 done; 1 refused, or the manifest does not fit;
2 the command line itself is wrong.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from services import csv_load
from services.draft import DraftError, DraftOptions, draft_manifest
from services.inspection import Finding, Level, inspect_manifest
from services.manifest import ManifestError
from services.manifest_file import load_manifest
from services.source import SourceUnavailable
from services.tables import Problem

EXIT_REFUSED = 1

app = typer.Typer(
    name="dataset",
    help="From data to a manifest: load CSV files, draft a manifest, check it against the database.",
    no_args_is_help=True,
    epilog="Exit codes: 0 done, 1 refused or does not fit, 2 wrong command line.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def draft(
    url: Annotated[str, typer.Option("--url", help="The database, as an SQLAlchemy URL.")] = "",
    url_file: Annotated[
        Path | None, typer.Option("--url-file", help="A file that holds the URL, when it has a password.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="A table or view; all unless given. Repeatable.")
    ] = None,
    schema: Annotated[str, typer.Option("--schema", help="The schema of the tables.")] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; standard output unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Reflect a database into a manifest with every decision marked that is yours to make."""
    if bool(url) == (url_file is not None):
        raise typer.BadParameter("give exactly one of --url and --url-file")
    with _refusals():
        options = DraftOptions(
            url=url if url_file is None else url_file.read_text(encoding="utf-8").strip(),
            source_line="",
            tables=tuple(table or ()),
            schema=schema,
        )
        folder = Path() if output is None else output.parent
        options = _with_source_line(options, url_file, folder)
        made = draft_manifest(options)
        if output is not None:
            with output.open("w" if force else "x", encoding="utf-8") as file:
                file.write(made.text)
    if as_json:
        facts = {"tables": made.tables, "output": None if output is None else str(output)}
        _print_json(facts if output is not None else {**facts, "manifest": made.text})
    elif output is None:
        typer.echo(made.text, nl=False)
    else:
        typer.echo(
            f"{output}: {len(made.tables)} datasets; search it for DECIDE, then run isthmus dataset check"
        )


@app.command()
def check(
    manifest: Annotated[Path, typer.Argument(help="The manifest.")] = Path("department.toml"),
    as_json: Json = False,
) -> None:
    """Hold a manifest against its database and name every mismatch."""
    findings: list[Finding]
    with _refusals():
        try:
            loaded = load_manifest(manifest)
            findings = inspect_manifest(loaded)
        except ManifestError as error:
            findings = [Finding(Level.ERROR, each) for each in error.problems]
    errors = [each for each in findings if each.level is Level.ERROR]
    if as_json:
        _print_json({"ok": not errors, "findings": [_finding(each) for each in findings]})
    else:
        for each in findings:
            typer.echo(f"{each.level.value}: {manifest}: {each.problem}", err=True)
        warnings = len(findings) - len(errors)
        typer.echo(f"{manifest}: {len(errors)} errors, {warnings} warnings")
    if errors:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(help="CSV files, or folders of them.")],
    url: Annotated[str, typer.Option("--url", help="Where to: sqlite:///file.db or postgresql://…")],
    index: Annotated[
        list[str] | None, typer.Option("--index", help="table.column to make an index on. Repeatable.")
    ] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="Of the files, such as gb18030.")] = "utf-8",
    replace: Annotated[bool, typer.Option("--replace", help="Replace tables that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Load CSV files, one table a file, every column TEXT: all of them, or none."""
    options = csv_load.LoadOptions(
        encoding=encoding, indexes=tuple(_index(each) for each in index or ()), replace=replace
    )
    with _refusals():
        files = csv_load.csv_files(paths)
        with _progress(files) as progress:
            loaded = csv_load.load_csv(files, url, options, progress=progress)
    if as_json:
        _print_json(
            {
                "tables": [
                    {"table": each.table, "file": str(each.file), "columns": each.columns, "rows": each.rows}
                    for each in loaded
                ]
            }
        )
        return
    for each in loaded:
        typer.echo(f"{each.table}  {each.rows} rows, {each.columns} columns")


def _index(text: str) -> tuple[str, str]:
    table, dot, column = text.partition(".")
    if not (table and dot and column):
        raise typer.BadParameter("write --index table.column")
    return table, column


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns what the commands raise into one line on standard error and exit code 1."""
    try:
        yield
    except FileExistsError as error:
        _refuse(f"{error.filename} exists; --force replaces it", error)
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}", error)
    except (SourceUnavailable, DraftError, csv_load.LoadError, ValueError) as error:
        _refuse(str(error), error)


def _refuse(message: str, cause: BaseException) -> None:
    typer.echo(f"refused: {message}", err=True)
    raise typer.Exit(EXIT_REFUSED) from cause


def _with_source_line(options: DraftOptions, url_file: Path | None, folder: Path) -> DraftOptions:
    """Names the database the way the manifest will: relative to its own folder, and without a password."""
    try:
        parsed = sa.make_url(options.url)
    except sa.exc.ArgumentError:
        raise DraftError("the database URL cannot be read; write one such as sqlite:///file.db") from None
    line = f"url = {json.dumps(options.url, ensure_ascii=False)}"
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise DraftError("the database URL names no file; write sqlite:///file.db")
        relative = os.path.relpath(str(parsed.database), folder)
        line = f"url = {json.dumps(f'sqlite:///{relative}', ensure_ascii=False)}"
    if url_file is not None:
        line = f"url_file = {json.dumps(os.path.relpath(url_file, folder), ensure_ascii=False)}"
    elif parsed.password:
        line = 'url_file = "database.url"  # DECIDE: put the URL with its password there, mode 0600'
    return DraftOptions(url=options.url, source_line=line, tables=options.tables, schema=options.schema)


@contextmanager
def _progress(files: list[Path]) -> Iterator[csv_load.Progress]:
    console = Console(stderr=True)
    if not (console.is_terminal and sys.stderr.isatty()):
        yield lambda _file, _size: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks = {file: bar.add_task(file.name, total=file.stat().st_size) for file in files}
        yield lambda file, size: bar.advance(tasks[file], size)


def _finding(finding: Finding) -> dict[str, str]:
    problem: Problem = finding.problem
    return {
        "level": finding.level.value,
        "place": problem.place,
        "what": problem.what,
        "remedy": problem.remedy,
    }


def _print_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts, ensure_ascii=False))
