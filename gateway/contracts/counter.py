"""CounterContract: the other department answers a proposal with other terms."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.answer import answer_facts, answer_told
from gateway.contracts.propose import as_signed, write_proposal
from gateway.contracts.reject import require_addressee
from gateway.contracts.states import ContractEventType
from gateway.state.change import Call, Change, Control
from isthmus.errors import TermsInvalid
from isthmus.names import ContractName
from isthmus.terms import terms_digest
from isthmus.v1.contract_service_pb2 import CounterContractRequest, CounterContractResponse

_EVENTS = (ContractEventType.COUNTERED,)


def counter(control: Control, call: Call, request: CounterContractRequest) -> CounterContractResponse:
    """Closes the proposal as COUNTERED and proposes `request.terms` as the next version.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, or the caller's own department proposed it.
        TermsInvalid: the terms are the same, change the parties, or contradict the catalogue or themselves.
    """
    name, terms = ContractName.parse(request.name, versioned=True), as_signed(request.terms)

    def work(change: Change) -> CounterContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        require_addressee(change, row)
        if (terms.provider, terms.consumer) != (row.provider, row.consumer):
            raise TermsInvalid(
                "terms.consumer", "a counter-proposal must be between the same two departments"
            )
        if terms_digest(terms) == row.terms_digest:
            raise TermsInvalid("terms", f"are those of {row.full_name}; sign it instead")
        facts = answer_facts(row, change.rulebook, call.department, change.now)
        told = answer_told(change, row, facts)
        contract = write_proposal(change, name.at(row.version + 1), terms, reason=request.reason, told=told)
        advance(change, row, _EVENTS, position=contract.position, reason=request.reason, facts=facts)
        return CounterContractResponse(contract=contract)

    return control.change(call, work).value
