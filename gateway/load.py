"""What a gateway reads from its files before it can serve: certificate, policy, rule packs, keys and the ledger."""

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry

from audit.keys import KeyFileError, load_log_key, load_subject_tokens
from audit.ledger import Ledger
from gateway.clocks.pack import UnknownPack
from gateway.config import Config
from gateway.exchange.state import Rules
from gateway.policy.engine import PolicyEngine, PolicyInvalid, load_additions
from gateway.rulebook import Rulebook
from gateway.state.schema import METADATA
from isthmus.config import ConfigError
from isthmus.errors import Unavailable
from isthmus.identity import IdentityError, Role
from isthmus.pki import Credentials, CredentialsError, load_credentials

Clock = Callable[[], datetime]


class GatewayError(ValueError):
    """The gateway cannot start. The message says why and what would let it."""


def load_own_credentials(config: Config) -> Credentials:
    """Reads the gateway's certificate, key and trust anchors.

    Raises:
        GatewayError: a file cannot be used, or the certificate is not a gateway's of the trust domain.
    """
    section = config.server
    try:
        credentials = load_credentials(section.certificate, section.key, section.ca)
        identity = credentials.identity(section.trust_domain)
    except (CredentialsError, IdentityError) as error:
        raise GatewayError(str(error)) from error
    if identity.role is not Role.GATEWAY:
        raise GatewayError(
            f"{section.certificate}: is the certificate of {identity.resource}, not of a gateway"
        )
    return credentials


def load_rules(config: Config) -> Rules:
    """Reads the policy, with what the deployment adds, and the subject keys.

    Raises:
        GatewayError: a file cannot be used.
    """
    section = config.policy
    try:
        additions = load_additions(section.additions) if section.additions is not None else ()
        return Rules(
            PolicyEngine(additions, remember=section.remember),
            load_subject_tokens(config.subjects.keys, config.subjects.current),
            section.offset,
        )
    except (PolicyInvalid, KeyFileError) as error:
        raise GatewayError(str(error)) from error


def load_rulebook(config: Config) -> Rulebook:
    """Reads the rule packs and calendars.

    Raises:
        GatewayError: a file cannot be used, or there is no pack of the configured name.
    """
    section = config.rules
    try:
        return Rulebook.load(section.pack, folder=section.folder, calendars=section.calendars)
    except (ConfigError, UnknownPack) as error:
        raise GatewayError(str(error)) from error


def open_ledger(config: Config, *, clock: Clock, registry: CollectorRegistry | None = None) -> Ledger:
    """Opens the ledger with the gateway's tables in it.

    Args:
        config: says where it is.
        clock: returns the present time, UTC-aware.
        registry: receives its metrics. What the ledger holds is not among them: the audit service reports it, once.

    Raises:
        GatewayError: the key or the database cannot be used, or the database contradicts its pin.
    """
    section = config.ledger
    try:
        return Ledger.open(
            section.url,
            log_key=load_log_key(section.log_key),
            pin=section.pin,
            clock=clock,
            metadata=[METADATA],
            registry=registry,
            report_head=False,
            commit_timeout=section.commit_timeout_seconds,
        )
    except (KeyFileError, Unavailable) as error:
        raise GatewayError(str(error)) from error
