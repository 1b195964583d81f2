"""`isthmus emergency`: what was released in an emergency, and its review."""

from itertools import islice
from typing import Annotated

import typer

from isthmus.cli.connection import connect
from isthmus.cli.main import EXIT_CODES
from isthmus.cli.output import Json, Limit, document, print_json, print_table
from isthmus.terms import instant, rfc3339
from isthmus.v1.contract_service_pb2 import EmergencyUse

app = typer.Typer(no_args_is_help=True, help="Emergency uses: list them, review them.", epilog=EXIT_CODES)


@app.command("list")
def list_uses(
    context: typer.Context,
    contract: Annotated[str, typer.Option("--contract", help="Only those of contracts/ID.")] = "",
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Only those that await a review.")] = False,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List emergency uses, newest first: those of your department, or all for an auditor."""
    with connect(context) as client:
        found = list(islice(client.emergencies.list(contract=contract, unreviewed=unreviewed), limit))
    if as_json:
        print_json({"uses": [document(each) for each in found]})
        return
    rows = [
        (
            rfc3339(instant(each.at)),
            each.exchange,
            each.contract,
            each.caller,
            each.justification,
            rfc3339(instant(each.review.due)),
            _standing(each),
        )
        for each in found
    ]
    print_table(("at", "exchange", "contract", "caller", "justification", "review due", "review"), rows)


@app.command()
def review(
    context: typer.Context,
    exchange: Annotated[str, typer.Argument(help="exchanges/UUID.")],
    justified: Annotated[
        bool, typer.Option("--justified/--unjustified", help="Whether the use was justified.")
    ],
    finding: Annotated[str, typer.Option("--finding", help="What you found; no personal data.")],
    as_json: Json = False,
) -> None:
    """Review an emergency use of your department's data. Once: a review is final."""
    with connect(context) as client:
        use = client.emergencies.review(exchange, justified=justified, finding=finding)
    if as_json:
        print_json(document(use))
    else:
        typer.echo(f"{use.exchange} {_standing(use)}")


def _standing(use: EmergencyUse) -> str:
    late = "overdue" if use.review.overdue else ""
    if not use.reviewer:
        return late or "awaited"
    found = "justified" if use.justified else "not justified"
    return f"{found}, late" if late else found
