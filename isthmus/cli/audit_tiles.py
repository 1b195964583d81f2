"""`isthmus audit export-tiles`: the log as static files that other people's tools read (C2SP tlog-tiles)."""

from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.output import Json, print_facts, print_json
from isthmus.cli.progress import Bar

_FAILED: Final = 1


def export_tiles(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Made when missing; else one of this log, to be continued.", file_okay=False
        ),
    ],
    ledger: Annotated[
        str, typer.Option("--ledger", help="The database file, or sqlite:/// and its path; a copy will do.")
    ],
    entries: Annotated[
        bool,
        typer.Option(
            "--entries/--no-entries", help="Write the records themselves too, or only what anybody may see."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a ledger's checkpoint, tiles and entries to DIR as static files; a second run adds what is new.

    Reads the ledger file alone, and needs no key: a verifier checks the checkpoint with the log's. Entries are the
    records of all departments: publish a DIR with them only to auditors.
    """
    from sqlalchemy.exc import DBAPIError

    from audit.ledger.errors import LedgerUnavailable
    from audit.ledger.offline import open_offline
    from audit.tiles import export, places, source

    try:
        with open_offline(ledger) as connection:
            total = places.count(source.TileSource(connection).size, entries=entries)
            with Bar("writing tiles", total=total) as bar:
                done = export.export_tiles(
                    connection, directory, entries=entries, progress=lambda *_: bar.advance()
                )
    except (OSError, ValueError, LedgerUnavailable) as error:
        raise _refused(str(error)) from None
    except DBAPIError as error:
        raise _refused(f"{ledger} cannot be read as a ledger of this version: {error.orig}") from None
    facts = {"log": done.origin, "records": done.size, "written": done.written, "kept": done.kept}
    facts["superseded"] = done.superseded
    print_json(facts) if as_json else print_facts(facts)


def _refused(why: str) -> typer.Exit:
    typer.echo(f"refused: {why}", err=True)
    return typer.Exit(_FAILED)
