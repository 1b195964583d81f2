"""RequestConsent: a portal records that a person was asked."""

from gateway.consents.grant import open_contract
from gateway.consents.states import ConsentEventType, ConsentState
from gateway.consents.subject import canonical_subject
from gateway.consents.view import consent_of
from gateway.state.change import Call, Change, Control
from gateway.state.consents import ConsentRow, add_event, get_consent, put_consent
from gateway.state.contracts import ContractRow
from isthmus.errors import AlreadyExists, InvalidArgument
from isthmus.names import ConsentName
from isthmus.subjects import SubjectTokens
from isthmus.terms import instant
from isthmus.v1.consent_service_pb2 import RequestConsentRequest, RequestConsentResponse


def request_consent(
    control: Control, call: Call, request: RequestConsentRequest, *, tokens: SubjectTokens
) -> RequestConsentResponse:
    """Records the question as REQUESTED. It allows nothing, and leaves consents that were given as they are. Where it
    names `required_parties`, it stays so until each of them has granted it.

    Raises:
        NotFound: there is no such contract.
        StateConflict: the contract is not AGREED or ACTIVE, or its basis is not CONSENT.
        AlreadyExists: the name is taken.
        InvalidArgument: `answer_by` is not in the future; SCHEME_NOT_ALLOWED; or no identifier.
        PermissionDenied: DATASET_UNAVAILABLE.
    """
    name = str(ConsentName.parse(request.name))

    def work(change: Change) -> RequestConsentResponse:
        contract = open_contract(change, request.contract, field="contract")
        canonical = canonical_subject(change.connection, contract.dataset, request.subject)
        if get_consent(change.connection, name) is not None:
            raise AlreadyExists(name)
        if request.HasField("answer_by") and instant(request.answer_by) <= change.now:
            raise InvalidArgument("answer_by", "must be in the future")
        token = tokens.token(request.subject.scheme, canonical)
        row = _write(change, request, contract, token)
        return RequestConsentResponse(consent=consent_of(row, change.now, contract=contract))

    return control.change(call, work).value


def _write(change: Change, request: RequestConsentRequest, contract: ContractRow, token: str) -> ConsentRow:
    told = {"event": ConsentEventType.REQUESTED.value}
    position = change.record(request.name, told, about=contract, subject_token=token)
    row = ConsentRow(
        name=request.name,
        contract=contract.full_name,
        terms_digest=contract.terms_digest,
        subject_token=token,
        current=False,
        state=ConsentState.REQUESTED.value,
        state_reason="",
        purposes=(),
        fields=(),
        modes=(),
        not_before=change.now,
        not_after=contract.not_after,
        answer_by=instant(request.answer_by) if request.HasField("answer_by") else None,
        required_parties=tuple(request.required_parties),
        grantor="",
        collection="",
        evidence_reference="",
        notice={},
        portal=change.call.identity.uri,
        statement="",
        statement_digest="",
        created_at=change.now,
        updated_at=change.now,
        position=position,
    )
    put_consent(change.connection, row)
    add_event(
        change.connection,
        row.name,
        type=ConsentEventType.REQUESTED.value,
        from_state=ConsentState.NEW.value,
        to_state=row.state,
        actor=change.call.identity.uri,
        reason="",
        at=change.now,
        position=position,
    )
    return row
