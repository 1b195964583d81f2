"""How a command connects: options, else the environment, else a profile of the configuration file.

# ~/.config/isthmus/config.toml
[profile.default]
address = "gateway.example:8443"
cert = "enrolment.pem"
key = "enrolment.key"
ca = "ca.pem"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

    from isthmus.client import Client

DEFAULT_PROFILE: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One `[profile.NAME]`; whatever is missing must come from options or the environment."""

    address: str | None = None
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    server: str | None = None
    audit_address: str | None = None
    audit_server: str | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions(Profile):
    """What the options and the environment say, and which profile completes them."""

    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """The configuration file of the command."""

    profile: dict[str, Profile] = field(default_factory=dict)


class NotConnected(ValueError):
    """It is not known how to connect. The message says what is missing and where it can be set."""


def configuration_path(environ: Mapping[str, str]) -> Path:
    """Returns where profiles are: `ISTHMUS_CONFIG`, else `isthmus/config.toml` below the XDG folder."""
    if chosen := environ.get("ISTHMUS_CONFIG"):
        return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "isthmus" / "config.toml"


def complete(options: ConnectionOptions, environ: Mapping[str, str]) -> ConnectionOptions:
    """Returns the options with what a profile adds to them.

    Raises:
        NotConnected: the profile that was asked for does not exist.
        ConfigError: the configuration file is not in order.
    """
    path = configuration_path(environ)
    found = _profiles(path)
    name = options.profile or DEFAULT_PROFILE
    if options.profile is not None and name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise NotConnected(f"there is no profile {name!r} in {path}; there are: {known}")
    added = found.get(name, Profile())
    missing = {
        each.name: getattr(added, each.name)
        for each in fields(Profile)
        if getattr(options, each.name) is None
    }
    return replace(options, **missing)


def connect(context: typer.Context, *, audit: bool = False, patience: float | None = None) -> Client:
    """Returns a client of the gateway, or of the audit service; close it when done.

    Args:
        context: of the command that runs.
        audit: whether the audit service is meant.
        patience: seconds that its calls may take, unless the user says otherwise; the client's own default unless given.

    Raises:
        NotConnected: an address or a file is missing.
        ConfigError, CredentialsError, IdentityError: what was given cannot be used.
    """
    from isthmus.client import Client

    options = context.obj if isinstance(context.obj, ConnectionOptions) else ConnectionOptions()
    whole = complete(options, os.environ)
    address = whole.audit_address if audit else whole.address
    server = (whole.audit_server or "audit/main") if audit else (whole.server or "gateway/main")
    needed = {
        "audit-address" if audit else "address": address,
        "cert": whole.cert,
        "key": whole.key,
        "ca": whole.ca,
    }
    if absent := [name for name, value in needed.items() if value is None]:
        raise NotConnected(_how_to_set(absent))
    assert address and whole.cert and whole.key and whole.ca
    deadline = patience if whole.deadline is None else whole.deadline
    return Client(address, cert=whole.cert, key=whole.key, ca=whole.ca, server=server, deadline=deadline)


def _profiles(path: Path) -> Mapping[str, Profile]:
    from isthmus.config import load

    return load(path, Profiles).profile if path.exists() else {}


def _how_to_set(absent: list[str]) -> str:
    options = ", ".join(f"--{name}" for name in absent)
    variables = ", ".join(f"ISTHMUS_{name.upper().replace('-', '_')}" for name in absent)
    return (
        f"not known: {', '.join(absent)}. Give {options} before the command, set {variables}, or write "
        f"{', '.join(name.replace('-', '_') for name in absent)} into [profile.default] of "
        f"{configuration_path(os.environ)}"
    )
