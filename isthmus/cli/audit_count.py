"""`isthmus audit count`: how many records there are, by what they hold."""

from typing import Annotated

import typer

from isthmus.cli.connection import connect
from isthmus.cli.inputs import subject as read_subject
from isthmus.cli.output import Json, document, print_json, print_table


def count(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="AIP-160, such as 'decision = DENY AND index > 99'.")
    ] = "",
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="consumer, decision, reason, system, day and others; at most three times. None counts all.",
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only records about SCHEME:ID (SCHEME:- reads the id).")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why you count (查询事由); it is recorded.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Show at most so many lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Count records by what they hold, the most frequent first. The count itself is recorded."""
    about = read_subject(subject) if subject is not None else None
    with connect(context, audit=True) as client:
        found = client.audit.count(filter_, by=by or (), subject=about, reason=reason, page_size=limit)
    if as_json:
        print_json(document(found))
        return
    if not by:
        typer.echo(str(found.total))
        return
    headers = (*(each.upper() for each in by), "RECORDS")
    print_table(headers, ((*each.values, str(each.count)) for each in found.counts))
    more = "; there are more lines, which --limit or a filter brings" if found.truncated else ""
    typer.echo(f"{found.total} records in all{more}", err=True)
