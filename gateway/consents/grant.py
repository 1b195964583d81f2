"""GrantConsent: a portal records what a person consented to, as it stated and signed it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway.consents.access import contract_of_consent
from gateway.consents.advance import advance, state_now
from gateway.consents.check import require_within
from gateway.consents.parties import require_party, still_missing
from gateway.consents.states import EFFECTIVE, ConsentEventType, ConsentState, next_state
from gateway.consents.subject import canonical_subject, opens
from gateway.consents.view import consent_of, receipt_of
from gateway.contracts.states import ContractState
from gateway.contracts.states import effective_state as contract_state
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.consents import (
    ConsentRow,
    add_event,
    add_party,
    consents_of,
    get_consent,
    party_digests,
    put_consent,
    set_aside,
)
from gateway.state.contracts import ContractRow, get_version
from gateway.state.statements import require_not_denied, verified_statement
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    StateConflict,
    StatementInvalid,
)
from isthmus.identity import Role
from isthmus.names import ConsentName, ContractName
from isthmus.pki import Credentials
from isthmus.statement import StatementKind, StatementVerifier, Verified
from isthmus.subjects import SubjectTokens
from isthmus.v1.common_pb2 import Subject
from isthmus.v1.consent_service_pb2 import GrantConsentRequest, GrantConsentResponse

_OPEN = frozenset({ContractState.AGREED, ContractState.ACTIVE})
_GRANTORS: Final = ("GUARDIAN", "DELEGATE", "SELF")


@dataclass(frozen=True, slots=True)
class _Given:
    """A consent as it arrived: what the portal states and signed, and what opens its commitment."""

    statement: str
    verified: Verified
    stated: ConsentStatement
    subject: Subject
    nonce: bytes


def grant(
    control: Control,
    call: Call,
    request: GrantConsentRequest,
    *,
    verifier: StatementVerifier,
    tokens: SubjectTokens,
    credentials: Credentials,
) -> GrantConsentResponse:
    """Records the consent as ACTIVE. The same statement a second time changes nothing while it is ACTIVE.

    Where several parties are required, each of them states the same under the same name, and it stays REQUESTED until
    the last of them has.

    It becomes what the person says about the contract from now on: an earlier consent of theirs to any version of
    it that has not ended is SUPERSEDED in the same transaction. So a narrower consent narrows.

    Raises:
        StatementInvalid: forged, somebody else's, malformed, or about another person.
        InvalidArgument: STATEMENT_INVALID, it goes beyond the contract, or the party was not asked or says something
            else than the others; SCHEME_NOT_ALLOWED; or no identifier.
        NotFound: there is no such contract.
        StateConflict: the contract is not AGREED or ACTIVE, or its basis is not CONSENT; or the consent has ended.
        AlreadyExists: the name is taken by another consent.
        PermissionDenied: DATASET_UNAVAILABLE, CREDENTIAL_DENIED.
    """
    verified = verified_statement(
        control,
        call,
        request.statement,
        kind=StatementKind.CONSENT,
        role=Role.PORTAL,
        verifier=verifier,
        resource="consents/-",
    )

    def work(change: Change) -> tuple[ConsentRow, ContractRow]:
        try:
            stated = ConsentStatement.parse(verified.payload)
            given = _Given(request.statement, verified, stated, request.subject, request.subject_nonce)
            return _record(change, given, tokens)
        except StatementInvalid as error:
            raise Refusal(error, "consents/-") from None

    row, contract = control.change(call, work).value
    receipt = receipt_of(row, contract, credentials)
    return GrantConsentResponse(consent=consent_of(row, control.clock(), contract=contract), receipt=receipt)


def _record(change: Change, given: _Given, tokens: SubjectTokens) -> tuple[ConsentRow, ContractRow]:
    stated = given.stated
    name = str(ConsentName.parse(stated.consent, field="statement.consent"))
    require_not_denied(change, given.verified, name)
    existing = get_consent(change.connection, name)
    if existing is not None:
        bound = contract_of_consent(change.connection, existing)
        if _repeated(change, given, existing, bound):
            return existing, bound
    contract = open_contract(change, stated.contract, field="statement.contract")
    try:
        require_within(stated, contract, change.now)
        require_party(stated, existing)
    except InvalidArgument as error:
        raise Refusal(error, name) from None
    canonical = canonical_subject(change.connection, contract.dataset, given.subject)
    if not opens(stated.subject_commitment, given.nonce, given.subject, canonical):
        mismatch = StatementInvalid("commits to another person than the subject and the nonce of the request")
        raise Refusal(mismatch, name)
    every = tokens.all_tokens(given.subject.scheme, canonical)
    token = tokens.token(given.subject.scheme, canonical)
    if existing is not None and (existing.subject_token not in every or existing.contract != stated.contract):
        raise AlreadyExists(name)
    state = ConsentState.NEW if existing is None else state_now(change, existing, contract)
    waits = still_missing(existing, stated.party)
    event = ConsentEventType.PARTY_GRANTED if waits else ConsentEventType.GRANTED
    next_state(name, state, event)
    before = [] if waits else _current(change, contract, every)
    _require_later(stated, before, name)
    row = _write(change, given, contract, event, token=token, predecessors=before, existing=existing)
    return row, contract


def _require_later(stated: ConsentStatement, before: list[ConsentRow], name: str) -> None:
    """Refuses a statement that was made before the person's last word: a delayed one must not undo a withdrawal.

    Raises:
        Refusal: a consent of this person under this contract changed after the statement was made.
    """
    last = max((row.updated_at for row in before), default=stated.stated_at)
    if stated.stated_at < last:
        words = "it was stated before the person's last word about this contract; ask the person again"
        raise Refusal(StateConflict(name, words), name)


def _repeated(change: Change, given: _Given, existing: ConsentRow, contract: ContractRow) -> bool:
    """Whether the consent is recorded already, by this very statement; refuses to bring an ended one back.

    Raises:
        StateConflict: it was recorded and has ended, or is paused.
        AlreadyExists: the name stands for what another statement said.
    """
    state = state_now(change, existing, contract)
    said = {existing.statement_digest} | party_digests(change.connection, existing.name)
    again = given.verified.digest in said
    if state is ConsentState.REQUESTED or not existing.statement_digest:
        return again
    if not again:
        raise AlreadyExists(existing.name)
    if state is not ConsentState.ACTIVE:
        raise StateConflict(
            existing.name, f"it is {state.value}; who consents again gives a new consent, under a new name"
        )
    return True


def open_contract(change: Change, text: str, *, field: str) -> ContractRow:
    """Returns the version a person can be asked about.

    Raises:
        InvalidArgument: `text` names no version; says so of `field`.
        NotFound: there is no such version.
        StateConflict: it is not AGREED or ACTIVE, or needs no consent.
    """
    name = ContractName.parse(text, field=field, versioned=True)
    contract = get_version(change.connection, str(name.base), name.version or 0)
    if contract is None:
        raise NotFound(str(name))
    state = contract_state(contract, change.now)
    if state not in _OPEN:
        raise StateConflict(
            str(name), f"it is {state.value}; people consent to contracts that are AGREED or ACTIVE"
        )
    if (basis := contract.terms["legal_basis"]) != "CONSENT":
        raise StateConflict(
            str(name), f"its legal basis is {basis}; consent is recorded only where it is CONSENT"
        )
    return contract


def _current(change: Change, contract: ContractRow, tokens: tuple[str, ...]) -> list[ConsentRow]:
    found = consents_of(change.connection, [(contract.name, token) for token in tokens])
    return [row for rows in found.values() for row in rows]


def _write(
    change: Change,
    given: _Given,
    contract: ContractRow,
    event: ConsentEventType,
    *,
    token: str,
    predecessors: list[ConsentRow],
    existing: ConsentRow | None,
) -> ConsentRow:
    stated = given.stated
    told = {
        "event": event.value,
        "statement_digest": given.verified.digest,
        "statement_certificate": given.verified.thumbprint,
        "grantor": stated.grantor,
        "collection": stated.collection,
        "supersedes": " ".join(sorted(row.name for row in predecessors)),
    }
    if stated.party:
        told["party"] = stated.party
    position = change.record(stated.consent, told, about=contract, subject_token=token)
    for row in predecessors:
        _end(change, row, by=stated.consent, position=position)
    row = _row(given, token=token, now=change.now, position=position)
    row = row if existing is None else _joined(row, existing, given)
    put_consent(change.connection, row)
    if stated.party:
        add_party(
            change.connection,
            row.name,
            party=stated.party,
            statement=given.statement,
            digest=given.verified.digest,
            at=change.now,
            position=position,
        )
    add_event(
        change.connection,
        row.name,
        type=event.value,
        from_state=ConsentState.NEW.value if existing is None else existing.state,
        to_state=row.state,
        actor=change.call.identity.uri,
        reason="",
        at=change.now,
        position=position,
    )
    return row


def _joined(row: ConsentRow, existing: ConsentRow, given: _Given) -> ConsentRow:
    """The answer to a request, joined with what other parties have answered."""
    row = replace(row, created_at=existing.created_at, required_parties=existing.required_parties)
    if not existing.required_parties:
        return row
    agreed = {*existing.consented_parties, given.stated.party}
    waits = still_missing(existing, given.stated.party)
    ages = [each for each in (row.of_age_at, existing.of_age_at) if each is not None]
    references = dict.fromkeys(filter(None, (existing.evidence_reference, row.evidence_reference)))
    return replace(
        row,
        consented_parties=tuple(each for each in existing.required_parties if each in agreed),
        state=ConsentState.REQUESTED.value if waits else row.state,
        current=not waits,
        answer_by=existing.answer_by if waits else None,
        # One party's end is the end of the whole, and one who speaks for another shows as such.
        of_age_at=min(ages, default=None),
        grantor=min(filter(None, (existing.grantor, row.grantor)), key=_GRANTORS.index),
        evidence_reference="; ".join(references),
    )


def _end(change: Change, row: ConsentRow, *, by: str, position: int) -> None:
    contract = contract_of_consent(change.connection, row)
    state = state_now(change, row, contract)
    if state in EFFECTIVE:
        events = (ConsentEventType.SUPERSEDED,)
        advance(change, row, contract, events, position=position, reason=f"{by} was given", current=False)
    elif state.value != row.state:
        advance(change, row, contract, (), position=position, current=False)
    else:
        set_aside(change.connection, row.name)


def _row(given: _Given, *, token: str, now: datetime, position: int) -> ConsentRow:
    stated = given.stated
    return ConsentRow(
        name=stated.consent,
        contract=stated.contract,
        terms_digest=stated.terms_digest,
        subject_token=token,
        current=True,
        state=ConsentState.ACTIVE.value,
        state_reason="",
        purposes=stated.purposes,
        fields=stated.fields,
        modes=stated.modes,
        not_before=stated.not_before,
        not_after=stated.not_after,
        answer_by=None,
        grantor=stated.grantor,
        collection=stated.collection,
        evidence_reference=stated.evidence_reference,
        notice=stated.notice,
        portal=given.verified.identity.uri,
        statement=given.statement,
        statement_digest=given.verified.digest,
        created_at=now,
        updated_at=now,
        position=position,
        max_uses=stated.max_uses,
        of_age_at=stated.of_age_at,
    )
