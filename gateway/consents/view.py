"""Consents as messages, and the receipts that people keep."""

from datetime import datetime
from typing import Any, Final

from gateway.consents.states import clock_events, effective_state
from gateway.consents.uses import Tally, Used
from gateway.state.consents import ConsentRow
from gateway.state.contracts import ContractRow
from gateway.state.etags import etag_of
from isthmus.pki import Credentials
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339, timestamp
from isthmus.v1.common_pb2 import FieldGrant, Mode, Period
from isthmus.v1.consent_service_pb2 import (
    CollectionMethod,
    Consent,
    ConsentState,
    ConsentUse,
    GrantorKind,
    Notice,
)

_UNUSED: Final = Tally()


def consent_of(
    row: ConsentRow,
    now: datetime,
    *,
    contract: ContractRow,
    used_up: bool = False,
    tally: Tally = _UNUSED,
    redacted: bool = False,
) -> Consent:
    """Returns the message of a consent as it stands at `now`.

    Args:
        row: the consent.
        now: the present time.
        contract: the version it is bound to.
        used_up: whether it has allowed as many exchanges as it may.
        tally: its uses, from the records.
        redacted: for a reader who may count consents but not follow a person: without the subject's token, the
            statement and the evidence reference.
    """
    due = clock_events(row, now, contract=contract, used_up=used_up)
    state = effective_state(row, now, contract=contract, used_up=used_up)
    reason = due[-1].why if due else "" if redacted else row.state_reason
    return Consent(
        name=row.name,
        contract=row.contract,
        terms_digest=row.terms_digest,
        subject_token="" if redacted else row.subject_token,
        purposes=row.purposes,
        fields=row.fields,
        modes=[Mode.Value(f"MODE_{mode}") for mode in row.modes],
        period=Period(not_before=timestamp(row.not_before), not_after=timestamp(row.not_after)),
        grantor_kind=GrantorKind.Value(f"GRANTOR_KIND_{row.grantor or 'UNSPECIFIED'}"),
        collection_method=CollectionMethod.Value(f"COLLECTION_METHOD_{row.collection or 'UNSPECIFIED'}"),
        evidence_reference="" if redacted else row.evidence_reference,
        notice=Notice(**row.notice) if row.notice else None,
        state=ConsentState.Value(f"CONSENT_STATE_{state.value}"),
        state_reason=reason,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        position=row.position,
        statement="" if redacted else row.statement,
        etag=etag_of(row.name, row.position, state.value),
        required_parties=row.required_parties,
        consented_parties=row.consented_parties,
        max_uses=row.max_uses,
        uses=tally.uses,
        last_used_at=None if tally.last is None else timestamp(tally.last),
        of_age_at=None if row.of_age_at is None else timestamp(row.of_age_at),
    )


def use_of(used: Used) -> ConsentUse:
    """Returns the message of one use of a consent."""
    record = used.record
    return ConsentUse(
        exchange=record.exchange,
        at=timestamp(record.at["released"]),
        consumer=record.consumer,
        caller=record.caller,
        purpose=record.purpose,
        fields=[FieldGrant(**each) for each in record.fields],
        mode=Mode.Value(f"MODE_{record.mode}"),
    )


def receipt_payload(row: ConsentRow, contract: ContractRow) -> dict[str, Any]:
    """Returns what the gateway certifies to the person: which consent, under which contract, in which state, and
    the ledger position from which that holds. The same for every repetition of the call. It names nobody."""
    parties = {"required": list(row.required_parties), "consented": list(row.consented_parties)}
    more: dict[str, Any] = {"parties": parties} if row.required_parties else {}
    if row.max_uses:
        more["max_uses"] = row.max_uses
    if row.of_age_at is not None:
        more["of_age_at"] = rfc3339(row.of_age_at)
    return {
        "receipt": f"consent-{row.state.lower()}",
        "consent": row.name,
        "contract": row.contract,
        "terms_digest": row.terms_digest,
        "provider": contract.provider,
        "consumer": contract.consumer,
        "dataset": contract.dataset,
        "purposes": list(row.purposes),
        "fields": list(row.fields),
        "modes": list(row.modes),
        "not_before": rfc3339(row.not_before),
        "not_after": rfc3339(row.not_after),
        "statement_digest": row.statement_digest,
        "state": row.state,
        "at": rfc3339(row.updated_at),
        "position": row.position,
        **more,
    }


def receipt_of(row: ConsentRow, contract: ContractRow, credentials: Credentials) -> str:
    """Returns the receipt signed by the gateway, a JWS of type `isthmus-control+jws`."""
    return sign(receipt_payload(row, contract), StatementKind.CONTROL, credentials)
