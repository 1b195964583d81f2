"""The record of how a stream ended. The record of its decision, before the first byte, opened it."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.record import AccessRecord, Kind, StreamEnding
from gateway.exchange.grant import granted_fields
from gateway.exchange.records import Entry, commitment
from gateway.exchange.state import Rules
from gateway.stream.underway import Underway
from isthmus.canonical import sha256_hex
from isthmus.errors import IsthmusError

_SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream ended: COMPLETE with the department's `receipt`, else with what its caller is told.

    `rules` are the ids of the rules that stopped it.
    """

    how: StreamEnding
    error: IsthmusError | None = None
    rules: tuple[str, ...] = ()
    receipt: str = ""


def closing_entry(stream: Underway, ended: Ended, *, rules: Rules, now: datetime) -> Entry:
    """Returns the record of a stream's end.

    Args:
        stream: what has been handed on.
        ended: how it ended.
        rules: the policy that decided, and the keys that close the commitment.
        now: the time of the transaction.
    """
    asked, contract = stream.exchange.asked, stream.passenger.contract
    salt = secrets.token_bytes(_SALT_BYTES)
    nonce = rules.tokens.nonce(b"response" + salt)
    return Entry(
        AccessRecord(
            exchange=stream.exchange.name,
            kind=Kind.STREAM_END,
            at={"in": stream.exchange.received, "ended": now},
            caller=asked.caller,
            certificate=asked.certificate,
            consumer=asked.consumer,
            provider=contract.provider,
            dataset=contract.dataset,
            contract=contract.full_name,
            terms_digest=contract.terms_digest,
            purpose=asked.purpose,
            legal_basis=contract.terms["legal_basis"],
            case_reference=asked.case_reference,
            mode=asked.mode.value,
            reasons=tuple(each.name for each in ended.error.reasons) if ended.error else (),
            rules=ended.rules,
            policy_digest=rules.policy.digest,
            fields=tuple(granted_fields(stream.passenger)) if stream.rows else (),
            row_count=stream.rows,
            byte_count=stream.bytes,
            response_commitment=commitment(nonce, stream.digest.digest()),
            provider_receipt_digest=sha256_hex(ended.receipt.encode()) if ended.receipt else "",
            trace_id=asked.trace_id,
            grpc_code=ended.error.code.name if ended.error else "OK",
            action=ended.how.value,
        ),
        {"commitment_salt": f"{rules.tokens.current}.{salt.hex()}"},
    )
