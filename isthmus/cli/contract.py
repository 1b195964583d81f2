"""`isthmus contract`: proposing, signing and ending contracts."""

import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.connection import connect
from isthmus.cli.dryrun import dry_run
from isthmus.cli.inputs import read_document
from isthmus.cli.main import EXIT_CODES
from isthmus.cli.output import Json, Limit, document, print_facts, print_json, print_table
from isthmus.client import Client
from isthmus.terms import document_to_terms, instant, parse_rfc3339, rfc3339, terms_to_document
from isthmus.v1.contract_service_pb2 import Contract, ContractState

app = typer.Typer(
    name="contract",
    help="Contracts: propose, counter, sign, reject, withdraw, suspend, resume, terminate, show, list, events.",
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
            _print_contract(contract)
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


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="contracts/ID@VERSION, or contracts/ID for the newest.")],
    terms: Annotated[
        bool, typer.Option("--terms", help="Only the canonical text that is signed, exactly.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one contract."""
    with connect(context) as client:
        contract = client.contracts.get(name)
    if terms:
        typer.echo(contract.terms_json, nl=False)
    elif as_json:
        print_json(document(contract))
    else:
        _print_contract(contract)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Such as PROPOSED or ACTIVE. Repeatable.")
    ] = None,
    provider: Annotated[str, typer.Option("--provider", help="departments/DEPARTMENT.")] = "",
    consumer: Annotated[str, typer.Option("--consumer", help="departments/DEPARTMENT.")] = "",
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List the newest version of each contract that you may see."""
    with connect(context) as client:
        pages = client.contracts.list(states=state or (), provider=provider, consumer=consumer)
        found = list(islice(pages, limit))
    if as_json:
        print_json({"contracts": [document(each) for each in found]})
        return
    rows = [(each.name, _state(each.state), each.terms.consumer, each.terms.dataset) for each in found]
    print_table(("name", "state", "consumer", "dataset"), rows)


@app.command()
def events(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="contracts/ID.")],
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List what happened to a contract, oldest first."""
    with connect(context) as client:
        found = list(islice(client.contracts.events(name), limit))
    if as_json:
        print_json({"events": [document(each) for each in found]})
        return
    rows = [
        (rfc3339(instant(each.at)), each.contract, each.type, _state(each.to), each.actor, each.reason)
        for each in found
    ]
    print_table(("at", "contract", "event", "state", "actor", "reason"), rows)


def _run(context: typer.Context, act: Callable[[Client], Contract], *, as_json: bool) -> None:
    with connect(context) as client:
        contract = act(client)
    if as_json:
        print_json(document(contract))
    else:
        typer.echo(f"{contract.name} {_state(contract.state)}, position {contract.position}")


def _print_contract(contract: Contract) -> None:
    terms = terms_to_document(contract.terms)
    print_facts(
        {
            "name": contract.name,
            "state": _state(contract.state),
            "reason": contract.state_reason,
            "proposer": contract.proposer,
            "provider": terms["provider"],
            "consumer": terms["consumer"],
            "systems": terms["systems"],
            "dataset": terms["dataset"],
            "fields": [f"{each['name']} ({each['transform']})" for each in terms["fields"]],
            "row filters": [
                f"{each['field']} {each['operator']} {each['values']}" for each in terms["row_filters"]
            ],
            "purposes": terms["purposes"],
            "legal basis": f"{terms['legal_basis']}: {terms['legal_citation']}",
            "modes": ", ".join(terms["modes"]),
            "quotas": [
                f"{each['calls'] or 'any number of'} calls, {each['rows'] or 'any number of'} rows "
                f"a {each['window']} by {each['scope']}"
                for each in terms["quotas"]
            ],
            "period": f"{terms['not_before']} to {terms['not_after']}",
            "retention": f"{terms['retention_days']} days",
            "passed on to": terms["onward_sharing"]["recipients"]
            if terms["onward_sharing"]["allowed"]
            else "",
            "break glass": terms["break_glass"]["systems"] if terms["break_glass"]["allowed"] else "",
            "signed by": [f"{each.department} ({each.signer})" for each in contract.signatures],
            "digest": contract.terms_digest,
        }
    )


def _state(state: ContractState.ValueType) -> str:
    return ContractState.Name(state).removeprefix("CONTRACT_STATE_")


app.command("dry-run")(dry_run)
