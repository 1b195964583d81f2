"""`isthmus witness`: vouches for the logs of others, so that nobody who runs one can show it in two versions.

Exit codes: 0 done, or stopped as asked; 1 refused, and standard error says why; 2 wrong command line.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from isthmus.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from audit.witness.config import WitnessSettings
    from audit.witness.store import Store

EXIT_REFUSED: Final = 1
_SECRET: Final = 0o600
_PUBLIC: Final = 0o644

app = typer.Typer(
    name="witness",
    help="Vouch for the logs of others: a witness of the C2SP witness protocol.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong command line.",
    invoke_without_command=True,
)

Config = Annotated[
    Path, typer.Option("--config", help="witness.toml; deploy/witness.toml explains it.", dir_okay=False)
]
_DEFAULT: Final = Path("witness.toml")


@app.callback()
def serve(
    context: typer.Context,
    config: Config = _DEFAULT,
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve the witness until SIGTERM. `keygen`, `init` and `splits` do something else."""
    if context.invoked_subcommand is not None:
        return
    from audit.witness.main import run
    from isthmus.packaging_guard import ForeignPackageError

    try:
        run(config, environ=os.environ, log_level=log_level)
    except (ForeignPackageError, OSError, ValueError) as error:
        raise _refused(error) from None


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(help="The witness's name, such as witness.audit-office.example/w1.")],
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the files go; made if it is missing.", file_okay=False)
    ] = Path("secrets"),
) -> None:
    """Make the key of a witness, witness.key and witness.pub; never over files that are there. Prints the vkey."""
    from audit.tlog.cosignature import CosignerSigner
    from isthmus.cli.keys import write_new

    try:
        key = CosignerSigner.generate(name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(directory / "witness.key", key.encode(), _SECRET)
        write_new(directory / "witness.pub", key.verifier.encode(), _PUBLIC)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    except OSError as error:
        raise _refused(f"{error.filename}: {error.strerror}; nothing is ever replaced") from None
    typer.echo(key.verifier.encode())


@app.command()
def init(config: Config = _DEFAULT) -> None:
    """Begin the witness's memory, once, for a key that never cosigned anything."""
    from audit.keys import load_cosigner
    from audit.witness.store import Store

    try:
        settings = _settings(config)
        Store.create(settings.memory, load_cosigner(settings.key).verifier.encode())
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    typer.echo(f"begun: {settings.memory}", err=True)


@app.command()
def splits(
    config: Config = _DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write each pair of checkpoints into this folder.", file_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the proofs that a log split: two checkpoints of one size that it signed and that differ."""
    from sqlite3 import DatabaseError

    try:
        found = _store(config).splits()
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for number, each in enumerate(found):
                (out / f"{number}-cosigned.checkpoint").write_bytes(each.ours)
                (out / f"{number}-other.checkpoint").write_bytes(each.theirs)
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    except DatabaseError as error:
        raise _refused(f"the memory of the witness cannot be read: {error}") from None
    if as_json:
        print_json({"splits": [{"log": each.origin, "size": each.size} for each in found]})
        return
    print_table(("LOG", "SIZE"), ((each.origin, str(each.size)) for each in found))


def _settings(config: Path) -> "WitnessSettings":
    from audit.witness.config import WitnessConfig
    from isthmus.config import load

    return load(config, WitnessConfig, environ=os.environ).witness


def _store(config: Path) -> "Store":
    from audit.keys import load_cosigner
    from audit.witness.store import Store

    settings = _settings(config)
    return Store(settings.memory, load_cosigner(settings.key).verifier.encode())


def _refused(error: Exception | str) -> typer.Exit:
    typer.echo(f"refused: {error}", err=True)
    return typer.Exit(EXIT_REFUSED)
