"""Contract terms as the one canonical JSON document that both departments sign, and values inside it.

The document's members are those of the message `ContractTerms`, with enum values by their names without prefix
and times as RFC 3339 in UTC. `docs/PROTOCOL.md` shows one.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.errors import TermsInvalid
from isthmus.v1 import common_pb2, contract_service_pb2
from isthmus.v1.common_pb2 import FieldGrant, LegalBasis, Mode, Operator, Predicate, Value
from isthmus.v1.contract_service_pb2 import ContractTerms, Quota, QuotaScope, QuotaWindow

Document = dict[str, Any]

_VALUE_KINDS: Final = ("bool", "int64", "double", "decimal", "string", "bytes", "date", "timestamp")


def rfc3339(at: datetime) -> str:
    """An aware time as RFC 3339 in UTC with milliseconds, for example `2026-11-23T08:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str, *, field: str) -> datetime:
    """Read what `rfc3339` writes, or any RFC 3339 time with an offset.

    Raises:
        TermsInvalid: it is none; names `field`.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise TermsInvalid(field, "must be an RFC 3339 time such as 2026-11-23T08:00:00Z") from None
    if at.tzinfo is None:
        raise TermsInvalid(field, "must be an RFC 3339 time with an offset, such as 2026-11-23T08:00:00Z")
    return at.astimezone(UTC)


def timestamp(at: datetime) -> Timestamp:
    """An aware time as a protobuf Timestamp."""
    message = Timestamp()
    message.FromDatetime(at)
    return message


def instant(message: Timestamp) -> datetime:
    """A protobuf Timestamp as an aware time in UTC."""
    return message.ToDatetime(tzinfo=UTC)


def value_to_json(value: Value) -> Document | None:
    """A Value as `{"string": "x"}`, `{"int64": "5"}`, `{"bool": true}` and so on; None for NULL.

    Numbers become text, so that the canonical form needs no floating point.
    """
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    content = getattr(value, kind)
    name = kind.removesuffix("_value")
    if name == "bool":
        return {name: content}
    if name == "bytes":
        return {name: content.hex()}
    return {name: repr(content) if name == "double" else str(content)}


def json_to_value(document: object, *, field: str) -> Value:
    """Read what `value_to_json` writes.

    Raises:
        TermsInvalid: it is no such value; names `field`.
    """
    if document is None:
        return Value()
    if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in _VALUE_KINDS:
        raise TermsInvalid(field, f"must be an object with one of the members {', '.join(_VALUE_KINDS)}")
    kind, content = next(iter(document.items()))
    if not isinstance(content, bool if kind == "bool" else str):
        raise TermsInvalid(f"{field}.{kind}", "must be true or false" if kind == "bool" else "must be text")
    try:
        return Value(**{f"{kind}_value": _READERS.get(kind, lambda same: same)(content)})
    except (ValueError, TypeError):
        raise TermsInvalid(f"{field}.{kind}", f"is no {kind} value") from None


_READERS: Final[Mapping[str, Any]] = {"int64": int, "double": float, "bytes": bytes.fromhex}


def predicate_to_json(predicate: Predicate) -> Document:
    """A Predicate as `{"field", "operator", "values"}`."""
    return {
        "field": predicate.field,
        "operator": Operator.Name(predicate.operator).removeprefix("OPERATOR_"),
        "values": [value_to_json(value) for value in predicate.values],
    }


def json_to_predicate(document: object, *, field: str) -> Predicate:
    """Read what `predicate_to_json` writes. Raises TermsInvalid naming the place."""
    members = _members(document, {"field", "operator", "values"}, field)
    values = _list(members, "values", field)
    return Predicate(
        field=_text(members, "field", field),
        operator=_enum(Operator, "OPERATOR_", members.get("operator"), f"{field}.operator"),
        values=[
            json_to_value(value, field=f"{field}.values[{position}]") for position, value in enumerate(values)
        ],
    )


def terms_to_document(terms: ContractTerms) -> Document:
    """The terms as the JSON object that is signed. Optional parts that are absent appear with their default."""
    return {
        "provider": terms.provider,
        "consumer": terms.consumer,
        "systems": list(terms.systems),
        "dataset": terms.dataset,
        "fields": [{"name": field.name, "transform": field.transform} for field in terms.fields],
        "purposes": list(terms.purposes),
        "legal_basis": LegalBasis.Name(terms.legal_basis).removeprefix("LEGAL_BASIS_"),
        "legal_citation": terms.legal_citation,
        "modes": [Mode.Name(mode).removeprefix("MODE_") for mode in terms.modes],
        "quotas": [
            {
                "window": QuotaWindow.Name(quota.window).removeprefix("QUOTA_WINDOW_"),
                "calls": quota.calls,
                "rows": quota.rows,
                "scope": QuotaScope.Name(quota.scope).removeprefix("QUOTA_SCOPE_"),
            }
            for quota in terms.quotas
        ],
        "row_filters": [predicate_to_json(predicate) for predicate in terms.row_filters],
        "not_before": rfc3339(instant(terms.period.not_before)),
        "not_after": rfc3339(instant(terms.period.not_after)),
        "retention_days": terms.retention_days,
        "onward_sharing": {
            "allowed": terms.onward_sharing.allowed,
            "recipients": list(terms.onward_sharing.recipients),
        },
        "break_glass": {
            "allowed": terms.break_glass.allowed,
            "systems": list(terms.break_glass.systems),
            "review_within_hours": terms.break_glass.review_within_hours,
        },
        "evidence": {"signed_requests": terms.evidence.signed_requests},
    }


_REQUIRED: Final = frozenset(
    [
        "provider",
        "consumer",
        "systems",
        "dataset",
        "fields",
        "purposes",
        "legal_basis",
        "legal_citation",
        "modes",
        "not_before",
        "not_after",
        "retention_days",
    ]
)
_OPTIONAL: Final = frozenset(["quotas", "row_filters", "onward_sharing", "break_glass", "evidence"])


def document_to_terms(document: object) -> ContractTerms:
    """Read terms from the JSON object, or from the TOML table of the same shape that a person wrote.

    Members with a default may be missing. Whether the terms make sense is the gateway's question; this one is
    whether they can be read.

    Raises:
        TermsInvalid: a member is missing, unknown or of the wrong type; names it.
    """
    members = _members(document, _REQUIRED | _OPTIONAL, "terms")
    missing = sorted(_REQUIRED - members.keys())
    if missing:
        raise TermsInvalid(f"terms.{missing[0]}", "is missing")
    terms = ContractTerms(
        provider=_text(members, "provider", "terms"),
        consumer=_text(members, "consumer", "terms"),
        systems=_texts(members, "systems", "terms"),
        dataset=_text(members, "dataset", "terms"),
        fields=[
            _field_grant(each, f"terms.fields[{position}]")
            for position, each in enumerate(_list(members, "fields", "terms"))
        ],
        purposes=_texts(members, "purposes", "terms"),
        legal_basis=_enum(LegalBasis, "LEGAL_BASIS_", members["legal_basis"], "terms.legal_basis"),
        legal_citation=_text(members, "legal_citation", "terms"),
        modes=[_enum(Mode, "MODE_", each, "terms.modes") for each in _texts(members, "modes", "terms")],
        quotas=[
            _quota(each, f"terms.quotas[{position}]")
            for position, each in enumerate(_list(members, "quotas", "terms"))
        ],
        row_filters=[
            json_to_predicate(each, field=f"terms.row_filters[{position}]")
            for position, each in enumerate(_list(members, "row_filters", "terms"))
        ],
        period=common_pb2.Period(
            not_before=_time(members, "not_before", "terms"), not_after=_time(members, "not_after", "terms")
        ),
        retention_days=_count(members, "retention_days", "terms", 2**32 - 1),
    )
    _read_optional_parts(members, terms)
    return terms


def _read_optional_parts(members: Mapping[str, Any], terms: ContractTerms) -> None:
    onward = _members(members.get("onward_sharing", {}), {"allowed", "recipients"}, "terms.onward_sharing")
    terms.onward_sharing.allowed = _flag(onward, "allowed", "terms.onward_sharing")
    terms.onward_sharing.recipients.extend(_texts(onward, "recipients", "terms.onward_sharing"))
    place = "terms.break_glass"
    glass = _members(members.get("break_glass", {}), {"allowed", "systems", "review_within_hours"}, place)
    terms.break_glass.allowed = _flag(glass, "allowed", place)
    terms.break_glass.systems.extend(_texts(glass, "systems", place))
    terms.break_glass.review_within_hours = _count(glass, "review_within_hours", place, 2**32 - 1)
    evidence = _members(members.get("evidence", {}), {"signed_requests"}, "terms.evidence")
    terms.evidence.signed_requests = _flag(evidence, "signed_requests", "terms.evidence")


def terms_json(terms: ContractTerms) -> bytes:
    """The canonical JSON form of the terms (RFC 8785): the exact bytes whose digest is signed."""
    return canonical_json(terms_to_document(terms))


def terms_digest(terms: ContractTerms) -> str:
    """The SHA-256 of the canonical form, in hex."""
    return sha256_hex(terms_json(terms))


def contract_statement_payload(
    *, contract: str, department: str, terms: Document, signed_at: datetime
) -> Document:
    """What an officer signs: the members of an `isthmus-contract+jws`.

    Args:
        contract: `contracts/{contract}@{version}`.
        department: the department that the officer signs for, `departments/{department}`.
        terms: the document of `terms_to_document`.
        signed_at: an aware time.
    """
    return {
        "contract": contract,
        "department": department,
        "signed_at": rfc3339(signed_at),
        "terms": terms,
    }


def _members(
    document: object, allowed: Sequence[str] | frozenset[str] | set[str], field: str
) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise TermsInvalid(field, "must be an object")
    unknown = sorted(str(key) for key in document.keys() - set(allowed))
    if unknown:
        raise TermsInvalid(
            f"{field}.{unknown[0][:64]}", f"is unknown; there are {', '.join(sorted(allowed))}"
        )
    return document


def _text(members: Mapping[str, Any], name: str, field: str) -> str:
    content = members.get(name)
    if not isinstance(content, str):
        raise TermsInvalid(f"{field}.{name}", "must be text")
    return content


def _list(members: Mapping[str, Any], name: str, field: str) -> list[Any]:
    content = members.get(name, [])
    if not isinstance(content, list):
        raise TermsInvalid(f"{field}.{name}", "must be a list")
    return content


def _texts(members: Mapping[str, Any], name: str, field: str) -> list[str]:
    content = _list(members, name, field)
    if not all(isinstance(each, str) for each in content):
        raise TermsInvalid(f"{field}.{name}", "must be a list of texts")
    return content


def _flag(members: Mapping[str, Any], name: str, field: str) -> bool:
    content = members.get(name, False)
    if not isinstance(content, bool):
        raise TermsInvalid(f"{field}.{name}", "must be true or false")
    return content


def _count(members: Mapping[str, Any], name: str, field: str, most: int) -> int:
    content = members.get(name, 0)
    if isinstance(content, bool) or not isinstance(content, int) or not 0 <= content <= most:
        raise TermsInvalid(f"{field}.{name}", f"must be a whole number from 0 to {most}")
    return content


def _time(members: Mapping[str, Any], name: str, field: str) -> Timestamp:
    content = members[name]
    if isinstance(content, datetime) and content.tzinfo is not None:
        return timestamp(content.astimezone(UTC))
    return timestamp(parse_rfc3339(_text(members, name, field), field=f"{field}.{name}"))


def _enum(enum: Any, prefix: str, content: object, field: str) -> Any:
    names = [name.removeprefix(prefix) for name, number in enum.items() if number]
    if content not in names:
        raise TermsInvalid(field, f"must be one of {', '.join(names)}")
    return enum.Value(f"{prefix}{content}")


def _field_grant(document: object, field: str) -> FieldGrant:
    members = _members(document, {"name", "transform"}, field)
    transform = _text(members, "transform", field) if "transform" in members else "plain"
    return FieldGrant(name=_text(members, "name", field), transform=transform)


def _quota(document: object, field: str) -> Quota:
    members = _members(document, {"window", "calls", "rows", "scope"}, field)
    return contract_service_pb2.Quota(
        window=_enum(QuotaWindow, "QUOTA_WINDOW_", members.get("window"), f"{field}.window"),
        calls=_count(members, "calls", field, 10**12),
        rows=_count(members, "rows", field, 10**12),
        scope=_enum(QuotaScope, "QUOTA_SCOPE_", members.get("scope"), f"{field}.scope"),
    )
