"""`isthmus contract dry-run` and `isthmus gateway dry-run`: other terms or another policy on the recorded past."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from isthmus.cli.connection import connect
from isthmus.cli.inputs import read_document
from isthmus.cli.output import Json, document, print_json, print_table
from isthmus.terms import document_to_terms, parse_rfc3339, timestamp
from isthmus.v1.contract_service_pb2 import ChangedDecision, ContractTerms, DryRunContractResponse

Since = Annotated[str, typer.Option("--since", help="Only exchanges recorded since then, RFC 3339.")]

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


def dry_run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="contracts/ID, whose recorded exchanges are tried.")],
    terms: Annotated[Path, typer.Argument(help="The terms to try, TOML or JSON.", dir_okay=False)],
    since: Since = "",
    ignore_period: Annotated[
        bool,
        typer.Option(
            "--ignore-period", help="As if the terms had always been in force; else their period counts."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which recorded exchanges of a contract other terms would decide otherwise. Nothing is proposed or changed."""
    tried = document_to_terms(read_document(terms))
    if ignore_period:
        _always(tried)
    with connect(context) as client:
        found = client.contracts.dry_run(name, tried, since=since_time(since))
    print_report(found, as_json=as_json)


def since_time(text: str) -> datetime | None:
    """Reads --since; None when it is not given.

    Raises:
        InvalidArgument: it is no RFC 3339 time.
    """
    return parse_rfc3339(text, field="since") if text else None


def print_report(report: DryRunContractResponse, *, as_json: bool) -> None:
    """Writes what a dry run found."""
    if as_json:
        print_json(document(report))
        return
    typer.echo(f"{_count(report.tried)} tried, of the newest; {report.changed} would be decided otherwise.")
    for each in report.changes:
        typer.echo(_sentence(each))
    if report.undecided:
        typer.echo(
            f"{_count(report.undecided)} cannot be decided anew: refused once, and the log does not hold what was asked."
        )
    if report.changes:
        typer.echo()
        rows = [(each.reasons, example) for each in report.changes for example in each.examples]
        print_table(("reasons", "for example"), rows)


def _sentence(change: ChangedDecision) -> str:
    these = f"These {change.count} exchanges" if change.count > 1 else "This exchange"
    if change.tried == "DENY":
        return f"{these} would now be denied: {change.reasons}."
    return f"{these} would now be allowed, denied then: {change.reasons}."


def _count(number: int) -> str:
    return f"{number} recorded exchange{'' if number == 1 else 's'}"


def _always(terms: ContractTerms) -> None:
    terms.period.not_before.CopyFrom(timestamp(_BEGINNING))
    terms.period.not_after.CopyFrom(timestamp(_END))
