"""`isthmus audit verify`: a log verified offline, from its database, its tiles as files, or a tile server."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.audit_bundle import verify_evidence
from isthmus.cli.output import Json, print_facts, print_json
from isthmus.cli.progress import Bar

if TYPE_CHECKING:
    from audit.verifier.result import Verified

_FAILED: Final = 1
_UNAVAILABLE: Final = 4


def verify(
    log: Annotated[
        str,
        typer.Argument(
            help="The ledger's database file (a copy will do), a folder of tiles, the http(s) address of a tile "
            "server, or a bundle of evidence."
        ),
    ],
    vkey: Annotated[
        Path | None,
        typer.Option(
            "--vkey",
            help="The log's public key (a C2SP vkey), from a source of yours. A bundle can do without, and then "
            "agrees with itself only.",
            dir_okay=False,
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="A checkpoint from outside that it must extend, such as a pin.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            help="Go on where the run before ended that left this file, and leave it for the next.",
            dir_okay=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Processes; as many as there are cores unless given.", min=1)
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca", help="Of a bundle: the authorities (PEM), from a source of yours.", dir_okay=False
        ),
    ] = None,
    hashes_only: Annotated[
        bool,
        typer.Option(
            "--hashes-only",
            help="Be satisfied with a folder or server that comes without its records: then none is read.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify a log offline, read-only: every record, hash, tile, checkpoint, column and fence that is there to see.

    Of a bundle: every proof, checkpoint, statement and file in it; it needs no server, network or database.
    """
    from audit.evidence.verify import is_bundle
    from audit.keys import load_verifier_key
    from audit.verifier.damage import Damaged
    from audit.verifier.ledger import verify_ledger
    from audit.verifier.source import SourceUnavailable
    from audit.verifier.tiles import ENTRIES, verify_tiles

    if is_bundle(Path(log)):
        verify_evidence(Path(log), vkey=vkey, ca=ca, known=known, as_json=as_json)
        return
    if vkey is None or ca is not None:
        raise typer.BadParameter("a log is verified with --vkey, and without --ca", param_hint="--vkey")
    tiles = log.startswith(("http://", "https://")) or Path(log).is_dir()
    verifier = partial(verify_tiles, records_required=not hashes_only) if tiles else verify_ledger
    with _Progress("verifying", total=None) as bar:
        try:
            key = load_verifier_key(vkey)
            outside = known.read_bytes() if known is not None else None
            cores = jobs or len(os.sched_getaffinity(0))
            found = verifier(log, key, known=outside, state=state, jobs=cores, progress=bar.reach)
        except Damaged as error:
            if as_json:
                members = {"kind": error.kind.value, "where": error.where, "problem": error.problem}
                print_json({"verified": False, **members})
            typer.echo(f"damaged: {error}", err=True)
            if error.where == ENTRIES:
                typer.echo("if hashes are all that you were to be given, say so with --hashes-only", err=True)
            raise typer.Exit(_FAILED) from None
        except SourceUnavailable as error:
            typer.echo(f"unavailable: {error}", err=True)
            raise typer.Exit(_UNAVAILABLE) from None
        except (OSError, ValueError) as error:
            typer.echo(f"refused: {error}", err=True)
            raise typer.Exit(_FAILED) from None
    facts = _facts(found, key.name)
    print_json(facts) if as_json else print_facts(facts)
    for words in _unseen(found):
        typer.echo(words, err=True)


class _Progress(Bar):
    def reach(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._bar.update(self._task, completed=done, total=total)


def _facts(found: "Verified", name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"verified": True, "log": name, "source": found.source.value}
    facts |= {"records": found.size, "checkpoints": found.checkpoints, "root": found.root.hex()}
    return {**facts, "new_from": found.begin} if found.begin else facts


def _unseen(found: "Verified") -> list[str]:
    """What a reader may take for verified, and was not this time."""
    from audit.verifier.result import Source

    words = []
    if found.source is Source.HASHES:
        words.append(
            "only hashes and the checkpoint were verified: this log comes without entries, so no record was read"
        )
    elif found.source is Source.ENTRIES:
        words.append(
            "erasable detail is not in tiles: what a batch decided about each subject shows in the ledger only"
        )
    if found.begin:
        words.append(
            f"records 0 to {found.begin - 1} were verified by an earlier run; the log extends them, and they were not "
            "read again"
        )
    return words
