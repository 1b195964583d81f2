"""Records as the API shows them, and in words for the person they are about."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from audit.batch.lines import Line
from audit.record import LOGGED, AccessRecord, Kind
from isthmus.v1 import audit_service_pb2, common_pb2, reason_pb2
from isthmus.v1.audit_service_pb2 import Record

_WHEN: Final = "%Y-%m-%d %H:%M UTC"
_ROLES: Final = {"system": "the system", "officer": "the officer", "node": "the node"}


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
    """What happened, for the person the record is about.

    Args:
        record: the record.
        lines: of a batch, those about the person.
    """
    when = record.at[LOGGED].strftime(_WHEN) if LOGGED in record.at else "at an unknown time"
    if record.kind is Kind.STREAM_END:
        return f"{when}: {_stream_end(record)}."
    if record.kind is not Kind.DECISION:
        return f"{when}: {_caller(record.caller)} {_search(record)}."
    why = "".join(
        f", {label} {value}"
        for label, value in (
            ("for the purpose", record.purpose),
            ("case", record.case_reference),
            ("on the legal basis", record.legal_basis.replace("_", " ").lower()),
            ("under", record.contract),
            ("as an emergency:", record.emergency if record.decision == "ALLOW" else ""),
        )
        if value
    )
    told = _outcome(record) if record.mode != "BATCH" else _part_of_batch(record, lines)
    return f"{when}: {_caller(record.caller)} {told}{why}."


def _search(record: AccessRecord) -> str:
    if record.kind is Kind.EXPORT:
        return "exported records about you from the audit trail"
    if record.action == "Explain":
        told = record.change.get("verdict", "")
        answer = f"was told {told}" if told else "was told nothing"
        return f"asked how a request for your data would be decided and {answer}; nothing was released"
    if record.action == "ReportSubjectAccess":
        return "asked for the report of who looked at your data"
    return "searched the audit trail for records about you"


def _outcome(record: AccessRecord) -> str:
    source = record.dataset or record.provider or "a dataset"
    if record.decision == "ALLOW" and record.mode == "VERIFY":
        return f"asked a yes-or-no question of {source} and was told the answer, no data"
    if record.decision == "ALLOW":
        fields = ", ".join(_field(each) for each in record.fields) or "no fields"
        if record.mode == "STREAM":
            return f"began to receive {fields} of many persons from {source}; how much it was stands in the record of the end"
        return f"was given {fields} from {source} ({record.row_count} rows)"
    if record.decision == "DENY":
        rules = ", ".join(reason.replace("_", " ").lower() for reason in record.reasons) or "a rule"
        return f"asked for data from {source} and was refused ({rules}); nothing was released"
    return f"asked for data from {source}, which failed for a technical reason; nothing was released"


def _stream_end(record: AccessRecord) -> str:
    """How a stream ended, and what had left by then."""
    why = ", ".join(reason.replace("_", " ").lower() for reason in record.reasons)
    told = f"{record.row_count} rows of {record.dataset} had gone to {_caller(record.caller)}"
    return f"a stream ended as {record.action.lower()}{f' ({why})' if why else ''}; {told}"


def _part_of_batch(record: AccessRecord, lines: Sequence[Line]) -> str:
    """What a batch came to for one of its persons."""
    count = record.subject_count
    among = f"among {count} persons" if count > 1 else "as the only person of a batch"
    if lines:
        # Somebody who is named twice was given the same rows twice.
        one = min(lines, key=lambda line: line.decision)
        only = replace(record, decision=one.decision, reasons=one.reasons, row_count=one.rows)
        return f"{_outcome(only)}, {among}"
    if record.decision == "ALLOW":
        source = record.dataset or record.provider or "a dataset"
        return f"asked for data from {source}, {among}; what came of you has been erased"
    return f"{_outcome(record)}, {among}"


def _field(grant: Any) -> str:
    transform = grant.get("transform", "plain")
    return str(grant["name"]) if transform == "plain" else f"{grant['name']} ({transform})"


def _caller(uri: str) -> str:
    parts = uri.split("/")[3:]
    if len(parts) == 4 and parts[0] == "department":
        return f"{_ROLES.get(parts[2], parts[2])} {parts[3]} of departments/{parts[1]}"
    return f"the {' '.join(parts)}" if len(parts) == 2 else "somebody"


def _number(enum: Any, name: str) -> Any:
    # A newer gateway may have written a name that this version does not know; the leaf still holds it.
    return enum.Value(name) if name in enum.DESCRIPTOR.values_by_name else 0
