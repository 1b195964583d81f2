"""`isthmus audit`: serves the audit service, searches and proves its records, and verifies a ledger offline.

Data goes to standard output, errors and progress to standard error. Exit codes: those of `isthmus`, and 1 for a
ledger in which something is wrong.
"""

import os
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.audit_batch import batch_line, check_line
from isthmus.cli.audit_bundle import bundle
from isthmus.cli.audit_count import count
from isthmus.cli.audit_epochs import destroy_epoch, new_epoch
from isthmus.cli.audit_export import export
from isthmus.cli.audit_rebuild import rebuild_index
from isthmus.cli.audit_reconcile import reconcile
from isthmus.cli.audit_report import app as reports
from isthmus.cli.audit_retention import archive, check_certificate, erase, purge
from isthmus.cli.audit_tiles import export_tiles
from isthmus.cli.audit_verify import verify
from isthmus.cli.audit_witness import consistent, cosignatures, timestamps
from isthmus.cli.connection import connect
from isthmus.cli.inputs import subject as read_subject
from isthmus.cli.output import Json, Limit, document, print_facts, print_json, print_table
from isthmus.v1.audit_service_pb2 import Record, RecordKind
from isthmus.v1.common_pb2 import Decision, LegalBasis, Mode
from isthmus.v1.reason_pb2 import Reason

EXIT_REFUSED: Final = 1

app = typer.Typer(
    name="audit",
    help="The audit service and its trail: serve, search, prove, verify offline.",
    epilog="Exit codes: 0 done; 1 refused, or something is wrong with the ledger; 2 wrong command line; 3 denied; "
    "4 unavailable now.",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(help="exchanges/UUID or records/INDEX.")]
Why = Annotated[str, typer.Option("--reason", help="Why you search (查询事由); it is recorded.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--vkey", help="The log's public key (a C2SP vkey), to check with.", dir_okay=False),
]


@app.callback()
def serve(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", help="audit.toml.", dir_okay=False)] = Path(
        "audit.toml"
    ),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve the audit service until SIGTERM; the commands below do something else."""
    if context.invoked_subcommand is not None:
        return
    # The service brings the database and the server kit, which the other commands do without.
    from audit.keys import KeyFileError
    from audit.main import StartError, run
    from isthmus.cli.audit_state import control_state
    from isthmus.config import ConfigError
    from isthmus.errors import Unavailable
    from isthmus.identity import IdentityError
    from isthmus.packaging_guard import ForeignPackageError
    from isthmus.pki import CredentialsError

    refusals = (StartError, KeyFileError, ConfigError, CredentialsError, IdentityError, ForeignPackageError)
    try:
        run(config, environ=os.environ, log_level=log_level, extend=control_state)
    except (*refusals, Unavailable, OSError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from error


@app.command("list")
def list_records(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="AIP-160, such as 'decision = DENY AND index > 99'.")
    ] = "",
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only records about SCHEME:ID (SCHEME:- reads the id).")
    ] = None,
    reason: Why = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List records, newest first. The search itself is recorded."""
    with connect(context, audit=True) as client:
        about = read_subject(subject) if subject is not None else None
        found = client.audit.records(filter_, subject=about, reason=reason, page_size=min(limit, 1000))
        records = list(islice(found, limit))
    if as_json:
        print_json({"records": [document(each) for each in records]})
        return
    headers = ("INDEX", "TIME", "WHAT", "CONSUMER", "PROVIDER", "CONTRACT", "PURPOSE", "REASONS")
    print_table(headers, (_row(each) for each in records))


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show one record."""
    with connect(context, audit=True) as client:
        record = client.audit.record(name)
    if as_json:
        print_json(document(record))
        return
    print_facts(_facts(record))


@app.command()
def proof(
    context: typer.Context,
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the proof here (a .tlog-proof file).", dir_okay=False)
    ] = None,
    vkey: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Fetch the proof that a record is in the log; with --vkey also check it, trusting nobody."""
    from audit.keys import load_verifier_key
    from audit.tlog.proof import verify_proof

    key = _checked(lambda: load_verifier_key(vkey)) if vkey is not None else None
    with connect(context, audit=True) as client:
        found = client.audit.proof(name)
        leaf = client.audit.record(name).leaf if key else b""
    if key is not None:
        _checked(lambda: verify_proof(found.proof.encode(), leaf, key))
        _checked(lambda: _require_asked(name, found.index, leaf))
    if out is not None:
        out.write_text(found.proof, encoding="utf-8")
    if as_json:
        print_json({**document(found), "verified": key is not None})
    elif out is None:
        typer.echo(found.proof, nl=False)
    if key is not None and not as_json:
        typer.echo(f"verified: record {found.index} is in the log of {key.name}", err=True)


@app.command()
def checkpoint(
    context: typer.Context,
    cosigned: Annotated[
        bool, typer.Option("--cosigned", help="The newest one that a witness cosigned.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the newest signed checkpoint, to be kept outside the reach of whoever runs the log."""
    with connect(context, audit=True) as client:
        found = client.audit.checkpoint()
    if as_json:
        print_json(document(found))
        return
    if cosigned and not found.cosigned_checkpoint:
        typer.echo("refused: no witness has cosigned a checkpoint of this log", err=True)
        raise typer.Exit(EXIT_REFUSED)
    typer.echo(found.cosigned_checkpoint if cosigned else found.checkpoint, nl=False)


app.add_typer(reports)
app.command("count")(count)
app.command("rebuild-index")(rebuild_index)
app.command("verify")(verify)
app.command("reconcile")(reconcile)
app.command("erase")(erase)
app.command("purge")(purge)
app.command("check-certificate")(check_certificate)
app.command("archive")(archive)
app.command("new-epoch")(new_epoch)
app.command("destroy-epoch")(destroy_epoch)
app.command("batch-line")(batch_line)
app.command("check-line")(check_line)
app.command()(bundle)
app.command()(export)
app.command("export-tiles")(export_tiles)
app.command("consistent")(consistent)
app.command("cosignatures")(cosignatures)
app.command("timestamps")(timestamps)


def _require_asked(name: str, index: int, leaf: bytes) -> None:
    # A proof of another record is a proof all the same.
    from audit.record import AccessRecord

    if name not in (f"records/{index}", AccessRecord.parse(leaf).exchange):
        raise ValueError(f"the audit service proved another record than {name}")


def _checked(action: Any) -> Any:
    """The result of an action on files or proofs; a refusal ends the command in words."""
    try:
        return action()
    except ValueError as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None


def _word(enum: Any, number: int, prefix: str) -> str:
    return str(enum.Name(number)).removeprefix(prefix) if number else ""


def _what(record: Record) -> str:
    if record.kind == RecordKind.RECORD_KIND_STREAM_END:
        return f"STREAM_END {record.action}"
    if record.action:
        return record.action
    parts = (_word(Decision, record.decision, "DECISION_"), _word(Mode, record.mode, "MODE_"))
    return " ".join(part for part in parts if part) or _word(RecordKind, record.kind, "RECORD_KIND_")


def _time(record: Record) -> str:
    return record.logged_at.ToJsonString() if record.HasField("logged_at") else ""


def _reasons(record: Record) -> str:
    return ", ".join(_word(Reason, each, "REASON_") for each in record.reasons)


def _row(record: Record) -> tuple[str, ...]:
    parties = (record.consumer, record.provider, record.contract or record.resource, record.purpose)
    return (str(record.index), _time(record), _what(record), *parties, _reasons(record))


def _facts(record: Record) -> dict[str, Any]:
    return {
        "record": f"records/{record.index}",
        "exchange": record.exchange,
        "kind": _word(RecordKind, record.kind, "RECORD_KIND_"),
        "time": _time(record),
        "caller": record.caller,
        "what": _what(record),
        "resource": record.resource,
        "consumer": record.consumer,
        "provider": record.provider,
        "dataset": record.dataset,
        "contract": record.contract,
        "purpose": record.purpose,
        "legal basis": _word(LegalBasis, record.legal_basis, "LEGAL_BASIS_"),
        "case": record.case_reference,
        "subject": record.subject_token,
        "reasons": _reasons(record),
        "fields": [f"{each.name} ({each.transform})" for each in record.fields],
        "rows": record.row_count,
        "leaf": record.leaf.decode(),
    }
