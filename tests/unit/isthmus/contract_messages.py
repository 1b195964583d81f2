"""Contract terms for the tests of what people read: one ordinary agreement, and terms in which every leaf is set."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.terms import document_to_terms, rfc3339, terms_digest, terms_json, timestamp
from isthmus.v1.contract_service_pb2 import Contract, ContractState, ContractTerms, Deadline

Path = tuple[str, ...]

TERMS: Final[dict[str, Any]] = {
    "provider": "departments/civil-registry",
    "consumer": "departments/education",
    "systems": ["departments/education/systems/enrolment"],
    "dataset": "departments/civil-registry/datasets/person",
    "fields": [{"name": "姓名", "transform": "mask:1"}, {"name": "birth_date", "transform": "plain"}],
    "purposes": ["入学资格核验"],
    "legal_basis": "CONSENT",
    "legal_citation": "《个人信息保护法》第十三条",
    "modes": ["QUERY", "VERIFY"],
    "quotas": [{"window": "DAY", "calls": 1000, "rows": 0, "scope": "CONTRACT"}],
    "row_filters": [{"field": "birth_date", "operator": "GE", "values": [{"date": "2008-01-01"}]}],
    "not_before": "2026-01-01T00:00:00.000Z",
    "not_after": "2026-12-31T16:00:00.000Z",
    "retention_days": 365,
    "onward_sharing": {"allowed": False, "recipients": []},
    "break_glass": {"allowed": False, "systems": [], "review_within_hours": 0},
    "evidence": {"signed_requests": False},
}


def at(text: str) -> Timestamp:
    return timestamp(datetime.fromisoformat(text))


def terms(**changes: Any) -> ContractTerms:
    """The ordinary terms, with other members where `changes` names them."""
    return document_to_terms({**TERMS, **changes})


def contract(agreed: ContractTerms | None = None, *, state: str = "PROPOSED", **facts: Any) -> Contract:
    """A version as the gateway returns it."""
    said = agreed if agreed is not None else terms()
    message = Contract(
        name="contracts/edu-person-2026@2",
        contract="contracts/edu-person-2026",
        version=2,
        terms=said,
        terms_json=terms_json(said).decode(),
        terms_digest=terms_digest(said),
        state=ContractState.Value(f"CONTRACT_STATE_{state}"),
        proposer="departments/education",
        created_at=at("2026-09-18T01:00:00+00:00"),
        updated_at=at("2026-09-19T01:00:00+00:00"),
        rule_pack="china-809@2025-08-01",
    )
    message.MergeFrom(Contract(**facts))
    return message


def deadline(**facts: Any) -> Deadline:
    """The answer to a proposal, due at the end of 9 October in Shanghai."""
    usual: dict[str, Any] = {
        "kind": "DEADLINE_KIND_ANSWER",
        "due": at("2026-10-09T16:00:00+00:00"),
        "rule": "答复 Answer: 10 工作日 working days (《政务数据共享条例》第二十一条第一款)",
    }
    return Deadline(**{name: value for name, value in (usual | facts).items() if value is not None})


def leaves(descriptor: Any, above: Path = ()) -> Iterator[Path]:
    """Every field in a message that holds a value and not another message; a time counts as a value."""
    for field in descriptor.fields:
        path = (*above, field.name)
        if field.message_type is None or field.message_type is Timestamp.DESCRIPTOR:
            yield path
        else:
            yield from leaves(field.message_type, path)


LEAVES: Final = tuple(leaves(ContractTerms.DESCRIPTOR))


def filled(leaf: Path, variant: int) -> ContractTerms:
    """Terms in which every leaf is set, `leaf` to its first or second value and all others to their first."""
    message = ContractTerms()
    _fill(message, leaf, variant, ())
    return message


def _fill(message: Message, leaf: Path, variant: int, above: Path) -> None:
    for field in message.DESCRIPTOR.fields:
        path = (*above, field.name)
        group = field.containing_oneof
        if group is not None and field.name != _chosen(group.fields, leaf, path):
            continue
        content = getattr(message, field.name)
        if field.message_type is Timestamp.DESCRIPTOR:
            content.CopyFrom(value(field, path, variant if path == leaf else 0))
        elif field.message_type is not None:
            _fill(content.add() if field.is_repeated else content, leaf, variant, path)
            if not field.is_repeated:
                content.SetInParent()
        elif field.is_repeated:
            content.append(value(field, path, variant if path == leaf else 0))
        else:
            setattr(message, field.name, value(field, path, variant if path == leaf else 0))


def _chosen(group: Any, leaf: Path, path: Path) -> str:
    """Of alternatives the one that is asked about, else the first."""
    wanted: list[str] = [field.name for field in group if (*path[:-1], field.name) == leaf]
    return wanted[0] if wanted else str(group[0].name)


def value(field: Any, path: Path, variant: int) -> Any:
    """The first or second value of a leaf, found nowhere else in the terms."""
    number = 1000 + LEAVES.index(path) * 10 + variant
    if field.message_type is not None:
        return at(f"2026-{number % 12 + 1:02}-0{variant + 1}T01:02:03+00:00")
    if field.enum_type is not None:
        return field.enum_type.values[1 + variant].number
    return {
        FieldDescriptor.CPPTYPE_BOOL: variant == 0,
        FieldDescriptor.CPPTYPE_DOUBLE: number + 0.5,
        FieldDescriptor.CPPTYPE_STRING: b"\xfe" + bytes([variant])
        if field.name == "bytes_value"
        else f"值{number}",
    }.get(field.cpp_type, number)


def shown(leaf: Path, message: ContractTerms) -> str:
    """How a document shows the value of a leaf; empty for what is shown in words."""
    found: Any = message
    for name in leaf:
        found = getattr(found, name)
        found = found[0] if hasattr(found, "append") or hasattr(found, "add") else found
    if isinstance(found, Timestamp):
        return rfc3339(found.ToDatetime(tzinfo=UTC))
    if isinstance(found, bytes):
        return found.hex()
    field = _field(ContractTerms.DESCRIPTOR, leaf)
    return "" if isinstance(found, bool) or field.enum_type is not None else str(found)


def _field(descriptor: Any, leaf: Path) -> Any:
    field = descriptor.fields_by_name[leaf[0]]
    return field if len(leaf) == 1 else _field(field.message_type, leaf[1:])
