"""The access record of an exchange: one for each, however it ended."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from audit.record import AccessRecord, Kind
from gateway.exchange.ending import Ending
from gateway.exchange.grant import Passenger, granted_fields
from gateway.exchange.item import Exchange
from gateway.exchange.state import View
from isthmus.canonical import sha256_hex


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the erasable detail that belongs to it."""

    record: AccessRecord
    detail: dict[str, str]


def decision_entry(
    exchange: Exchange, view: View | None, ending: Ending, *, policy_digest: str, now: datetime
) -> Entry:
    """Returns the record of how an exchange ended.

    Args:
        exchange: the exchange.
        view: what was read for the decision; None when nothing could be read.
        ending: how it ended.
        policy_digest: of the policy that decided.
        now: the time of the transaction.
    """
    asked, served = exchange.asked, ending.served
    nonce = secrets.token_bytes(64)
    detail = {"request_nonce": nonce[:32].hex()}
    if served is not None:
        detail["response_nonce"] = nonce[32:].hex()
    contract = view.contract if view is not None else None
    consent = view.consent if view is not None else None
    return Entry(
        AccessRecord(
            exchange=exchange.name,
            kind=Kind.DECISION,
            at={**exchange.stages, "released": now} if served is not None else dict(exchange.stages),
            caller=asked.caller,
            certificate=asked.certificate,
            consumer=asked.consumer,
            provider=contract.provider if contract else "",
            dataset=contract.dataset if contract else "",
            contract=contract.full_name if contract else asked.contract,
            terms_digest=contract.terms_digest if contract else "",
            # Only as the contract spells it: other words are the caller's, and might name a person.
            purpose=asked.purpose if contract and asked.purpose in contract.terms["purposes"] else "",
            legal_basis=contract.terms["legal_basis"] if contract else "",
            case_reference=asked.case_reference,
            subject_token=view.subject.token if view is not None else "",
            subject_count=1,
            mode=asked.mode.value,
            decision=ending.decision,
            reasons=tuple(reason.name for reason in ending.reasons),
            rules=ending.rules,
            policy_digest=policy_digest,
            fields=_fields(exchange, view) if served is not None else (),
            row_count=served.row_count if served is not None else 0,
            byte_count=len(served.content) if served is not None else 0,
            request_commitment=commitment(nonce[:32], asked.request),
            response_commitment=commitment(nonce[32:], served.content) if served is not None else "",
            provider_receipt_digest=sha256_hex(ending.receipt.encode()) if ending.receipt else "",
            consents=({"name": consent.name, "position": consent.position},) if consent else (),
            trace_id=asked.trace_id,
            grpc_code=ending.error.code.name if ending.error is not None else "OK",
        ),
        detail,
    )


def commitment(nonce: bytes, content: bytes) -> str:
    """SHA-256(nonce || content), hex: says nothing about `content` to anybody without the nonce."""
    return hashlib.sha256(nonce + content).hexdigest()


def _fields(exchange: Exchange, view: View | None) -> tuple[dict[str, str], ...]:
    if view is None or view.contract is None:
        return ()
    return tuple(granted_fields(Passenger(exchange, view, view.contract)))
