"""SuspendContract: either party stops exchanges for a time. A fence."""

from datetime import datetime

from gateway.clocks.limits import RuleKind
from gateway.contracts.access import version_for_party
from gateway.contracts.advance import advance, require_possible
from gateway.contracts.states import ContractEventType
from gateway.contracts.view import contract_of
from gateway.state.change import Call, Change, Control
from gateway.state.contracts import ContractRow
from isthmus.errors import InvalidArgument
from isthmus.names import ContractName
from isthmus.terms import instant, rfc3339
from isthmus.v1.contract_service_pb2 import SuspendContractRequest, SuspendContractResponse

_EVENTS = (ContractEventType.SUSPENDED,)


def suspend(control: Control, call: Call, request: SuspendContractRequest) -> SuspendContractResponse:
    """Suspends an ACTIVE version; only the same department can resume it.

    Raises:
        NotFound: no such version, or the caller's department is not a party.
        StateConflict: it is not ACTIVE.
        InvalidArgument: `rectify_by` is not in the future.
    """
    name = ContractName.parse(request.name, versioned=True)
    rectify_by = instant(request.rectify_by) if request.HasField("rectify_by") else None

    def work(change: Change) -> SuspendContractResponse:
        row = version_for_party(change, name)
        require_possible(row, _EVENTS, change.now)
        if rectify_by is not None and rectify_by <= change.now:
            raise InvalidArgument("rectify_by", "must be in the future")
        _require_rectification(change, row, rectify_by)
        told = {"event": "SUSPENDED", "by": call.department}
        if rectify_by is not None:
            told["rectify_by"] = rfc3339(rectify_by)
        position = change.record(row.full_name, told, about=row, reason=request.reason)
        after = advance(
            change,
            row,
            _EVENTS,
            position=position,
            reason=request.reason,
            facts={
                "suspended_by": call.department,
                "suspended_at": change.now,
                "rectify_by": rectify_by,
                "resumed_at": None,
            },
        )
        return SuspendContractResponse(
            contract=contract_of(change.connection, after, change.now, change.rulebook)
        )

    return control.change(call, work).value


def _require_rectification(change: Change, row: ContractRow, rectify_by: datetime | None) -> None:
    """A provider cannot stop service silently: where the rule pack says so, a suspension sets a time to put it right.

    Raises:
        InvalidArgument: the time is missing.
    """
    pack = change.rulebook.of(row.rule_pack)
    if rectify_by is None and pack is not None and pack.requires(RuleKind.SUSPENSION_RECTIFICATION):
        article = pack.rules[RuleKind.SUSPENSION_RECTIFICATION].article
        raise InvalidArgument(
            "rectify_by", f"is required: when must the cause be put right? ({pack.ref}, {article})"
        )
