"""`isthmus report sharing`: who shares with whom, drawn on the terminal or as one page to be sent."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.connection import NotConnected, connect
from isthmus.cli.output import Json, clean, document, print_json
from isthmus.errors import IsthmusError
from isthmus.picture.words import Lang


def sharing(
    context: typer.Context,
    first_day: Annotated[
        str, typer.Option("--first-day", help="Of UTC, 2026-11-24; 29 before the last.")
    ] = "",
    last_day: Annotated[str, typer.Option("--last-day", help="Included; today unless given.")] = "",
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one self-contained page here.", dir_okay=False)
    ] = None,
    lang: Annotated[Lang, typer.Option("--lang", help="English, Chinese or both.")] = Lang.BOTH,
    as_json: Json = False,
) -> None:
    """Draw who shares with whom, and a scorecard of every department, from the log's own figures.

    The figures come from the audit service. Titles come from the gateway's catalogue where it is known and answers.
    """
    with connect(context, audit=True) as client:
        report = client.sharing.report(first_day=first_day, last_day=last_day)
    if as_json:
        print_json(document(report))
        return
    titles = _titles(context)
    if html is None:
        from isthmus.picture.terminal import show

        show(report, titles, lang=lang)
        return
    from isthmus.cli.whole import write_whole
    from isthmus.picture.page import page

    write_whole(html, page(report, titles, lang=lang))
    typer.echo(f"written to {os.path.normpath(html)}", err=True)


def _titles(context: typer.Context) -> dict[str, str]:
    """What departments and datasets are called; only names where the gateway does not say."""
    found: dict[str, str] = {}
    with suppress(IsthmusError, NotConnected), connect(context, patience=5.0) as client:
        found |= {each.name: clean(each.title) for each in client.catalog.departments()}
        found |= {each.name: clean(each.title) for each in client.catalog.list()}
    return found
