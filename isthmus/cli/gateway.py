"""`isthmus gateway`: serves the gateway, makes its keys, and denies certificates.

Data goes to standard output, errors to standard error. Exit codes: 0 done, or stopped as asked; 1 refused, and
standard error says why; 2 wrong command line.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from audit.tlog.errors import NoteError
from audit.tlog.keys import SignerKey
from gateway.config import load_config
from gateway.denylist import deny_certificate
from gateway.load import GatewayError, open_ledger
from gateway.main import run, utc_now
from gateway.policy.engine import PolicyInvalid
from isthmus.cli.keys import write_new
from isthmus.cli.output import Json
from isthmus.config import ConfigError
from isthmus.errors import IsthmusError
from isthmus.identity import Role
from isthmus.packaging_guard import ForeignPackageError
from isthmus.pki import CredentialsError, load_credentials
from isthmus.trust import TrustAnchors, TrustError

EXIT_REFUSED = 1
_SECRET = 0o600
_PUBLIC = 0o644

app = typer.Typer(
    name="gateway",
    help="The front door: policy, contracts, consents and exchanges.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong command line.",
    invoke_without_command=True,
)

Config = Annotated[
    Path, typer.Option("--config", help="gateway.toml; deploy/gateway.toml explains it.", dir_okay=False)
]


def _refuse(error: Exception) -> typer.Exit:
    typer.echo(f"refused: {error}", err=True)
    return typer.Exit(EXIT_REFUSED)


@app.callback()
def serve(
    context: typer.Context,
    config: Config = Path("gateway.toml"),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve the gateway until SIGTERM. `init`, `deny-certificate` and `dry-run` do something else."""
    if context.invoked_subcommand is not None:
        return
    try:
        run(config, environ=os.environ, log_level=log_level)
    except (GatewayError, ConfigError, ForeignPackageError) as error:
        raise _refuse(error) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from error


@app.command()
def init(
    origin: Annotated[str, typer.Argument(help="The log's name, such as log.data.example/main.")],
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the files go; made if it is missing.", file_okay=False)
    ] = Path("secrets"),
) -> None:
    """Make the key that signs the log and the first key of the subject tokens; never over files that are there."""
    try:
        key = SignerKey.generate(origin)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(directory / "log.key", key.encode(), _SECRET)
        write_new(directory / "log.pub", key.verifier.encode(), _PUBLIC)
        write_new(directory / "subject-1.key", secrets.token_hex(32), _SECRET)
    except NoteError as error:
        raise typer.BadParameter(str(error), param_hint="ORIGIN") from error
    except OSError as error:
        raise _refuse(
            GatewayError(f"{error.filename}: {error.strerror}; nothing is ever replaced")
        ) from error
    typer.echo(key.verifier.encode())


@app.command("deny-certificate")
def deny(
    thumbprint: Annotated[
        str, typer.Argument(help="SHA-256 of the certificate's DER, 64 hexadecimal digits.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; no personal data.")],
    operator_certificate: Annotated[
        Path, typer.Option("--operator-certificate", help="Your own certificate (PEM).", dir_okay=False)
    ],
    operator_key: Annotated[Path, typer.Option("--operator-key", help="Its key (PEM).", dir_okay=False)],
    config: Config = Path("gateway.toml"),
) -> None:
    """Deny a certificate for good; once this returns, nothing is released to it. Prints the ledger position."""
    try:
        loaded = load_config(config, environ=os.environ)
        # Holding the key proves who the operator is: the record names nobody on a mere claim.
        operator = load_credentials(operator_certificate, operator_key, loaded.server.ca)
        anchors = TrustAnchors(operator.ca_certificates, loaded.server.trust_domain)
        actor = anchors.verify(operator.certificate.public_bytes(Encoding.DER)).identity
        if actor.role is not Role.OPERATOR:
            raise GatewayError(
                f"{operator_certificate}: is the certificate of {actor.resource}, not an operator's"
            )
        ledger = open_ledger(loaded, clock=utc_now)
    except (GatewayError, ConfigError, CredentialsError, TrustError) as error:
        raise _refuse(error) from error
    try:
        typer.echo(deny_certificate(ledger, thumbprint.lower(), reason, actor))
    except IsthmusError as error:
        raise _refuse(error) from error
    finally:
        ledger.close()


@app.command("dry-run")
def dry_run(
    additions: Annotated[
        Path,
        typer.Option(
            "--additions",
            help="The folder of *.cedar files to try in place of the configured ones.",
            file_okay=False,
        ),
    ],
    since: Annotated[str, typer.Option("--since", help="Only exchanges recorded since then, RFC 3339.")] = "",
    config: Config = Path("gateway.toml"),
    as_json: Json = False,
) -> None:
    """Say which recorded exchanges another policy would decide otherwise. Reads the ledger, and changes nothing."""
    from isthmus.cli.policy_dryrun import dry_run_policy

    try:
        dry_run_policy(load_config(config, environ=os.environ), additions, since=since, as_json=as_json)
    except (ConfigError, PolicyInvalid, IsthmusError, OSError, ValueError) as error:
        raise _refuse(error) from error
