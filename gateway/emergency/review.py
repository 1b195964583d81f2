"""ReviewEmergencyUse: an officer of the provider says whether an emergency use was justified. Once."""

from gateway.emergency.queries import use_of
from gateway.emergency.store import EmergencyRow, get_use, put_review
from gateway.state.change import Call, Change, Control, Refusal
from gateway.state.contracts import get_version
from isthmus.errors import NotFound, PermissionDenied, StateConflict
from isthmus.names import ExchangeName
from isthmus.reasons import Reason
from isthmus.terms import rfc3339
from isthmus.v1.contract_service_pb2 import ReviewEmergencyUseRequest, ReviewEmergencyUseResponse

REVIEWED = "EMERGENCY_REVIEWED"


def review_emergency_use(
    control: Control, call: Call, request: ReviewEmergencyUseRequest
) -> ReviewEmergencyUseResponse:
    """Records the review of an emergency use. A late one is taken too, and stays marked as late.

    Raises:
        NotFound: no such use, or the caller's department is no party to its contract.
        PermissionDenied: the caller is of the department that was given the data; it does not judge itself.
        StateConflict: it was reviewed before.
    """
    name = str(ExchangeName.parse(request.exchange, field="exchange"))

    def work(change: Change) -> ReviewEmergencyUseResponse:
        row = _reviewable(change, name)
        told = {
            "event": REVIEWED,
            "justified": "yes" if request.justified else "no",
            "review_due": rfc3339(row.review_due),
        }
        contract = get_version(change.connection, row.contract, row.version)
        change.record(name, told, about=contract, reason=request.finding)
        put_review(
            change.connection,
            name,
            reviewer=call.identity.uri,
            justified=request.justified,
            finding=request.finding,
            at=change.now,
        )
        after = get_use(change.connection, name)
        assert after is not None
        return ReviewEmergencyUseResponse(use=use_of(after, change.now))

    return control.change(call, work).value


def _reviewable(change: Change, name: str) -> EmergencyRow:
    row = get_use(change.connection, name)
    if row is None:
        raise NotFound(name)
    if change.call.department not in row.parties:
        raise Refusal(NotFound(name), name, reason=Reason.NOT_A_PARTY)
    if change.call.department != row.provider:
        words = f"only an officer of {row.provider}, whose data were released, reviews {name}"
        raise Refusal(PermissionDenied(Reason.NOT_A_PARTY, words), name)
    if row.reviewed_at is not None:
        raise StateConflict(name, f"was reviewed at {rfc3339(row.reviewed_at)}; a review is final")
    return row
