"""SignContract: an officer adds the department's signature; the second one makes the contract binding."""

from gateway.clocks.limits import RuleKind
from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.answer import answer_facts, answer_told
from gateway.contracts.check import require_agreeable
from gateway.contracts.signature import signed_at_of
from gateway.contracts.states import IN_FORCE, ContractEventType, effective_state
from gateway.contracts.view import contract_of, etag
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.contracts import ContractRow, get_older_in, set_superseded_at
from gateway.state.datasets import get_dataset
from gateway.state.etags import require_etag
from gateway.state.signatures import SignatureRow, insert_signature, signatures_of
from gateway.state.statements import require_not_denied, verified_statement
from isthmus.errors import PermissionDenied, StateConflict, StatementInvalid
from isthmus.identity import Role
from isthmus.names import ContractName
from isthmus.reasons import Reason
from isthmus.statement import StatementKind, StatementVerifier, Verified
from isthmus.terms import document_to_terms, rfc3339
from isthmus.v1.contract_service_pb2 import SignContractRequest, SignContractResponse

_E = ContractEventType


def sign(
    control: Control, call: Call, request: SignContractRequest, *, verifier: StatementVerifier
) -> SignContractResponse:
    """Adds the caller's signature for its department. The same statement a second time changes nothing.

    With the second department's signature the version is AGREED, ACTIVE if its period has begun, and the older
    versions that were in force are SUPERSEDED, all in one transaction.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StatementInvalid: the statement is forged, somebody else's, or says anything but these terms.
        EtagMismatch: the version has changed since the signer saw it.
        StateConflict: it is not PROPOSED, or the department has signed it already.
        TermsInvalid: the catalogue or the clock no longer allows the terms; counter them.
    """
    name = ContractName.parse(request.name, versioned=True)
    verified = verified_statement(
        control,
        call,
        request.statement,
        kind=StatementKind.CONTRACT,
        role=Role.OFFICER,
        verifier=verifier,
        resource=str(name),
    )

    def work(change: Change) -> SignContractResponse:
        row = version_for_party(change, name)
        if not _signed_before(change, row, verified):
            require_etag(row.full_name, request.etag, etag(row, change.now))
            row = _add(change, row, verified, request.statement)
        return SignContractResponse(contract=contract_of(change.connection, row, change.now, change.rulebook))

    return control.change(call, work).value


def _signed_before(change: Change, row: ContractRow, verified: Verified) -> bool:
    """Whether this very statement is recorded, so that the call is a repetition."""
    for each in signatures_of(change.connection, (row,)).get(row.full_name, []):
        if each.department == change.call.department and each.digest == verified.digest:
            return True
    return False


def _add(change: Change, row: ContractRow, verified: Verified, statement: str) -> ContractRow:
    department = change.call.department
    require_not_denied(change, verified, row.full_name)
    try:
        signed_at = signed_at_of(verified.payload, row, department, change.now)
    except StatementInvalid as error:
        raise Refusal(error, row.full_name) from None
    if department in row.signatures:
        raise StateConflict(row.full_name, f"{department} has signed it already; a department signs once")
    _require_second_person(change, row)
    events = _events(change, row)
    require_possible(row, events, change.now)
    require_agreeable(
        document_to_terms(dict(row.terms)), get_dataset(change.connection, row.dataset), change.now
    )
    answer = answer_facts(row, change.rulebook, department, change.now)
    told = {
        **answer_told(change, row, answer),
        "event": events[-1].value,
        "signer": verified.identity.uri,
        "signed_at": rfc3339(signed_at),
        "statement_digest": verified.digest,
        "statement_certificate": verified.thumbprint,
    }
    position = change.record(row.full_name, told, about=row)
    signature = SignatureRow(
        department,
        verified.identity.uri,
        verified.thumbprint,
        statement,
        verified.digest,
        signed_at,
        position,
    )
    insert_signature(change.connection, row, signature)
    facts = dict(answer)
    if _E.AGREED in events:
        _supersede_older(change, row, position)
        facts |= {"agreed_at": change.now, "agreed_position": position}
    return advance(change, row, events, position=position, facts=facts)


def _require_second_person(change: Change, row: ContractRow) -> None:
    """Where the rule pack asks for two people, who submitted a proposal does not also sign it (decree 809 article 20).

    Raises:
        Refusal: TWO_PERSON_RULE.
    """
    pack, signer = change.rulebook.of(row.rule_pack), change.call.identity.uri
    if pack is not None and pack.requires(RuleKind.TWO_PERSON) and signer == row.submitter:
        article = pack.rules[RuleKind.TWO_PERSON].article
        words = f"{signer} submitted {row.full_name}; another officer of the department signs it ({pack.ref}, {article})"
        raise Refusal(PermissionDenied(Reason.TWO_PERSON_RULE, words), row.full_name)


def _events(change: Change, row: ContractRow) -> tuple[ContractEventType, ...]:
    """What this signature brings about: the last of them names the outcome."""
    if row.signatures | {change.call.department} != row.parties:
        return (_E.SIGNED,)
    agreed = (_E.SIGNED, _E.AGREED)
    return (*agreed, _E.ACTIVATED) if change.now >= row.not_before else agreed


def _supersede_older(change: Change, row: ContractRow, position: int) -> None:
    older = get_older_in(change.connection, row.name, row.version, states=[state.value for state in IN_FORCE])
    for version in older:
        # One whose period is over has expired by itself: the clock was there first.
        if effective_state(version, change.now) not in IN_FORCE:
            advance(change, version, (), position=position)
        elif row.not_before > change.now:
            # Agreed ahead of its time: the old version goes on until then, so there is no gap.
            earliest = min(row.not_before, version.superseded_at or row.not_before)
            set_superseded_at(change.connection, version, earliest)
        else:
            reason = f"{row.full_name} was agreed"
            advance(change, version, (_E.SUPERSEDED,), position=position, reason=reason)
