"""ResumeContract: the department that suspended a contract lets exchanges go on."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from isthmus.errors import StateConflict
from isthmus.names import ContractName
from isthmus.v1.contract_service_pb2 import ResumeContractRequest, ResumeContractResponse

_EVENTS = (ContractEventType.RESUMED,)


def resume(control: Control, call: Call, request: ResumeContractRequest) -> ResumeContractResponse:
    """Makes a SUSPENDED version ACTIVE again.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not SUSPENDED, or the other department suspended it.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> ResumeContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        if row.suspended_by != call.department:
            raise StateConflict(
                row.full_name, f"{row.suspended_by} suspended it, so only {row.suspended_by} can resume it"
            )
        position = change.record(row.full_name, {"event": "RESUMED"}, about=row, reason=request.reason)
        after = advance(
            change, row, _EVENTS, position=position, reason=request.reason, facts={"resumed_at": change.now}
        )
        return ResumeContractResponse(
            contract=contract_of(change.connection, after, change.now, change.rulebook)
        )

    return control.change(call, work).value
