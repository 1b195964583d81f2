"""ProposeContract: a department proposes terms to another."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from gateway.contracts.check import require_agreeable
from gateway.contracts.states import ContractEventType, ContractState, effective_state
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.contract_events import add_event
from gateway.state.contracts import ContractRow, get_newest, insert_contract
from gateway.state.datasets import get_dataset
from gateway.state.requests import Once
from gateway.state.times import to_ms
from isthmus.canonical import canonical_json, sha256_hex
from isthmus.errors import AlreadyExists, InvalidArgument, PermissionDenied, StateConflict, TermsInvalid
from isthmus.names import ContractName
from isthmus.reasons import Reason
from isthmus.terms import document_to_terms, instant, terms_to_document
from isthmus.v1.contract_service_pb2 import (
    Contract,
    ContractTerms,
    ProposeContractRequest,
    ProposeContractResponse,
)

_OMITTED: Final = "omit"


def propose(control: Control, call: Call, request: ProposeContractRequest) -> ProposeContractResponse:
    """Proposes a contract between the caller's department and another: version 1 of a new name.

    Under a name that the same two departments used before, and where no proposal is open, it is the next version:
    so an agreed contract is changed or renewed while the old version stays in force until the new one is agreed.

    Raises:
        TermsInvalid: the terms contradict the catalogue or themselves; each violation is named.
        PermissionDenied: NOT_A_PARTY, the caller's department is neither consumer nor provider.
        AlreadyExists: the name belongs to a contract between other departments.
        StateConflict: a proposal of this name is open.
    """
    name = ContractName.parse(f"contracts/{request.contract_id}", field="contract_id", versioned=False)
    terms = as_signed(request.terms)
    once = Once.of(request, request.request_id, ProposeContractResponse)

    def work(change: Change) -> ProposeContractResponse:
        require_party(call, terms, str(name))
        version = _next_version(change, name, terms)
        contract = write_proposal(change, name.at(version), terms, reason=request.reason)
        return ProposeContractResponse(contract=contract)

    return control.change_once(call, once, work)


def as_signed(terms: ContractTerms) -> ContractTerms:
    """Returns the terms as their canonical document says them: what is checked is what is signed.

    Raises:
        InvalidArgument: they have no canonical document.
    """
    try:
        return document_to_terms(terms_to_document(terms))
    except TermsInvalid:
        raise
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidArgument("terms", "hold an instant or a value that cannot be written down") from error


def require_party(call: Call, terms: ContractTerms, resource: str) -> None:
    """Returns when the caller's department is the consumer or the provider.

    Raises:
        Refusal: it is neither.
    """
    if call.department not in (terms.provider, terms.consumer):
        error = PermissionDenied(
            Reason.NOT_A_PARTY,
            f"{call.department} is neither the provider nor the consumer of these terms; only their officers may "
            "propose them",
        )
        raise Refusal(error, resource)


def _next_version(change: Change, name: ContractName, terms: ContractTerms) -> int:
    newest = get_newest(change.connection, str(name))
    if newest is None:
        return 1
    if (newest.provider, newest.consumer) != (terms.provider, terms.consumer):
        raise AlreadyExists(str(name))
    if effective_state(newest, change.now) is ContractState.PROPOSED:
        raise StateConflict(
            newest.full_name, "it is PROPOSED; sign, counter, reject or withdraw it before proposing another"
        )
    return newest.version + 1


def write_proposal(
    change: Change,
    name: ContractName,
    terms: ContractTerms,
    *,
    reason: str,
    told: Mapping[str, str | int] = MappingProxyType({}),
) -> Contract:
    """Checks the terms against the catalogue, records the proposal and writes it.

    Args:
        change: the control call, which has checked who calls.
        name: of the new version.
        terms: as `as_signed` returns them.
        reason: why the contract is needed (使用场景).
        told: what else its record says, of the proposal that it answers.

    Raises:
        TermsInvalid: the terms contradict the catalogue or themselves.
    """
    entry = get_dataset(change.connection, terms.dataset)
    require_agreeable(terms, entry, change.now)
    row = _draft(change, name, terms, reason, sharing_class=entry.sharing_class if entry else "")
    position = change.record(row.full_name, {**told, **_proposed(row)}, about=row, reason=reason)
    row = replace(row, position=position)
    insert_contract(change.connection, row)
    add_event(
        change.connection,
        row,
        type=ContractEventType.PROPOSED.value,
        from_state=ContractState.DRAFT.value,
        to_state=row.state,
        actor=change.call.identity.uri,
        reason=reason,
        at=change.now,
        position=position,
    )
    return contract_of(change.connection, row, change.now, change.rulebook)


def _proposed(row: ContractRow) -> dict[str, str | int]:
    """What the record of a proposal says: who asks for how much, and for when."""
    return {
        "event": "PROPOSED",
        "proposer": row.proposer,
        "fields": sum(each["transform"] != _OMITTED for each in row.terms["fields"]),
        "begins": to_ms(row.not_before),
        "over": to_ms(row.not_after),
    }


def _draft(
    change: Change, name: ContractName, terms: ContractTerms, reason: str, *, sharing_class: str
) -> ContractRow:
    document = terms_to_document(terms)
    text = canonical_json(document)
    return ContractRow(
        name=str(name.base),
        version=name.version or 1,
        provider=terms.provider,
        consumer=terms.consumer,
        dataset=terms.dataset,
        terms=document,
        terms_json=text.decode(),
        terms_digest=sha256_hex(text),
        state=ContractState.PROPOSED.value,
        state_reason=reason,
        proposer=change.call.department,
        suspended_by=None,
        signatures=frozenset(),
        not_before=instant(terms.period.not_before),
        not_after=instant(terms.period.not_after),
        created_at=change.now,
        updated_at=change.now,
        position=0,
        submitter=change.call.identity.uri,
        scenario=reason,
        rule_pack=change.rulebook.current(change.now).ref,
        sharing_class=sharing_class,
    )
