"""Records as the API shows them, and in words for the person they are about."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from audit.batch.lines import Line
from audit.record import LOGGED, AccessRecord, Kind
from audit.reports.plain import basis, because, counted, fact, foretold, listed, who
from isthmus.v1 import audit_service_pb2, common_pb2, reason_pb2
from isthmus.v1.audit_service_pb2 import Record

WHEN: Final = "%Y-%m-%d %H:%M UTC"


def to_message(index: int, leaf: bytes) -> Record:
    """The record at a position.

    Raises:
        RecordError: the leaf is not a record.
    """
    record = AccessRecord.parse(leaf)
    message = Record(
        index=index,
        leaf=leaf,
        exchange=record.exchange,
        kind=_number(audit_service_pb2.RecordKind, f"RECORD_KIND_{record.kind}"),
        caller=record.caller,
        consumer=record.consumer,
        provider=record.provider,
        dataset=record.dataset,
        contract=record.contract,
        purpose=record.purpose,
        legal_basis=_number(common_pb2.LegalBasis, f"LEGAL_BASIS_{record.legal_basis}"),
        case_reference=record.case_reference,
        subject_token=record.subject_token,
        mode=_number(common_pb2.Mode, f"MODE_{record.mode}"),
        decision=_number(common_pb2.Decision, f"DECISION_{record.decision}"),
        reasons=[_number(reason_pb2.Reason, f"REASON_{reason}") for reason in record.reasons],
        fields=[common_pb2.FieldGrant(**each) for each in record.fields],
        row_count=record.row_count,
        action=record.action,
        resource=record.resource,
        emergency=record.emergency,
    )
    if LOGGED in record.at:
        logged = Timestamp()
        logged.FromDatetime(record.at[LOGGED])
        message.logged_at.CopyFrom(logged)
    return message


def in_words(record: AccessRecord, lines: Sequence[Line] = ()) -> str:
    """What happened, for the person the record is about: the time in UTC, a colon and a space, and the story.

    Args:
        record: the record.
        lines: of a batch, those about the person.
    """
    when = record.at[LOGGED].strftime(WHEN) if LOGGED in record.at else "at an unknown time"
    if record.kind is Kind.STREAM_END:
        return f"{when}: {_stream_end(record)}."
    if record.kind is not Kind.DECISION:
        return f"{when}: {who(record.caller)} {_search(record)}."
    mine = _own_part(record, lines)
    told = outcome(mine) if record.mode != "BATCH" else _part_of_batch(mine, known=bool(lines))
    return f"{when}: {alarm(mine)}{who(record.caller)} {told}.{circumstances(mine)}"


def alarm(record: AccessRecord) -> str:
    """What stands before the story of an emergency use (break-glass), so that nobody misses it; else nothing."""
    if not record.emergency or record.decision != "ALLOW":
        return ""
    return "EMERGENCY ACCESS (紧急调用), WITHOUT THE CONSENT THAT IS OTHERWISE NEEDED: "


def circumstances(record: AccessRecord) -> str:
    """For what, on which ground and under which contract something was asked, a sentence each."""
    claim = "Reason given for the emergency" if record.decision == "ALLOW" else "Claimed emergency"
    facts = (
        (claim, record.emergency),
        ("Purpose (用途)", record.purpose),
        ("Legal basis (法律依据)", basis(record.legal_basis) if record.legal_basis else ""),
        ("Case (办件)", record.case_reference),
        ("Contract (共享协议)", record.contract),
    )
    return "".join(f" {label}: {value}." for label, value in facts if value)


def outcome(record: AccessRecord) -> str:
    """What came of an exchange, to follow the name of who asked."""
    source = record.dataset or record.provider or "a dataset"
    if record.decision == "ALLOW" and record.mode == "VERIFY":
        return f"asked a yes-or-no question of {source} and was told the answer, no data"
    if record.decision == "ALLOW":
        facts = listed(fact(each) for each in record.fields) or "no fields"
        if record.mode == "STREAM":
            return (
                f"began to receive {facts} of many persons from {source}; "
                "how much it was stands in the record of the end"
            )
        return f"was given {facts} from {source} ({counted(record.row_count, 'row')})"
    if record.decision == "DENY":
        why = because(record.reasons) or " by a rule"
        return f"asked for data from {source} and was refused{why}; nothing was released"
    return f"asked for data from {source}, which failed for a technical reason; nothing was released"


_SEARCHES: Final = {
    "ListRecords": "searched the audit trail for records about you",
    "CountRecords": "counted the records about you in the audit trail",
    "ReportSubjectAccess": "asked for the report of who looked at your data",
    "ExportRecords": "exported records about you from the audit trail",
    "ExportEvidence": "exported records about you as evidence",
}


def _search(record: AccessRecord) -> str:
    if record.action == "Explain":
        told = foretold(record.change.get("verdict"))
        return f"asked how a request for your data would be decided and was told {told}; nothing was released"
    other = "ExportRecords" if record.kind is Kind.EXPORT else "ListRecords"
    return _SEARCHES.get(record.action, _SEARCHES[other])


def _stream_end(record: AccessRecord) -> str:
    """How a stream ended, and what had left by then."""
    told = f"{counted(record.row_count, 'row')} of {record.dataset} had gone to {who(record.caller)}"
    return f"a stream ended as {record.action.lower()}{because(record.reasons)}; {told}"


def _own_part(record: AccessRecord, lines: Sequence[Line]) -> AccessRecord:
    """The record of a batch as if it were about one of its persons alone; any other record as it is."""
    if not lines:
        return record
    # Somebody who is named twice was given the same rows twice.
    one = min(lines, key=lambda line: line.decision)
    return replace(record, decision=one.decision, reasons=one.reasons, row_count=one.rows)


def _part_of_batch(record: AccessRecord, *, known: bool) -> str:
    """What a batch came to for one of its persons; `known` unless their line was erased."""
    count = record.subject_count
    among = f"among {count} persons" if count > 1 else "as the only person of a batch"
    if record.decision == "ALLOW" and not known:
        source = record.dataset or record.provider or "a dataset"
        return f"asked for data from {source}, {among}; what came of you has been erased"
    return f"{outcome(record)}, {among}"


def _number(enum: Any, name: str) -> Any:
    # A newer gateway may have written a name that this version does not know; the leaf still holds it.
    return enum.Value(name) if name in enum.DESCRIPTOR.values_by_name else 0
