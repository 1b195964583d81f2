"""ListEmergencyUses, and emergency uses as messages."""

from datetime import datetime

import sqlalchemy as sa

from gateway.emergency.store import EmergencyRow, page_of_uses
from gateway.state.calls import last_number
from gateway.state.change import Call
from isthmus.identity import Role
from isthmus.names import ContractName
from isthmus.rpc.paging import next_page_token, page_size
from isthmus.terms import timestamp
from isthmus.v1 import contract_service_pb2 as pb


def list_emergency_uses(
    conn: sa.Connection, call: Call, request: pb.ListEmergencyUsesRequest
) -> pb.ListEmergencyUsesResponse:
    """Returns a page of emergency uses, newest first: for an auditor all, for an officer those of its department.

    Raises:
        InvalidArgument: a bad contract, page size or page token.
    """
    size = page_size(request.page_size)
    contract = (
        str(ContractName.parse(request.contract, field="contract", versioned=False))
        if request.contract
        else ""
    )
    rows = page_of_uses(
        conn,
        visible_to="" if call.identity.role is Role.AUDITOR else call.department,
        contract=contract,
        unreviewed=request.unreviewed,
        before=last_number(request),
        limit=size + 1,
    )
    token = next_page_token(request, (rows[size - 1].position,)) if len(rows) > size else ""
    uses = [use_of(row, call.received) for row in rows[:size]]
    return pb.ListEmergencyUsesResponse(uses=uses, next_page_token=token)


def use_of(row: EmergencyRow, now: datetime) -> pb.EmergencyUse:
    """Returns the message of an emergency use as it stands at `now`."""
    review = pb.Deadline(
        kind=pb.DEADLINE_KIND_REVIEW,
        due=timestamp(row.review_due),
        overdue=row.overdue(now),
        rule=f"{row.contract}@{row.version}: review within {row.review_hours} hours of the release",
    )
    if row.reviewed_at is not None:
        review.met_at.CopyFrom(timestamp(row.reviewed_at))
    return pb.EmergencyUse(
        exchange=row.exchange,
        contract=f"{row.contract}@{row.version}",
        caller=row.caller,
        justification=row.justification,
        at=timestamp(row.at),
        review=review,
        reviewer=row.reviewer,
        justified=row.justified,
        finding=row.finding,
        position=row.position,
    )
