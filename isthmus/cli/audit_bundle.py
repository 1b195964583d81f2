"""`isthmus audit bundle`: the evidence of a case as one file; `isthmus audit verify` reads it anywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.connection import connect
from isthmus.cli.inputs import subject as read_subject
from isthmus.cli.output import print_facts, print_json
from isthmus.cli.part_file import PartFile

if TYPE_CHECKING:
    from audit.evidence.verify import VerifiedBundle

_FAILED: Final = 1


def bundle(
    context: typer.Context,
    filter_: Annotated[
        str,
        typer.Argument(
            metavar="FILTER", help="What the case is about, AIP-160, such as 'case_reference = A-7'."
        ),
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="Why the evidence is needed (取证事由); it is recorded.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle, such as case.zip.", dir_okay=False)],
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only records about SCHEME:ID (SCHEME:- reads the id).")
    ] = None,
) -> None:
    """Write the evidence of a case into one file, which anybody verifies without server, network or database.

    It holds all records between the first and the last of the case, at most 10,000, with proofs, checkpoints, signed
    statements and keys, and a README that names other people's tools. It names no person. The export itself is recorded.
    """
    about = read_subject(subject) if subject is not None else None
    with connect(context, audit=True) as client, PartFile(out, asked="", resume=False) as file:
        for part in client.audit.evidence(filter_, reason=reason, subject=about):
            file.append(part.data, token="", rows=0)
        file.finish()
    typer.echo(
        f"evidence in {out}; check it with isthmus audit verify {out} --vkey LOG.PUB --ca CA.PEM", err=True
    )


def verify_evidence(
    path: Path, *, vkey: Path | None, ca: Path | None, known: Path | None, as_json: bool
) -> None:
    """What `isthmus audit verify` does with a bundle."""
    from cryptography.x509 import load_pem_x509_certificates

    from audit.evidence.verify import verify_bundle
    from audit.keys import load_verifier_key
    from audit.verifier.damage import Damaged

    try:
        key = load_verifier_key(vkey) if vkey is not None else None
        authorities = load_pem_x509_certificates(ca.read_bytes()) if ca is not None else None
        outside = known.read_bytes() if known is not None else None
        found = verify_bundle(path, key, ca=authorities, known=outside)
    except Damaged as error:
        if as_json:
            members = {"kind": error.kind.value, "where": error.where, "problem": error.problem}
            print_json({"verified": False, **members})
        typer.echo(f"damaged: {error}", err=True)
        raise typer.Exit(_FAILED) from None
    except (OSError, ValueError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(_FAILED) from None
    print_json(_facts(found)) if as_json else print_facts(_facts(found))
    for words in _warnings(found):
        typer.echo(words, err=True)


def _facts(found: "VerifiedBundle") -> dict[str, Any]:
    return {
        "verified": True,
        "log": found.log,
        "source": "BUNDLE",
        "case": len(found.case),
        "range": f"{found.begin} to {found.end - 1}, whole",
        "rests_on": found.rests_on,
        "statements": found.statements,
        "log_size": found.checkpoint.size,
        "root": found.checkpoint.root.hex(),
        "bundle_digest": found.digest,
        "own_anchors": list(found.anchors),
        "not_enclosed": list(found.missing),
    }


def _warnings(found: "VerifiedBundle") -> list[str]:
    """What a reader may take for verified, and was not."""
    if not found.anchors:
        return []
    names = " and ".join(found.anchors)
    return [
        f"taken from the bundle itself: {names}. A bundle cannot vouch for itself: give --vkey and --ca from sources of yours"
    ]
