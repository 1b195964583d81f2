"""Records as OCSF 1.6.0 API Activity (class 6003) with the profiles security_control, datetime and trace.

Required by the class are actor, api and src_endpoint, by every class metadata (product, version), time and the ids of
category, class, activity, type and severity (ocsf-schema, `events/application/api_activity.json`). The log holds no
network address: an endpoint is known by its certificate. What OCSF has no word for stands in `unmapped`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from audit.export.columns import Row
from audit.record import LOGGED, AccessRecord, Kind, format_time, milliseconds
from audit.search.query import Found
from isthmus.canonical import canonical_json

VERSION: Final = "1.6.0"
CATEGORY: Final = 6
CLASS: Final = 6003

CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
_ACTIVITY_NAMES: Final = MappingProxyType(
    {CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete", OTHER: "Other"}
)
_BY_VERB: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("Propose", "Publish", "Grant", "Request", "Sign"), CREATE),
        **dict.fromkeys(("Retire", "Terminate", "Withdraw", "Revoke", "Invalidate"), DELETE),
    }
)
"""What a control call does to its resource, by the verb that its name begins with; any other changes it."""
_NOBODY: Final = "unknown"
"""Required members are there even where a record names no caller."""
_STREAM_ENDED_WELL: Final = "COMPLETE"
_DECISIONS: Final[Mapping[str, tuple[int, str, int, str]]] = MappingProxyType(
    {
        "ALLOW": (1, "Allowed", 1, "Allowed"),
        "DENY": (2, "Denied", 2, "Blocked"),
        "ERROR": (0, "Unknown", 27, "Error"),
    }
)
"""Of a decision: action and disposition, id and name each."""
_SEVERITIES: Final = MappingProxyType({1: "Informational", 2: "Low", 3: "Medium", 4: "High"})
_UNMAPPED: Final = (
    *("purpose", "legal_basis", "case_reference", "subject_token", "subject_count", "consumer", "provider"),
    *("dataset", "contract", "terms_digest", "row_count", "byte_count", "emergency"),
    *("provider_receipt_digest", "request_commitment", "response_commitment"),
)


def ocsf_lines(found: Iterable[Found], *, log: str) -> bytes:
    """The records as OCSF events, one a line; `log` is the log's name."""
    return b"".join(canonical_json(event(Row.of(each.index, each.leaf), log=log)) + b"\n" for each in found)


def event(row: Row, *, log: str) -> dict[str, Any]:
    """One record as an event."""
    record = row.record
    activity, severity, failed = _activity(record), _severity(record), _failed(record)
    logged = record.at[LOGGED]
    members: dict[str, Any] = {
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": _ACTIVITY_NAMES[activity],
        "type_uid": CLASS * 100 + activity,
        "type_name": f"API Activity: {_ACTIVITY_NAMES[activity]}",
        "severity_id": severity,
        "severity": _SEVERITIES[severity],
        "status_id": 2 if failed else 1,
        "status": "Failure" if failed else "Success",
        "status_code": record.grpc_code,
        "status_detail": ", ".join(record.reasons),
        "time": milliseconds(logged),
        "time_dt": format_time(logged),
        "metadata": _metadata(row, log),
        "actor": {"user": {"uid": record.caller or _NOBODY, "type_id": 3, "type": "System"}},
        "api": _api(record),
        "src_endpoint": {"svc_name": record.caller or _NOBODY, "uid": record.certificate},
        "resources": [{"name": name, "type": kind} for kind, name in _resources(record) if name],
        "trace": {"uid": record.trace_id} if record.trace_id else {},
        "unmapped": _unmapped(record),
        **_control(record),
    }
    full: dict[str, Any] = _full(members)
    return full


def _metadata(row: Row, log: str) -> dict[str, Any]:
    return {
        "product": {"name": "Isthmus", "vendor_name": "Isthmus"},
        "version": VERSION,
        "profiles": ["security_control", "datetime", "trace"],
        "uid": f"records/{row.index}",
        "sequence": row.index,
        "correlation_uid": row.record.exchange,
        "log_name": log,
        "log_provider": "isthmus.audit",
        "logged_time": milliseconds(row.record.at[LOGGED]),
        "logged_time_dt": format_time(row.record.at[LOGGED]),
        "original_time": format_time(row.record.at.get("in", row.record.at[LOGGED])),
        "event_code": row.record.kind.value,
        "labels": [f"leaf_hash:{row.leaf_hash}"],
    }


def _api(record: AccessRecord) -> dict[str, Any]:
    return {
        "operation": record.action or record.mode.capitalize() or record.kind.value,
        "service": {"name": "isthmus.v1"},
        "request": {"uid": record.exchange},
        "response": {"message": record.grpc_code, "error": ", ".join(record.reasons)},
    }


def _resources(record: AccessRecord) -> Iterable[tuple[str, str]]:
    return (
        ("dataset", record.dataset),
        ("contract", record.contract),
        ("resource", record.resource if record.resource != record.contract else ""),
    )


def _control(record: AccessRecord) -> dict[str, Any]:
    """What the profile security_control adds about a decision."""
    if record.kind is not Kind.DECISION:
        return {}
    action_id, action, disposition_id, disposition = _DECISIONS[record.decision]
    return {
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "is_alert": bool(record.emergency),
        "policy": {"uid": record.policy_digest, "name": "Cedar policy", "desc": " ".join(record.rules)},
    }


def _unmapped(record: AccessRecord) -> dict[str, Any]:
    members = {name: getattr(record, name) for name in _UNMAPPED}
    return {
        **members,
        "fields": [dict(each) for each in record.fields],
        "consents": [dict(each) for each in record.consents],
        "reasons": list(record.reasons),
        "rules": list(record.rules),
    }


def _activity(record: AccessRecord) -> int:
    if record.kind is not Kind.CONTROL:
        return READ
    return next((number for verb, number in _BY_VERB.items() if record.action.startswith(verb)), UPDATE)


def _failed(record: AccessRecord) -> bool:
    if record.kind is Kind.STREAM_END:
        return record.action != _STREAM_ENDED_WELL
    return record.decision in ("DENY", "ERROR") or bool(record.reasons) or record.grpc_code not in ("", "OK")


def _severity(record: AccessRecord) -> int:
    """Medium for an emergency use, which somebody must review; low for what was refused or failed."""
    if record.emergency:
        return 3
    return 2 if _failed(record) else 1


def _full(value: Any) -> Any:
    """Without members that say nothing: in OCSF what is absent is unknown. Zero is an id, and stays."""
    if isinstance(value, dict):
        members = {name: _full(each) for name, each in value.items()}
        return {name: each for name, each in members.items() if each not in ("", [], {}, None)}
    if isinstance(value, list):
        return [_full(each) for each in value]
    return value
