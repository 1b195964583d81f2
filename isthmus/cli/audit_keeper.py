"""What the commands of the ledger's keeper share: the ledger with its key, who acts, and refusals in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from audit.config import AuditConfig
    from audit.ledger import Ledger
    from audit.retention.actor import Actor
    from audit.retention.rule import RetentionRule

_FAILED: Final = 1
_MAX_REASON: Final = 1000

Config = Annotated[Path, typer.Option("--config", help="audit.toml.", dir_okay=False)]
Why = Annotated[str, typer.Option("--reason", help="Why (事由); the log holds a commitment to it.")]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        help="An auditor's own certificate (PEM), with --key; the audit service's unless given.",
        dir_okay=False,
    ),
]
Key = Annotated[Path | None, typer.Option("--key", help="The key of --certificate (PEM).", dir_okay=False)]


@dataclass(frozen=True, slots=True)
class Keeper:
    """The configuration, the ledger open for writing, who acts, and the legal minimum."""

    config: "AuditConfig"
    ledger: "Ledger"
    actor: "Actor"
    rule: "RetentionRule"

    def empty(self) -> bool:
        """Whether nothing of what was deleted is left in the write-ahead log."""
        from audit.retention.shred import empty_write_ahead_log

        return empty_write_ahead_log(self.config.ledger.url)


@contextmanager
def keeper(config: Path, certificate: Path | None, key: Path | None) -> Iterator[Keeper]:
    """The ledger with its key, as the audit service has it, and who acts; refusals end the command in words."""
    from audit.config import AuditConfig
    from audit.keys import load_log_key
    from audit.ledger import Ledger
    from audit.retention.actor import Actor
    from audit.retention.rule import RetentionRule
    from isthmus.config import load
    from isthmus.pki import load_credentials

    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key belong together", param_hint="--key")
    with in_words():
        settings = load(config, AuditConfig, environ=os.environ)
        server, where = settings.server, settings.ledger
        own = load_credentials(certificate or server.certificate, key or server.key, server.ca)
        actor = Actor.of(own, server.trust_domain)
        ledger = Ledger.open(
            where.url,
            log_key=load_log_key(where.log_key),
            pin=where.pin,
            clock=lambda: datetime.now(UTC),
            commit_timeout=where.commit_timeout_s,
        )
        try:
            yield Keeper(settings, ledger, actor, RetentionRule.of(settings.retention))
        finally:
            ledger.close()


@contextmanager
def in_words() -> Iterator[None]:
    """Ends the command in words when something is refused or cannot be done."""
    from isthmus.errors import IsthmusError

    try:
        yield
    except IsthmusError as error:
        raise refused(error.message) from None
    except OSError as error:
        raise refused(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")) from None
    except ValueError as error:
        raise refused(str(error)) from None


def refused(why: str) -> typer.Exit:
    """Says why, and returns the end of the command."""
    typer.echo(f"refused: {why}", err=True)
    return typer.Exit(_FAILED)


def stated(text: str) -> str:
    """A reason that was given. Raises ValueError: none was, or it is too long."""
    if not text.strip() or len(text) > _MAX_REASON:
        raise ValueError(f"--reason must be 1 to {_MAX_REASON} characters: say why")
    return text
