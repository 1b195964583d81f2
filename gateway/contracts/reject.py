"""RejectContract: the other department refuses a proposal, on a legal ground."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from gateway.state.contracts import ContractRow
from isthmus.errors import StateConflict
from isthmus.names import ContractName
from isthmus.v1.contract_service_pb2 import RejectContractRequest, RejectContractResponse

_EVENTS = (ContractEventType.REJECTED,)


def reject(control: Control, call: Call, request: RejectContractRequest) -> RejectContractResponse:
    """Closes the proposal as REJECTED. Decree 809 article 21: a refusal states its reason and its basis.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, or the caller's own department proposed it.
    """
    name = ContractName.parse(request.name, versioned=True)
    reason = f"{request.reason} [{request.legal_citation}]"

    def work(change: Change) -> RejectContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        require_addressee(change, row)
        position = change.record(row.full_name, {"event": "REJECTED"}, about=row, reason=reason)
        after = advance(change, row, _EVENTS, position=position, reason=reason)
        return RejectContractResponse(contract=contract_of(change.connection, after, change.now))

    return control.change(call, work).value


def require_addressee(change: Change, row: ContractRow) -> None:
    """Returns when the proposal is the other department's.

    Raises:
        StateConflict: the caller's own department proposed it.
    """
    if change.call.department == row.proposer:
        raise StateConflict(
            row.full_name,
            f"{row.proposer} proposed it itself and can withdraw it; the other department answers it",
        )
