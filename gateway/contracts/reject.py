"""RejectContract: the other department refuses a proposal, on a legal ground."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.answer import answer_facts, answer_told
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.contracts import ContractRow
from gateway.state.datasets import get_dataset
from isthmus.errors import InvalidArgument, StateConflict
from isthmus.names import ContractName
from isthmus.reasons import Reason
from isthmus.v1.contract_service_pb2 import RejectContractRequest, RejectContractResponse, RejectionReason

_EVENTS = (ContractEventType.REJECTED,)


def reject(control: Control, call: Call, request: RejectContractRequest) -> RejectContractResponse:
    """Closes the proposal as REJECTED. Decree 809 article 21: a refusal states its reason and its basis.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, or the caller's own department proposed it.
        InvalidArgument: the condition is missing, out of place, or not one that the catalogue entry publishes.
    """
    name = ContractName.parse(request.name, versioned=True)
    condition = f" «{request.condition}»" if request.condition else ""
    reason = f"{request.reason}{condition} [{request.legal_citation}]"

    def work(change: Change) -> RejectContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        require_addressee(change, row)
        _require_published(change, row, request)
        kind = RejectionReason.Name(request.rejection_reason).removeprefix("REJECTION_REASON_")
        facts = answer_facts(row, change.rulebook, call.department, change.now)
        told = {**answer_told(change, row, facts), "event": "REJECTED", "rejection_reason": kind}
        position = change.record(row.full_name, told, about=row, reason=reason)
        after = advance(change, row, _EVENTS, position=position, reason=reason, facts=facts)
        return RejectContractResponse(
            contract=contract_of(change.connection, after, change.now, change.rulebook)
        )

    return control.change(call, work).value


def _require_published(change: Change, row: ContractRow, request: RejectContractRequest) -> None:
    """Decree 809 articles 15 and 39(2): an answer relies on no condition that the catalogue does not list."""
    cites = request.rejection_reason == RejectionReason.REJECTION_REASON_CONDITION_NOT_MET
    if cites != bool(request.condition):
        words = "is required with CONDITION_NOT_MET" if cites else "belongs to CONDITION_NOT_MET only"
        raise InvalidArgument("condition", words)
    entry = get_dataset(change.connection, row.dataset)
    published = entry.entry["conditions"] if entry is not None else []
    if cites and request.condition not in published:
        words = f"is not one that {row.dataset} publishes; a refusal may cite only these: {'; '.join(published) or 'none'}"
        raise Refusal(
            InvalidArgument("condition", words, reason=Reason.CONDITION_NOT_PUBLISHED), row.full_name
        )


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
