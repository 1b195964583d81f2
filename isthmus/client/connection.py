"""Whom a client connects to, as whom, and with which channel options."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509

from isthmus.errors import InvalidArgument
from isthmus.identity import Identity, IdentityError
from isthmus.pki import Credentials, load_credentials, pinned_to

DEFAULT_DEADLINE_S: Final = 10.0
STREAM_DEADLINE_S: Final = 3600.0
"""How long a stream may take unless the client says otherwise; a longer one goes on with its resume token."""

DEFAULT_SERVER: Final = "gateway/main"
MAX_MESSAGE_BYTES: Final = 16 << 20

# What may be sent twice without a second effect: reads, and writes that carry a request_id (AIP-155, AIP-194).
_SAFE: Final = {
    "CatalogService": (
        "PublishDataset",
        "GetDataset",
        "ListDatasets",
        "GetDepartment",
        "ListDepartments",
    ),
    "ContractService": ("ProposeContract", "GetContract", "ListContracts", "ListContractEvents"),
    "ConsentService": ("GetConsent",),
    "ExchangeService": ("Explain",),
    "AuditService": ("GetProof", "GetCheckpoint", "GetConsistencyProof"),
    "SharingService": ("ReportSharing",),
}


@dataclass(frozen=True, slots=True)
class Target:
    """One server, seen by one party. `deadline` is in seconds, None for the defaults."""

    address: str
    credentials: Credentials
    identity: Identity
    server: Identity
    deadline: float | None

    @property
    def options(self) -> Sequence[tuple[str, Any]]:
        """The options of the channel: the server is pinned, and safe calls are tried again when it is away."""
        return (
            *pinned_to(self.server),
            ("grpc.service_config", service_config()),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 120_000),
        )

    def seconds(self, *, stream: bool) -> float:
        """The deadline of one call, in seconds."""
        return self.deadline or (STREAM_DEADLINE_S if stream else DEFAULT_DEADLINE_S)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The client side of mutual TLS."""
        return self.credentials.channel_credentials()


def target(
    address: str,
    *,
    credentials: Credentials,
    server: Identity | str = DEFAULT_SERVER,
    deadline: float | None = None,
) -> Target:
    """Returns the target behind an address.

    Args:
        address: `host:port`; it may be anything, since the server is known by its certificate.
        credentials: the caller's own.
        server: who must answer: an identity, a SPIFFE URI, or its path such as `gateway/main` or `audit/main`.
        deadline: seconds a call may take; 10 for a call and an hour for a stream unless given.

    Raises:
        IdentityError: the certificate is not exactly one identity, or `server` is none.
        InvalidArgument: the address is empty or the deadline is not positive.
    """
    if not address:
        raise InvalidArgument("address", "is empty; give host:port of the server")
    if deadline is not None and not deadline > 0:
        raise InvalidArgument("deadline", "must be a positive number of seconds")
    identity = own_identity(credentials)
    return Target(address, credentials, identity, server_identity(server, identity.trust_domain), deadline)


def credentials_from_files(cert: str | Path, key: str | Path, ca: str | Path) -> Credentials:
    """Reads the caller's certificate, its key and the authority's certificate (PEM).

    Raises:
        CredentialsError: a file is missing or holds something else.
    """
    return load_credentials(cert, key, ca)


def own_identity(credentials: Credentials) -> Identity:
    """Returns who the credentials are; their trust domain is the one that their own SPIFFE URI names.

    Raises:
        IdentityError: the certificate does not hold exactly one SPIFFE URI of a known form.
    """
    try:
        names = credentials.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    first = uris[0] if len(uris) == 1 else ""
    return credentials.identity(first.removeprefix("spiffe://").partition("/")[0])


def server_identity(server: Identity | str, trust_domain: str) -> Identity:
    """Returns the identity that `server` names, in the caller's own trust domain unless it names another.

    Raises:
        IdentityError: it names none.
    """
    if isinstance(server, Identity):
        return server
    if server.startswith("spiffe://"):
        domain = server.removeprefix("spiffe://").partition("/")[0]
        return Identity.parse(server, trust_domain=domain)
    try:
        return Identity.parse_path("/" + server.lstrip("/"), trust_domain=trust_domain)
    except IdentityError:
        raise IdentityError(
            f"{server[:160]!r} is no server; give gateway/<name>, audit/<name> or department/<d>/node/<name>"
        ) from None


def service_config() -> str:
    """Returns the gRPC service config: up to 4 attempts at a safe call, 0.1 s to 2 s apart, on UNAVAILABLE only."""
    names = [
        {"service": f"isthmus.v1.{service}", "method": method}
        for service, methods in _SAFE.items()
        for method in methods
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})
