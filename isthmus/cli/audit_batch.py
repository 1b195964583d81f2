"""`isthmus audit batch-line` and `check-line`: what a batch decided about one subject, proven without trust in anybody."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.output import Json, print_facts, print_json

if TYPE_CHECKING:
    from audit.batch.proof import LineProof

_FAILED = 1

Vkey = Annotated[
    Path,
    typer.Option(
        "--vkey", help="The log's public key (a C2SP vkey), from a source of yours.", dir_okay=False
    ),
]


def batch_line(
    ledger: Annotated[
        str, typer.Argument(help="The database file, or sqlite:/// and its path; a copy will do.")
    ],
    name: Annotated[str, typer.Argument(help="The batch: exchanges/UUID or records/INDEX.")],
    vkey: Vkey,
    index: Annotated[
        int, typer.Option("--index", min=0, help="The subject's position in the request, from 0.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the proof here, for check-line.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove what a batch decided about one subject, from a ledger's file, and check the proof."""
    from audit.batch.proof import prove_from

    try:
        proof = prove_from(ledger, name, index)
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    _show(proof, vkey, as_json=as_json)
    if out is not None:
        out.write_bytes(proof.encode())


def check_line(
    proof: Annotated[Path, typer.Argument(help="What batch-line wrote.", dir_okay=False)],
    vkey: Vkey,
    as_json: Json = False,
) -> None:
    """Check the proof of what a batch decided about one subject; needs nothing but the log's public key."""
    from audit.batch.proof import LineProof

    try:
        found = LineProof.decode(proof.read_bytes())
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    _show(found, vkey, as_json=as_json)


def _show(proof: "LineProof", vkey: Path, *, as_json: bool) -> None:
    from audit.keys import load_verifier_key

    try:
        record, line = proof.check(load_verifier_key(vkey))
    except ValueError as error:
        raise _refused(error) from None
    facts = {
        "verified": True,
        "exchange": record.exchange,
        "line": line.index,
        "among": record.subject_count,
        "subject": line.token,
        "decision": line.decision,
        "reasons": list(line.reasons),
        "consent": line.consent.get("name", ""),
        "rows": line.rows,
        "contract": record.contract,
        "purpose": record.purpose,
    }
    print_json(facts) if as_json else print_facts(facts)


def _refused(error: Exception) -> typer.Exit:
    typer.echo(f"refused: {error}", err=True)
    return typer.Exit(_FAILED)
