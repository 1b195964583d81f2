"""Every search of the audit trail is a record itself, durable before its result is shown."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from audit.ledger import Ledger
from audit.record import AccessRecord, Kind
from isthmus.errors import InvalidArgument
from isthmus.ids import new_exchange
from isthmus.rpc import Caller
from isthmus.subjects import SubjectTokens, normalise
from isthmus.v1.common_pb2 import Subject


@dataclass(frozen=True, slots=True)
class SubjectIndex:
    """Finds the tokens of a person.

    Args:
        tokens: the keys of every epoch.
        schemes: the normalisers of each identifier scheme, the same as in the gateway's catalogue.
    """

    tokens: SubjectTokens
    schemes: Mapping[str, Sequence[str]]

    def find(self, subject: Subject) -> tuple[str, tuple[str, ...]]:
        """The person's current token, and the tokens of all epochs.

        Raises:
            InvalidArgument: the scheme is not configured here (a search for it would find nothing and look as if
                nobody had looked), or the identifier is empty.
        """
        if subject.scheme not in self.schemes:
            known = ", ".join(sorted(self.schemes)) or "none"
            raise InvalidArgument(
                "subject.scheme", f"is not known to the audit service; its configuration lists {known}"
            )
        identifier = normalise(subject.id, self.schemes[subject.scheme])
        return (
            self.tokens.token(subject.scheme, identifier),
            self.tokens.all_tokens(subject.scheme, identifier),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A search that has been made.

    Attributes:
        caller: who made it.
        action: the method.
        texts: what the caller wrote, by name (`filter`, `reason`). Free text may name a person, so the log holds
            a salted commitment to each; text and nonce are erasable detail.
        subject_token: the person it was about.
        resource: the contract or department it was about.
        found: how many records it showed.
    """

    caller: Caller
    action: str
    texts: Mapping[str, str]
    subject_token: str = ""
    resource: str = ""
    found: int = 0


def record_lookup(ledger: Ledger, lookup: Lookup, *, received: datetime, deadline_s: float | None) -> None:
    """Append the record of a search.

    Raises:
        LedgerUnavailable: it is not durable, so the result must not be shown.
    """
    commitments, detail = commit_texts(lookup.texts)
    record = AccessRecord(
        exchange=str(new_exchange(received)),
        kind=Kind.LOOKUP,
        at={"in": received},
        caller=lookup.caller.identity.uri,
        certificate=lookup.caller.thumbprint,
        subject_token=lookup.subject_token,
        row_count=lookup.found,
        trace_id=lookup.caller.trace_id,
        action=lookup.action,
        resource=lookup.resource,
        change=commitments,
    )
    ledger.transact(lambda tx: tx.append(record, detail=detail), deadline_s=deadline_s)


def commit_texts(
    texts: Mapping[str, str], *, nonce: Callable[[], bytes] = lambda: secrets.token_bytes(32)
) -> tuple[dict[str, str], dict[str, str]]:
    """Commitments `{name}_commitment` = SHA-256(nonce || text), hex, and the detail that opens them: `{name}` and
    `{name}_nonce`. Empty texts are left out.
    """
    commitments: dict[str, str] = {}
    detail: dict[str, str] = {}
    for name, text in texts.items():
        if text:
            salt = nonce()
            commitments[f"{name}_commitment"] = hashlib.sha256(salt + text.encode()).hexdigest()
            detail |= {name: text, f"{name}_nonce": salt.hex()}
    return commitments, detail
