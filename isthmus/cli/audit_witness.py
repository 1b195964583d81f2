"""`isthmus audit consistent`, `cosignatures` and `timestamps`: what others vouch for, and what the log once signed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.connection import connect
from isthmus.cli.output import Json, clean, print_facts, print_json, print_table
from isthmus.cli.whole import write_whole
from isthmus.errors import InvalidArgument

if TYPE_CHECKING:
    from audit.kept import Witnessed
    from audit.tlog.checkpoint import Checkpoint

_FAILED: Final = 1
Ledger = Annotated[str, typer.Argument(help="The database file, or sqlite:/// and its path; a copy will do.")]
Vkey = Annotated[
    Path,
    typer.Option(
        "--vkey", help="The log's public key (a C2SP vkey), from a source of yours.", dir_okay=False
    ),
]


def consistent(
    context: typer.Context,
    kept: Annotated[
        Path,
        typer.Argument(
            help="What you kept: a checkpoint, a .tlog-proof, or an answer that --json printed.",
            dir_okay=False,
        ),
    ],
    vkey: Vkey,
    witness: Annotated[
        list[Path] | None,
        typer.Option(
            "--witness", help="The vkey of a witness you trust; may be given again.", dir_okay=False
        ),
    ] = None,
    required: Annotated[
        int | None,
        typer.Option("--required", min=1, help="So many of them must have cosigned; all unless given."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Keep the newer checkpoint here, for the next time.", dir_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that the log still holds everything it signed when you got your receipt; with --witness, that others saw it so.

    When it does not, the checkpoint that contradicts yours goes to standard output: keep both.
    """
    from audit.kept import Contradiction, kept_checkpoint, require_same_history, require_witnessed
    from audit.keys import load_cosigner_key, load_verifier_key

    seen: Witnessed | None = None
    try:
        key, witnesses = load_verifier_key(vkey), [load_cosigner_key(each) for each in witness or ()]
        mine = kept_checkpoint(kept.read_bytes())
        with connect(context, audit=True) as client:
            found, proof = client.audit.checkpoint(), _asking(client)
            old, new = require_same_history(mine, found.checkpoint.encode(), key, proof=proof)
            if witnesses:
                seen = require_witnessed(
                    mine,
                    found.checkpoint.encode(),
                    found.cosigned_checkpoint.encode(),
                    key,
                    witnesses=witnesses,
                    required=len(witnesses) if required is None else required,
                    proof=proof,
                )
        if out is not None:
            write_whole(out, found.checkpoint)
    except Contradiction as error:
        others = [each for each in error.notes if each != mine]
        typer.echo(b"\n".join(others), nl=False)
        which = "the two checkpoints above" if len(others) > 1 else "your file and this checkpoint"
        typer.echo(f"contradicted: {error}. Keep {which}, and tell the auditors", err=True)
        raise typer.Exit(_FAILED) from None
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    _say(old, new, seen, as_json=as_json)


def cosignatures(ledger: Ledger, as_json: Json = False) -> None:
    """List what each witness cosigned last, from a ledger's file. `consistent --witness` checks cosignatures."""
    from sqlalchemy.exc import SQLAlchemyError

    from audit.ledger.offline import open_offline
    from audit.witness.stored import newest_of_all

    try:
        with open_offline(ledger) as connection:
            found = newest_of_all(connection)
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    except SQLAlchemyError as error:
        raise _unreadable(ledger, error) from None
    rows = [{"witness": each.witness, "size": each.size, "time": _time(each.at_ms)} for each in found]
    _list(rows, "cosignatures", as_json=as_json)


def timestamps(
    ledger: Ledger,
    roots: Annotated[
        Path,
        typer.Option(
            "--roots",
            help="The certificates you trust to vouch for timestamp authorities (PEM).",
            dir_okay=False,
        ),
    ],
    vkey: Annotated[
        Path | None,
        typer.Option(
            "--vkey", help="The log's public key: check that it signed each checkpoint.", dir_okay=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the RFC 3161 timestamps of a ledger's checkpoints, each verified offline against the checkpoint it is of."""
    from sqlalchemy.exc import SQLAlchemyError

    from audit.keys import load_verifier_key
    from audit.ledger.offline import open_offline
    from audit.timestamps import load_roots, verify_tokens

    try:
        key = None if vkey is None else load_verifier_key(vkey)
        with open_offline(ledger) as connection:
            found = list(verify_tokens(connection, load_roots(roots), key=key))
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    except SQLAlchemyError as error:
        raise _unreadable(ledger, error) from None
    rows = [
        {
            "authority": each.authority,
            "size": each.size,
            "time": each.at.isoformat(),
            "serial": str(each.serial),
        }
        for each in found
    ]
    _list(rows, "timestamps", as_json=as_json)


def _asking(client: Any) -> Any:
    def proof(old: int, new: int) -> Sequence[bytes]:
        from audit.kept import Contradiction

        try:
            return list(client.audit.consistency(old, new).hashes)
        except InvalidArgument as error:
            raise Contradiction(
                f"the log does not know a checkpoint that it signed: {clean(error.message)}"
            ) from None

    return proof


def _say(old: "Checkpoint", new: "Checkpoint", seen: "Witnessed | None", *, as_json: bool) -> None:
    facts: dict[str, Any] = {"consistent": True, "log": old.origin, "kept": old.size, "now": new.size}
    times = {} if seen is None else {name: at.isoformat() for name, at in seen.cosigned.items()}
    if seen is not None:
        facts["witnessed"] = seen.size
    if as_json:
        print_json(facts | ({"cosigned": times} if times else {}))
        return
    print_facts(facts | {"cosigned": [f"{at} {name}" for name, at in times.items()]})


def _list(rows: Sequence[dict[str, Any]], name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({name: list(rows)})
        return
    headers = list(rows[0]) if rows else []
    print_table([each.upper() for each in headers], ([str(value) for value in row.values()] for row in rows))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def _refused(error: Exception) -> typer.Exit:
    typer.echo(f"refused: {error}", err=True)
    return typer.Exit(_FAILED)


def _unreadable(ledger: str, error: Exception) -> typer.Exit:
    # Only what the database says: the rest is the statement.
    said = clean(str(getattr(error, "orig", None) or type(error).__name__))
    typer.echo(f"refused: {ledger} cannot be read as a ledger: {said}", err=True)
    return typer.Exit(_FAILED)
