"""Reading contracts: `isthmus contract show`, `diff`, `list` and `events`."""

import sys
from dataclasses import asdict
from itertools import islice
from typing import Annotated

import typer

from isthmus.cli.articles import document_lines, document_renderable
from isthmus.cli.connection import connect
from isthmus.cli.contract_change import rows, summary, verdict
from isthmus.cli.contract_diff import compare
from isthmus.cli.contract_document import contract_document, deadline_summary
from isthmus.cli.contract_words import short_name
from isthmus.cli.output import Json, Limit, clean, document, print_json, print_table
from isthmus.client import Client
from isthmus.errors import NotFound, PermissionDenied
from isthmus.terms import instant, rfc3339
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.contract_service_pb2 import Contract, ContractState


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="contracts/ID@VERSION, or contracts/ID for the newest.")],
    terms: Annotated[
        bool, typer.Option("--terms", help="Only the canonical text that is signed, exactly.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one contract as the document that is signed, article by article."""
    with connect(context) as client:
        contract = client.contracts.get(name)
        if terms:
            typer.echo(contract.terms_json, nl=False)
        elif as_json:
            print_json(document(contract))
        else:
            print_contract(client, contract)


def diff(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="contracts/ID@VERSION, or contracts/ID for the newest.")],
    b: Annotated[str, typer.Argument(help="The other one, of the same contract or not.")],
    as_json: Json = False,
) -> None:
    """Say side by side what two versions lay down differently, and whether B shares more than A."""
    with connect(context) as client:
        first, second = client.contracts.get(a), client.contracts.get(b)
    changes = compare(first.terms, second.terms)
    if as_json:
        members = {"a": _side(first), "b": _side(second), "verdict": verdict(changes).value}
        print_json({**members, "changes": [asdict(each) for each in changes]})
        return
    for letter, side in (("A", first), ("B", second)):
        typer.echo(f"{letter}: {clean(side.name)} {state_name(side.state)}")
    typer.echo(summary(changes))
    if changes:
        typer.echo()
        print_table(("term", "part", "A says", "B says", "sharing becomes"), rows(changes))


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
    """List the newest version of each contract that you may see, each with its next open deadline."""
    with connect(context) as client:
        pages = client.contracts.list(states=state or (), provider=provider, consumer=consumer)
        found = list(islice(pages, limit))
    if as_json:
        print_json({"contracts": [document(each) for each in found]})
        return
    lines = [
        (each.name, state_name(each.state), each.terms.consumer, each.terms.dataset, *deadline_summary(each))
        for each in found
    ]
    print_table(("name", "state", "consumer", "dataset", "deadline", "due", "overdue"), lines)


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
    lines = [
        (rfc3339(instant(each.at)), each.contract, each.type, state_name(each.to), each.actor, each.reason)
        for each in found
    ]
    print_table(("at", "contract", "event", "state", "actor", "reason"), lines)


def print_contract(client: Client, contract: Contract) -> None:
    """Writes a contract as a document, with what the catalogue says about its dataset today."""
    paper = contract_document(contract, dataset=_dataset(client, contract))
    if not sys.stdout.isatty():
        for line in document_lines(paper):
            typer.echo(line)
        return
    from rich.console import Console

    Console().print(document_renderable(paper))


def state_name(state: ContractState.ValueType) -> str:
    """Returns the name of a state without its prefix."""
    return short_name(ContractState, "CONTRACT_STATE_", state)


def _dataset(client: Client, contract: Contract) -> Dataset | None:
    """The catalogue entry behind a contract, where there is one: a courtesy to the reader, not part of the terms."""
    try:
        return client.catalog.get(contract.terms.dataset)
    except (NotFound, PermissionDenied):
        return None


def _side(contract: Contract) -> dict[str, str]:
    return {
        "name": contract.name,
        "state": state_name(contract.state),
        "terms_digest": contract.terms_digest,
    }
