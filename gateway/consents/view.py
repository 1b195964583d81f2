"""Consents as messages, and the receipts that people keep."""

from datetime import datetime
from typing import Any

from gateway.consents.states import effective_state
from gateway.state.consents import ConsentRow
from gateway.state.contracts import ContractRow
from gateway.state.etags import etag_of
from isthmus.pki import Credentials
from isthmus.statement import StatementKind, sign
from isthmus.terms import rfc3339, timestamp
from isthmus.v1.common_pb2 import Mode, Period
from isthmus.v1.consent_service_pb2 import CollectionMethod, Consent, ConsentState, GrantorKind, Notice


def consent_of(row: ConsentRow, now: datetime, *, redacted: bool = False) -> Consent:
    """Returns the message of a consent as it stands at `now`.

    Args:
        row: the consent.
        now: the present time.
        redacted: for a reader who may count consents but not follow a person: without the subject's token, the
            statement and the evidence reference.
    """
    state = effective_state(row, now)
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
        state_reason="" if redacted else row.state_reason,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        position=row.position,
        statement="" if redacted else row.statement,
        etag=etag_of(row.name, row.position, state.value),
    )


def receipt_payload(row: ConsentRow, contract: ContractRow) -> dict[str, Any]:
    """Returns what the gateway certifies to the person: which consent, under which contract, in which state, and
    the ledger position from which that holds. The same for every repetition of the call. It names nobody."""
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
    }


def receipt_of(row: ConsentRow, contract: ContractRow, credentials: Credentials) -> str:
    """Returns the receipt signed by the gateway, a JWS of type `isthmus-control+jws`."""
    return sign(receipt_payload(row, contract), StatementKind.CONTROL, credentials)
