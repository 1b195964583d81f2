"""`isthmus audit rebuild-index`: everything that finds a record, made anew from the records."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.output import Json, print_facts, print_json
from isthmus.cli.progress import Bar

_FAILED = 1


def rebuild_index(
    ledger: Annotated[str, typer.Argument(help="The database file, or sqlite:/// and its path.")],
    search_index: Annotated[
        Path | None,
        typer.Option(
            "--search-index",
            help="The audit service's file, where [ledger] search_index names one.",
            dir_okay=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a ledger anew so that all that finds its records says what they say; stop everything that uses it first.

    Leaves, tiles, checkpoints and the gateway's own tables are copied as they are, after each leaf was held against
    the tree. The old file stays beside the new one until you delete it.
    """
    from audit.ledger.rebuild import RebuildRefused
    from audit.ledger.rebuild import rebuild_index as rebuild
    from audit.search.store import beside, delete

    with Bar("writing records", total=None) as bar:
        try:
            found = rebuild(ledger, progress=bar.reach)
            # The audit service makes it anew by itself.
            delete(search_index or beside(ledger))
        except (RebuildRefused, OSError) as error:
            typer.echo(f"refused: {error}", err=True)
            raise typer.Exit(_FAILED) from None
    facts = {
        "rebuilt": True,
        "records": found.records,
        "mended": found.mended,
        "persons lost": found.lost,
        "old file": str(found.old),
    }
    print_json(facts) if as_json else print_facts(facts)
