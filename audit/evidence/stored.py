"""Signed statements as the gateways keep them, in the same database as the log. A ledger may be without these tables."""

import base64
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from isthmus.canonical import parse_json

_STATEMENT: Final = sa.column("statement", sa.Text)
_SIGNATURES: Final = sa.table("contract_signatures", _STATEMENT, sa.column("digest", sa.String))
_CONSENTS: Final = sa.table(
    "consents",
    sa.column("name", sa.String),
    sa.column("statement", sa.Text),
    sa.column("statement_digest", sa.String),
)
_PARTIES: Final = sa.table(
    "consent_parties",
    sa.column("consent", sa.String),
    sa.column("statement", sa.Text),
    sa.column("digest", sa.String),
)


def statement_of(connection: sa.Connection, *, action: str, resource: str, digest: str) -> str | None:
    """The statement that a control record names; None where it is not kept (any more).

    Args:
        connection: a snapshot of the ledger.
        action: of the record.
        resource: of the record.
        digest: SHA-256 of the compact token, hex.
    """
    for query in _queries(action, resource, digest):
        table = query.get_final_froms()[0]
        if isinstance(table, sa.TableClause) and sa.inspect(connection).has_table(table.name):
            found: str | None = connection.scalar(query)
            if found:
                return found
    return None


def _queries(action: str, resource: str, digest: str) -> Iterator[sa.Select[Any]]:
    if action == "SignContract":
        yield sa.select(_SIGNATURES.c.statement).where(_SIGNATURES.c.digest == digest)
    elif action == "GrantConsent":
        for table, name, column in ((_CONSENTS, "name", "statement_digest"), (_PARTIES, "consent", "digest")):
            yield sa.select(table.c.statement).where(table.c[name] == resource, table.c[column] == digest)


def payload_of(statement: str) -> Any:
    """What a compact JWS says; its signature is not looked at. Raises CanonicalError, ValueError."""
    segment = statement.split(".")[1]
    return parse_json(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
