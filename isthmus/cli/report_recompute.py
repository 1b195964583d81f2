"""`isthmus report recompute`: the figures of sharing from a copy of the log, and whether they are those that were served."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.output import Json, document, print_json
from isthmus.cli.progress import Bar

_FAILED: Final = 1
_UNAVAILABLE: Final = 4


def recompute(
    log: Annotated[
        str,
        typer.Argument(help="The ledger's database file, a folder of tiles, or a tile server's address."),
    ],
    vkey: Annotated[
        Path,
        typer.Option(
            "--vkey", help="The log's public key (a C2SP vkey), from a source of yours.", dir_okay=False
        ),
    ],
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare", help="A report that was served (report sharing --json); - reads it.", allow_dash=True
        ),
    ] = None,
    first_day: Annotated[
        str, typer.Option("--first-day", help="Of UTC, 2026-11-24; 29 before the last.")
    ] = "",
    last_day: Annotated[str, typer.Option("--last-day", help="Included; today unless given.")] = "",
    as_json: Json = False,
) -> None:
    """Make the report on sharing again from a copy of the log, whose every record is held against its checkpoint.

    With --compare it is about the same records and days as the report that was served, and every figure that differs is
    named; the exit code is 1 then.
    """
    from audit.keys import load_verifier_key
    from audit.sharing.days import day_of, parse_day
    from audit.sharing.recompute import recompute_report
    from audit.sharing.report import DEFAULT_DAYS
    from audit.verifier.damage import Damaged
    from audit.verifier.source import SourceUnavailable

    served = _read(compare) if compare is not None else None
    if served is not None:
        first_day, last_day = first_day or served["first_day"], last_day or served["last_day"]
    last = parse_day(last_day, field="last_day") if last_day else day_of(datetime.now(UTC))
    first = parse_day(first_day, field="first_day") if first_day else last - DEFAULT_DAYS + 1
    if first > last:
        raise typer.BadParameter("the first day lies after the last", param_hint="--first-day")
    size = int(served["log_size"]) if served is not None else None
    with Bar("recomputing", total=None) as bar:
        try:
            key = load_verifier_key(vkey)
            found = recompute_report(log, key, first=first, last=last, size=size, progress=bar.reach)
        except Damaged as error:
            typer.echo(f"damaged: {error}", err=True)
            raise typer.Exit(_FAILED) from None
        except SourceUnavailable as error:
            typer.echo(f"unavailable: {error}", err=True)
            raise typer.Exit(_UNAVAILABLE) from None
        except (OSError, ValueError) as error:
            typer.echo(f"refused: {error}", err=True)
            raise typer.Exit(_FAILED) from None
    own = document(found)
    if as_json:
        print_json(own)
    if served is not None:
        _judge(served, own, quiet=as_json)
    elif not as_json:
        from isthmus.picture.terminal import show

        show(found, {})


def _read(path: Path) -> dict[str, Any]:
    """A report that was served, as `isthmus report sharing --json` prints it."""
    try:
        text = typer.get_text_stream("stdin").read() if str(path) == "-" else path.read_text(encoding="utf-8")
        found = json.loads(text)
        if not isinstance(found, dict) or not {"first_day", "last_day", "log_size"} <= found.keys():
            raise ValueError
    except (OSError, ValueError):
        raise typer.BadParameter(
            "is no report; make one with isthmus report sharing --json", param_hint="--compare"
        ) from None
    return found


def _judge(served: dict[str, Any], own: dict[str, Any], *, quiet: bool) -> None:
    from audit.sharing.recompute import differences

    found = differences(served, own)
    for line in found:
        typer.echo(line, err=True)
    if found:
        typer.echo(f"different: {len(found)} figures are not what the log says", err=True)
        raise typer.Exit(_FAILED)
    if not quiet:
        typer.echo(f"equal: every figure is what the first {own['log_size']} records of the log say")
