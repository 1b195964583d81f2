"""WithdrawContract: a department takes back a proposal of its own."""

from gateway.contracts.access import other_party, version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from isthmus.errors import StateConflict
from isthmus.names import ContractName
from isthmus.v1.contract_service_pb2 import WithdrawContractRequest, WithdrawContractResponse

_EVENTS = (ContractEventType.WITHDRAWN,)


def withdraw(control: Control, call: Call, request: WithdrawContractRequest) -> WithdrawContractResponse:
    """Closes the proposal as WITHDRAWN.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, or the other department proposed it.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> WithdrawContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        if call.department != row.proposer:
            raise StateConflict(
                row.full_name,
                f"{other_party(row, call.department)} proposed it; {call.department} can sign, counter or reject it",
            )
        position = change.record(row.full_name, {"event": "WITHDRAWN"}, about=row, reason=request.reason)
        after = advance(change, row, _EVENTS, position=position, reason=request.reason)
        return WithdrawContractResponse(
            contract=contract_of(change.connection, after, change.now, change.rulebook)
        )

    return control.change(call, work).value
