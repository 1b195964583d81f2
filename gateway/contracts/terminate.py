"""TerminateContract: either party ends a contract for good. A fence."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from isthmus.names import ContractName
from isthmus.v1.contract_service_pb2 import TerminateContractRequest, TerminateContractResponse

_EVENTS = (ContractEventType.TERMINATED,)


def terminate(control: Control, call: Call, request: TerminateContractRequest) -> TerminateContractResponse:
    """Ends a version that is AGREED, ACTIVE or SUSPENDED.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it was never agreed, or has ended already.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> TerminateContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        told = {"event": "TERMINATED", "by": call.department}
        position = change.record(row.full_name, told, about=row, reason=request.reason)
        after = advance(change, row, _EVENTS, position=position, reason=request.reason)
        return TerminateContractResponse(
            contract=contract_of(change.connection, after, change.now, change.rulebook)
        )

    return control.change(call, work).value
