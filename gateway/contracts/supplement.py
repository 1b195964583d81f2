"""RequestSupplement and SupplementContract: what a proposal lacks is asked for at once, and the clock stands still."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.answer import require_unanswered
from gateway.contracts.reject import require_addressee
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from gateway.state.contracts import Facts
from isthmus.errors import StateConflict
from isthmus.names import ContractName
from isthmus.v1 import contract_service_pb2 as pb

_E = ContractEventType


def request_supplement(
    control: Control, call: Call, request: pb.RequestSupplementRequest
) -> pb.RequestSupplementResponse:
    """Tells the proposer everything that is missing (一次性告知, decree 809 article 21); there is no second time.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, the caller proposed it itself or has answered it, or something was asked for
            already.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> pb.RequestSupplementResponse:
        row = version_for_party(change, name)
        require_possible(row, (_E.SUPPLEMENT_REQUESTED,), change.now)
        require_addressee(change, row)
        require_unanswered(row)
        if row.supplement_requested_at is not None:
            raise StateConflict(
                row.full_name, "what is missing was asked for already, and there is no second notice"
            )
        position = change.record(
            row.full_name, {"event": "SUPPLEMENT_REQUESTED"}, about=row, reason=request.missing
        )
        facts: Facts = {"supplement_request": request.missing, "supplement_requested_at": change.now}
        events = (_E.SUPPLEMENT_REQUESTED,)
        after = advance(change, row, events, position=position, reason=request.missing, facts=facts)
        contract = contract_of(change.connection, after, change.now, change.rulebook)
        return pb.RequestSupplementResponse(contract=contract)

    return control.change(call, work).value


def supplement(
    control: Control, call: Call, request: pb.SupplementContractRequest
) -> pb.SupplementContractResponse:
    """Says that what was missing has been supplied; the answer's clock goes on.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, another department proposed it, or nothing is being waited for.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> pb.SupplementContractResponse:
        row = version_for_party(change, name)
        require_possible(row, (_E.SUPPLEMENTED,), change.now)
        if call.department != row.proposer:
            raise StateConflict(
                row.full_name, f"{row.proposer} proposed it, so only {row.proposer} can supplement it"
            )
        if row.supplement_requested_at is None or row.supplemented_at is not None:
            raise StateConflict(row.full_name, "nobody is waiting for a supplement")
        position = change.record(
            row.full_name, {"event": "SUPPLEMENTED"}, about=row, reason=request.supplement
        )
        after = advance(
            change,
            row,
            (_E.SUPPLEMENTED,),
            position=position,
            reason=request.supplement,
            facts={"supplemented_at": change.now},
        )
        contract = contract_of(change.connection, after, change.now, change.rulebook)
        return pb.SupplementContractResponse(contract=contract)

    return control.change(call, work).value
