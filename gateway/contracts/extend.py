"""ExtendAnswer: more time for an answer, with the consent of the authority in charge."""

from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.answer import require_unanswered
from gateway.contracts.deadlines import DeadlineKind, answer_limit
from gateway.contracts.overdue import deadlines_of
from gateway.contracts.reject import require_addressee
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from gateway.state.contracts import ContractRow
from isthmus.errors import InvalidArgument, StateConflict
from isthmus.names import ContractName
from isthmus.terms import rfc3339
from isthmus.v1.contract_service_pb2 import ExtendAnswerRequest, ExtendAnswerResponse

_EVENTS = (ContractEventType.ANSWER_EXTENDED,)


def extend_answer(control: Control, call: Call, request: ExtendAnswerRequest) -> ExtendAnswerResponse:
    """Extends the answer's limit once, by at most what the rule pack allows (decree 809 article 21).

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not PROPOSED, the caller proposed it itself or has answered it, it was extended before, its
            limit has ended, or the rule pack knows no extension.
        InvalidArgument: more than the rule pack allows.
    """
    name = ContractName.parse(request.name, versioned=True)

    def work(change: Change) -> ExtendAnswerResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        require_addressee(change, row)
        require_unanswered(row)
        _require_allowed(change, row, request.amount)
        _require_in_time(change, row)
        told: dict[str, str | int] = {
            "event": "ANSWER_EXTENDED",
            "amount": request.amount,
            "authority_reference": request.authority_reference,
        }
        position = change.record(row.full_name, told, about=row, reason=request.reason)
        facts = {"extended_by": request.amount}
        after = advance(change, row, _EVENTS, position=position, reason=request.reason, facts=facts)
        contract = contract_of(change.connection, after, change.now, change.rulebook)
        return ExtendAnswerResponse(contract=contract)

    return control.change(call, work).value


def _require_allowed(change: Change, row: ContractRow, amount: int) -> None:
    pack = change.rulebook.of(row.rule_pack)
    limit = None if pack is None else answer_limit(row, pack)
    extension = None if limit is None else limit.extension
    if extension is None:
        raise StateConflict(row.full_name, f"the rule pack {row.rule_pack} knows no extension of the answer")
    if row.extended_by:
        raise StateConflict(row.full_name, "its answer was extended already; that is possible once")
    if amount > extension.amount:
        raise InvalidArgument(
            "amount", f"must be at most {extension.amount} ({row.rule_pack}, {extension.article})"
        )


def _require_in_time(change: Change, row: ContractRow) -> None:
    # An extension after the fact would make an answer that was missed look as if it never had been.
    for each in deadlines_of(change.connection, row, change.rulebook, change.now):
        if each.kind is DeadlineKind.ANSWER and each.overdue and each.due is not None:
            words = f"its answer was due by {rfc3339(each.due)}; a limit that has ended is not extended"
            raise StateConflict(row.full_name, f"{words} ({each.rule})")
