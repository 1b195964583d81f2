"""`isthmus contract`: proposing, signing and ending contracts."""

import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.connection import connect
from isthmus.cli.contract_reading import diff, events, list_, print_contract, show, state_name
from isthmus.cli.dryrun import dry_run
from isthmus.cli.inputs import read_document
from isthmus.cli.main import EXIT_CODES
from isthmus.cli.output import Json, clean, document, print_json
from isthmus.client import Client
from isthmus.terms import document_to_terms, parse_rfc3339
from isthmus.v1.contract_service_pb2 import Contract

app = typer.Typer(
    name="contract",
    help="Contracts: propose, counter, sign, reject, withdraw, suspend, resume, terminate, show, diff, list, events.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
)


class Rejection(StrEnum):
    """The kinds of refusal: names of isthmus.v1.RejectionReason."""

    OUTSIDE_DUTIES = "OUTSIDE_DUTIES"
    CONDITION_NOT_MET = "CONDITION_NOT_MET"
    PURPOSE_NOT_COVERED = "PURPOSE_NOT_COVERED"
    EXCESSIVE = "EXCESSIVE"
    FORBIDDEN_BY_LAW = "FORBIDDEN_BY_LAW"
    DATA_NOT_HELD = "DATA_NOT_HELD"


Version = Annotated[str, typer.Argument(help="contracts/ID@VERSION.")]
Terms = Annotated[Path, typer.Argument(help="The terms, TOML or JSON.", dir_okay=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@app.command()
def propose(
    context: typer.Context,
    contract_id: Annotated[str, typer.Argument(help="The part after contracts/.")],
    terms: Terms,
    reason: Annotated[str, typer.Option("--reason", help="Why it is needed: the scenario.")] = "",
    as_json: Json = False,
) -> None:
    """Propose a contract: version 1. Nobody has signed it yet, the proposer included."""
    read = document_to_terms(read_document(terms))
    _run(
        context,
        lambda client: client.contracts.propose(contract_id.removeprefix("contracts/"), read, reason=reason),
        as_json=as_json,
    )


@app.command()
def counter(
    context: typer.Context, name: Version, terms: Terms, reason: Reason, as_json: Json = False
) -> None:
    """Answer a proposal with other terms: the next version."""
    read = document_to_terms(read_document(terms))
    _run(context, lambda client: client.contracts.counter(name, read, reason=reason), as_json=as_json)


@app.command()
def sign(
    context: typer.Context,
    name: Version,
    digest: Annotated[
        str, typer.Option("--digest", help="The digest of the terms you examined; others are not signed.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Sign what is there without being asked.")] = False,
    as_json: Json = False,
) -> None:
    """Sign a contract for your department. Shows the terms and asks, unless --digest or --yes is given."""
    if not (digest or yes or sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; give --digest or --yes")

    def signed(client: Client) -> Contract:
        examined = digest
        if not (digest or yes):
            contract = client.contracts.get(name)
            print_contract(client, contract)
            typer.confirm(f"Sign these terms as {client.identity.resource}?", abort=True, err=True)
            # What was shown is what is signed, whatever the server says next.
            examined = contract.terms_digest
        return client.contracts.sign(name, terms_digest=examined)

    _run(context, signed, as_json=as_json)


@app.command()
def reject(
    context: typer.Context,
    name: Version,
    reason: Reason,
    citation: Annotated[str, typer.Option("--citation", help="The law and article.")],
    kind: Annotated[Rejection, typer.Option("--kind", help="Why, by kind.")] = Rejection.OUTSIDE_DUTIES,
    condition: Annotated[
        str, typer.Option("--condition", help="The published condition that is not met, word for word.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Refuse a proposal of the other department."""
    _run(
        context,
        lambda client: client.contracts.reject(
            name, reason=reason, legal_citation=citation, kind=kind.value, condition=condition
        ),
        as_json=as_json,
    )


@app.command("request-supplement")
def request_supplement(
    context: typer.Context,
    name: Version,
    missing: Annotated[
        str, typer.Option("--missing", help="Everything that is missing: there is no second time.")
    ],
    as_json: Json = False,
) -> None:
    """Ask the proposer for what is missing (一次性告知); the answer's clock stops."""
    _run(context, lambda client: client.contracts.request_supplement(name, missing=missing), as_json=as_json)


@app.command()
def supplement(
    context: typer.Context,
    name: Version,
    supplied: Annotated[str, typer.Option("--supplied", help="What was supplied, or where it is.")],
    as_json: Json = False,
) -> None:
    """Say that what was missing has been supplied; the answer's clock goes on."""
    _run(context, lambda client: client.contracts.supplement(name, supplement=supplied), as_json=as_json)


@app.command("extend-answer")
def extend_answer(
    context: typer.Context,
    name: Version,
    amount: Annotated[
        int, typer.Option("--amount", help="How much, in the unit of the rule pack's limit.", min=1)
    ],
    authority: Annotated[
        str, typer.Option("--authority", help="The document by which the authority consented.")
    ],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Take more time for the answer, once, with the consent of the authority in charge."""
    _run(
        context,
        lambda client: client.contracts.extend_answer(
            name, amount=amount, authority_reference=authority, reason=reason
        ),
        as_json=as_json,
    )


@app.command()
def withdraw(context: typer.Context, name: Version, reason: Reason, as_json: Json = False) -> None:
    """Take back a proposal of your own."""
    _run(context, lambda client: client.contracts.withdraw(name, reason=reason), as_json=as_json)


@app.command()
def suspend(
    context: typer.Context,
    name: Version,
    reason: Reason,
    rectify_by: Annotated[
        str, typer.Option("--rectify-by", help="By when the cause should be put right, RFC 3339.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Stop exchanges for a time. Once this returns, nothing more is released."""
    by: datetime | None = parse_rfc3339(rectify_by, field="rectify_by") if rectify_by else None
    _run(
        context,
        lambda client: client.contracts.suspend(name, reason=reason, rectify_by=by),
        as_json=as_json,
    )


@app.command()
def resume(context: typer.Context, name: Version, reason: Reason, as_json: Json = False) -> None:
    """Let exchanges go on under a suspended contract."""
    _run(context, lambda client: client.contracts.resume(name, reason=reason), as_json=as_json)


@app.command()
def terminate(context: typer.Context, name: Version, reason: Reason, as_json: Json = False) -> None:
    """End a contract for good. Once this returns, nothing more is released."""
    _run(context, lambda client: client.contracts.terminate(name, reason=reason), as_json=as_json)


def _run(context: typer.Context, act: Callable[[Client], Contract], *, as_json: bool) -> None:
    with connect(context) as client:
        contract = act(client)
    if as_json:
        print_json(document(contract))
    else:
        typer.echo(f"{clean(contract.name)} {state_name(contract.state)}, position {contract.position}")


app.command()(show)
app.command()(diff)
app.command("list")(list_)
app.command()(events)
app.command("dry-run")(dry_run)
