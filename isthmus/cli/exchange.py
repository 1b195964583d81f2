"""`isthmus query`, `verify` and `explain`: asking for facts under a contract."""

from typing import Annotated, Any

import typer

from isthmus.cli.connection import connect
from isthmus.cli.failures import DENIED
from isthmus.cli.inputs import comparison, subject, typed
from isthmus.cli.output import Json, cell, document, print_facts, print_json, print_table
from isthmus.client import Client
from isthmus.client.results import QueryResult
from isthmus.v1.common_pb2 import DECISION_ALLOW, Decision, FieldType
from isthmus.v1.exchange_service_pb2 import ExplainResponse
from isthmus.v1.reason_pb2 import Reason

Contract = Annotated[str, typer.Option("--contract", help="The contract, contracts/ID.")]
Purpose = Annotated[str, typer.Option("--purpose", help="One of the contract's purposes, word for word.")]
Case = Annotated[str, typer.Option("--case", help="The number of the matter that needs the facts.")]
Emergency = Annotated[
    str,
    typer.Option(
        "--emergency",
        help="Why a life or health depends on it, to go without consent where the contract allows that. No personal "
        "data: it is recorded word for word, and reviewed.",
    ),
]
About = Annotated[
    str,
    typer.Option("--subject", help="SCHEME:ID; SCHEME:- reads the identifier from standard input."),
]
Fields = Annotated[list[str], typer.Option("--field", help="A field of the contract. Repeatable.")]
Where = Annotated[
    str, typer.Option("--where", help="What is asked, such as '出生日期<=2008-09-01'; = != < <= > >=.")
]
Receipt = Annotated[
    bool, typer.Option("--check-receipt", help="Fail unless the provider signed for exactly this answer.")
]


def query(
    context: typer.Context,
    contract: Contract,
    purpose: Purpose,
    about: About,
    fields: Fields,
    case: Case = "",
    emergency: Emergency = "",
    check_receipt: Receipt = False,
    as_json: Json = False,
) -> None:
    """Ask for facts about one subject.

    A subject that the provider does not know is an answer without rows, not an error.
    """
    person = subject(about)
    with connect(context) as client:
        result = client.query(
            contract=contract,
            purpose=purpose,
            subject=person,
            fields=fields,
            case_reference=case,
            emergency=emergency,
        )
        signer = client.verify_receipt(result).node.resource if check_receipt else ""
    if as_json:
        print_json(_query_document(result, signer))
        return
    print_table(
        [column.name for column in result.columns],
        [[cell(each) for each in row.values()] for row in result.rows],
    )
    typer.echo(_footer(result.exchange, known=result.subject_known, signer=signer), err=True)


def verify(
    context: typer.Context,
    contract: Contract,
    purpose: Purpose,
    about: About,
    where: Where,
    case: Case = "",
    emergency: Emergency = "",
    check_receipt: Receipt = False,
    as_json: Json = False,
) -> None:
    """Ask whether something is true of one subject: YES, NO or UNKNOWN. No data leave the provider."""
    person = subject(about)
    with connect(context) as client:
        result = client.exchange.verify(
            contract=contract,
            purpose=purpose,
            subject=person,
            predicate=predicate_of(client, contract, where),
            case_reference=case,
            emergency=emergency,
        )
        signer = client.verify_receipt(result).node.resource if check_receipt else ""
    if as_json:
        print_json(
            {
                "exchange": result.exchange,
                "verdict": result.verdict,
                "receipt": document(result.receipt),
                "receipt_signer": signer,
            }
        )
        return
    typer.echo(result.verdict)
    typer.echo(_footer(result.exchange, known=True, signer=signer), err=True)


def explain(
    context: typer.Context,
    contract: Contract,
    purpose: Purpose,
    about: Annotated[
        str, typer.Option("--subject", help="As in query; without it a whole-dataset stream is explained.")
    ] = "",
    fields: Annotated[list[str] | None, typer.Option("--field", help="A field. Repeatable.")] = None,
    where: Annotated[str, typer.Option("--where", help="As in verify; then a Verify is explained.")] = "",
    case: Case = "",
    emergency: Emergency = "",
    as_json: Json = False,
) -> None:
    """Say how an exchange would be decided now, and what would make it pass. Nothing is asked of the provider.

    Exits with 3 when it would be denied.
    """
    person = subject(about) if about else None
    with connect(context) as client:
        answer = client.exchange.explain(
            contract=contract,
            purpose=purpose,
            subject=person,
            fields=fields or (),
            predicate=predicate_of(client, contract, where) if where else None,
            case_reference=case,
            emergency=emergency,
        )
    if as_json:
        print_json(document(answer))
    else:
        _print_explanation(answer)
    if answer.decision != DECISION_ALLOW:
        raise typer.Exit(DENIED)


def predicate_of(client: Client, contract: str, where: str) -> tuple[str, str, Any]:
    """Reads a comparison; its value has the type that the catalogue gives the field."""
    field, operator, text = comparison(where)
    dataset = client.catalog.get(client.contracts.get(contract).terms.dataset)
    kinds = {each.name: each.type for each in dataset.fields}
    # A field that the catalogue does not know is the gateway's to refuse, with the rule that says so.
    return field, operator, typed(text, kinds.get(field, FieldType.FIELD_TYPE_STRING))


def _query_document(result: QueryResult, signer: str) -> dict[str, Any]:
    return {
        "exchange": result.exchange,
        "subject_known": result.subject_known,
        "columns": [document(column) for column in result.columns],
        "rows": result.rows,
        "receipt": document(result.receipt),
        "receipt_signer": signer,
    }


def _footer(exchange: str, *, known: bool, signer: str) -> str:
    parts = [exchange, "" if known else "the provider does not know the subject"]
    parts.append(f"receipt signed by {signer}" if signer else "")
    return "; ".join(part for part in parts if part)


def _print_explanation(answer: ExplainResponse) -> None:
    print_facts(
        {
            "decision": Decision.Name(answer.decision).removeprefix("DECISION_"),
            "contract": answer.contract,
            "consent": answer.consent,
            "fields": [f"{each.name} ({each.transform})" for each in answer.fields],
            "policy": answer.policy_digest,
            "position": answer.position,
        }
    )
    for rule in answer.failed_rules:
        print_facts(
            {
                "rule": f"{Reason.Name(rule.reason).removeprefix('REASON_')} ({rule.rule})",
                "because": rule.explanation,
                "remedy": rule.remedy,
            }
        )
