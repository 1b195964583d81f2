"""`isthmus department`: serves a department's datasets behind its manifest, and exports its journal.

Exit codes: 0 done, or stopped as asked; 1 refused, and standard error says why; 2 wrong command line.
"""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from isthmus.packaging_guard import ForeignPackageError
from services.main import run
from services.manifest import ManifestError
from services.node import NodeError

EXIT_REFUSED = 1

app = typer.Typer(
    name="department",
    help="Serve a department's datasets behind its manifest; export its journal.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong command line.",
    invoke_without_command=True,
)

Config = Annotated[
    Path, typer.Option("--config", help="The manifest; `isthmus dataset draft` writes one.", dir_okay=False)
]


@app.callback()
def department(
    context: typer.Context,
    config: Config = Path("department.toml"),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve a department's datasets to the gateway, until SIGTERM. `journal` does something else."""
    if context.invoked_subcommand is not None:
        return
    try:
        run(config, log_level=log_level)
    except (ManifestError, NodeError, ForeignPackageError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from error


@app.command()
def journal(
    config: Config = Path("department.toml"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; standard output unless given.", dir_okay=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Only exchanges begun then or later, RFC 3339.")] = "",
    until: Annotated[str, typer.Option("--until", help="Only exchanges begun before, RFC 3339.")] = "",
) -> None:
    """Export the node's journal for an auditor, who compares it with the platform's log (`isthmus audit reconcile`).

    One JSON document a line. It says what was served under which contract, and no identifier or token of a person.
    """
    import sqlalchemy as sa

    from services.journal_export import export_journal
    from services.manifest_file import load_manifest

    times = {"since": _time(since, "--since"), "until": _time(until, "--until")}
    try:
        manifest = load_manifest(config)
        engine = sa.create_engine(manifest.journal_url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            raise FileNotFoundError(f"{engine.url.database}: there is no journal yet")
        with (
            engine.connect() as connection,
            out.open("wb") if out is not None else nullcontext(sys.stdout.buffer) as file,
        ):
            for document in export_journal(connection, f"departments/{manifest.department}", **times):
                file.write(document + b"\n")
    except (ManifestError, OSError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    except sa.exc.SQLAlchemyError as error:
        typer.echo(f"refused: the journal cannot be read: {type(error).__name__}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None


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
