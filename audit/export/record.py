"""Every export is a record itself, durable before its first byte leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from audit.ledger import Ledger
from audit.record import AccessRecord, Kind
from audit.search.lookup import commit_texts
from isthmus.ids import new_exchange
from isthmus.rpc import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export that is about to be handed over.

    Attributes:
        caller: who asked for it.
        action: the method.
        texts: what the caller wrote, by name (`filter`, `reason`); the log holds salted commitments to it.
        told: what else the record says: format and range, or the digest of the file; no free text.
        subject_token: the person it is about.
        count: how many records it holds; 0 where that is not known yet.
    """

    caller: Caller
    action: str
    texts: Mapping[str, str]
    told: Mapping[str, Any] = field(default_factory=dict)
    subject_token: str = ""
    count: int = 0


def record_export(ledger: Ledger, export: Export, *, received: datetime, deadline_s: float | None) -> None:
    """Append the record of an export.

    Raises:
        LedgerUnavailable: it is not durable, so nothing may be handed over.
    """
    commitments, detail = commit_texts(export.texts)
    record = AccessRecord(
        exchange=str(new_exchange(received)),
        kind=Kind.EXPORT,
        at={"in": received},
        caller=export.caller.identity.uri,
        certificate=export.caller.thumbprint,
        subject_token=export.subject_token,
        row_count=export.count,
        trace_id=export.caller.trace_id,
        action=export.action,
        change={**export.told, **commitments},
    )
    ledger.transact(lambda tx: tx.append(record, detail=detail), deadline_s=deadline_s)
