"""`isthmus pki`: a development authority and its certificates. Production brings its own CA.

Data goes to standard output, errors to standard error. Exit codes: 0 done; 1 refused (a file exists, a name
or lifetime breaks a rule, a file cannot be read); 2 the command line itself is wrong.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from isthmus import pki
from isthmus.identity import SERVING_ROLES, Identity, IdentityError
from isthmus.pki.credentials import load_certificates

EXIT_REFUSED = 1

_SCHEME = "spiffe://"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_LIFETIME = re.compile(r"([1-9][0-9]{0,6})([mhd])")

app = typer.Typer(
    name="pki",
    help="A development certification authority: init, issue, show. Production brings its own.",
    no_args_is_help=True,
    epilog="Exit codes: 0 done, 1 refused, 2 wrong command line.",
)

Directory = Annotated[
    Path, typer.Option("--dir", help="Where ca.pem, ca.key and the issued files are.", file_okay=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def _lifetime(text: str) -> timedelta:
    match = _LIFETIME.fullmatch(text)
    if match is None:
        raise typer.BadParameter("give a number and a unit: 30m, 24h or 365d")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise typer.BadParameter("that is longer than any certificate lasts") from None


Lifetime = Annotated[
    timedelta, typer.Option("--lifetime", parser=_lifetime, metavar="N{m|h|d}", help="How long it is valid.")
]


@app.command()
def init(
    trust_domain: Annotated[str, typer.Argument(help="A lower-case DNS name, such as data.example.")],
    directory: Directory = Path("pki"),
    lifetime: Lifetime = "365d",  # type: ignore[assignment]  # the parser reads the default too
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make an authority for a trust domain: ca.pem and ca.key (mode 0600)."""

    def run() -> dict[str, Any]:
        authority = pki.create_authority(trust_domain, now=datetime.now(UTC), lifetime=lifetime)
        certificate, key = pki.save_authority(directory, authority, force=force)
        return {
            "trust_domain": trust_domain,
            "certificate": str(certificate),
            "key": str(key),
            "not_after": authority.certificate.not_valid_after_utc.isoformat(),
        }

    _answer(run, as_json=as_json)


@app.command()
def issue(
    identity: Annotated[
        str,
        typer.Argument(
            help="A SPIFFE path or URI: /department/<d>/{system|node|officer}/<n>, "
            "/{gateway|audit|auditor|operator|portal}/<n>."
        ),
    ],
    directory: Directory = Path("pki"),
    lifetime: Lifetime = "24h",  # type: ignore[assignment]  # the parser reads the default too
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A further DNS name or IP address of a server, such as localhost."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a key and a certificate for one identity: <stem>.pem and <stem>.key (mode 0600).

    Certificates of gateways, audit services and nodes also hold their server name, which clients pin.
    """

    def run() -> dict[str, Any]:
        authority = pki.load_authority(directory)
        who = _identity(identity, authority.trust_domain)
        issued = authority.issue(who, now=datetime.now(UTC), lifetime=lifetime, hosts=tuple(host or ()))
        certificate, key = pki.save_issued(directory, who, issued, force=force)
        return {
            "identity": who.uri,
            "resource": who.resource,
            "server_name": pki.server_name(who) if who.role in SERVING_ROLES else None,
            "certificate": str(certificate),
            "key": str(key),
            "not_after": issued.certificate.not_valid_after_utc.isoformat(),
        }

    _answer(run, as_json=as_json)


@app.command()
def show(
    certificate: Annotated[Path, typer.Argument(help="A PEM file; its first certificate is shown.")],
    as_json: Json = False,
) -> None:
    """Show what a certificate says: names, thumbprint, dates. Nothing is verified."""
    _answer(lambda: _describe(load_certificates(certificate)[0]), as_json=as_json)


def _identity(text: str, trust_domain: str) -> Identity:
    if text.startswith(_SCHEME):
        return Identity.parse(text, trust_domain=trust_domain)
    return Identity.parse_path(text, trust_domain=trust_domain)


def _describe(certificate: x509.Certificate) -> dict[str, Any]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        names = x509.SubjectAlternativeName([])
    addresses = names.get_values_for_type(x509.IPAddress)
    return {
        "uris": names.get_values_for_type(x509.UniformResourceIdentifier),
        "hosts": names.get_values_for_type(x509.DNSName) + [str(address) for address in addresses],
        "thumbprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "serial": f"{certificate.serial_number:x}",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }


def _answer(run: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    """Prints what `run` returns; turns a refusal into one line on standard error and exit code 1."""
    try:
        facts = run()
    except (IdentityError, pki.PkiError, pki.CredentialsError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in (None, []):
            typer.echo(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
