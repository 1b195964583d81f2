"""The access record of an exchange: one for each, however it ended; and of a look at how one would end."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.record import AccessRecord, Kind
from gateway.exchange.ending import Ending
from gateway.exchange.grant import Passenger, granted_fields
from gateway.exchange.item import Asked, Exchange, Mode
from gateway.exchange.state import Rules, View
from gateway.policy.engine import Ruling
from gateway.state.contracts import ContractRow
from isthmus.canonical import sha256_hex
from isthmus.errors import IsthmusError

_SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the erasable detail that belongs to it."""

    record: AccessRecord
    detail: dict[str, str]


def decision_entry(
    exchange: Exchange, view: View | None, ending: Ending, *, rules: Rules, now: datetime
) -> Entry:
    """Returns the record of how an exchange ended.

    Args:
        exchange: the exchange.
        view: what was read for the decision; None when nothing could be read.
        ending: how it ended.
        rules: the policy that decided, and the keys that close the commitments.
        now: the time of the transaction.
    """
    asked, served = exchange.asked, ending.served
    salt = secrets.token_bytes(_SALT_BYTES)
    detail = {"commitment_salt": f"{rules.tokens.current}.{salt.hex()}"}
    request_nonce, response_nonce = (rules.tokens.nonce(part + salt) for part in (b"request", b"response"))
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
            contract=_contract(asked, contract),
            terms_digest=contract.terms_digest if contract else "",
            purpose=_purpose(view),
            legal_basis=contract.terms["legal_basis"] if contract else "",
            case_reference=asked.case_reference,
            subject_token=view.subject.token if view is not None else "",
            subject_count=int(asked.mode is not Mode.STREAM),
            mode=asked.mode.value,
            decision=ending.decision,
            reasons=tuple(reason.name for reason in ending.reasons),
            rules=ending.rules,
            policy_digest=rules.policy.digest,
            fields=_fields(exchange, view) if served is not None else (),
            row_count=served.row_count if served is not None else 0,
            byte_count=len(served.content) if served is not None else 0,
            request_commitment=commitment(request_nonce, asked.request),
            response_commitment=commitment(response_nonce, served.content)
            if served is not None and asked.mode is not Mode.STREAM
            else "",
            provider_receipt_digest=sha256_hex(ending.receipt.encode()) if ending.receipt else "",
            # Where there is no contract that could allow it, the text is only the caller's word, and stays out.
            emergency=asked.emergency if contract else "",
            consents=({"name": consent.name, "position": consent.position},) if consent else (),
            trace_id=asked.trace_id,
            grpc_code=ending.error.code.name if ending.error is not None else "OK",
            change={"resumed": True} if asked.resumed else {},
        ),
        detail,
    )


def lookup_record(
    exchange: str, view: View, ruling: Ruling, *, fault: IsthmusError | None, rules: Rules, now: datetime
) -> AccessRecord:
    """Returns the record of an Explain: who wanted to know about whom, and what it was told.

    Args:
        exchange: `exchanges/{uuid}` of the lookup itself; nothing was exchanged.
        view: what was read.
        ruling: the decision that was explained.
        fault: why nothing was explained; None when it was.
        rules: the policy that decided.
        now: the time of the transaction.
    """
    asked, contract = view.asked, view.contract
    told = ruling.failed_rules() if fault is None else ()
    verdict = {"verdict": "ALLOW" if ruling.allowed else "DENY"}
    return AccessRecord(
        exchange=exchange,
        kind=Kind.LOOKUP,
        at={"in": now},
        caller=asked.caller,
        certificate=asked.certificate,
        consumer=asked.consumer,
        provider=contract.provider if contract else "",
        dataset=contract.dataset if contract else "",
        contract=_contract(asked, contract),
        terms_digest=contract.terms_digest if contract else "",
        purpose=_purpose(view),
        case_reference=asked.case_reference,
        subject_token=view.subject.token,
        mode=asked.mode.value,
        reasons=tuple(dict.fromkeys(each.reason.name for each in told))
        if fault is None
        else (fault.reason.name,),
        rules=tuple(each.rule for each in told),
        policy_digest=rules.policy.digest,
        trace_id=asked.trace_id,
        grpc_code=fault.code.name if fault is not None else "OK",
        action="Explain",
        change=verdict if fault is None else {},
    )


def commitment(nonce: bytes, content: bytes) -> str:
    """SHA-256(nonce || content), hex: says nothing about `content` to anybody without the nonce."""
    return hashlib.sha256(nonce + content).hexdigest()


def _contract(asked: Asked, contract: ContractRow | None) -> str:
    """The version in force, or the name of none that is asked for: a name, but the caller's choice of one."""
    if contract is not None:
        return contract.full_name
    return "" if asked.named_in(asked.contract) else asked.contract


def _purpose(view: View | None) -> str:
    """Only as the contract spells it: other words are the caller's, and might name a person."""
    contract = view.contract if view is not None else None
    if view is None or contract is None or view.asked.purpose not in contract.terms["purposes"]:
        return ""
    return view.asked.purpose


def _fields(exchange: Exchange, view: View | None) -> tuple[Mapping[str, str], ...]:
    if view is None or view.contract is None:
        return ()
    return tuple(granted_fields(Passenger(exchange, view, view.contract)))
