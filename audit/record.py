"""The access record: what one leaf of the log says, as canonical JSON (RFC 8785) kept verbatim.

A member that is empty, zero or unset is left out of the leaf, so one record has exactly one spelling. No member
may hold a personal identifier: subjects appear as keyed tokens, free text as salted commitments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring as _encode_text
from operator import attrgetter
from typing import Any, Final

from audit.tlog.tiles import MAX_ENTRY_BYTES
from isthmus.canonical import MAX_SAFE_INTEGER, CanonicalError, canonical_json, parse_canonical
from isthmus.errors import InvalidArgument

VERSION: Final = 1
LOGGED: Final = "logged"
"""The time in `AccessRecord.at` that the ledger itself adds: when the record was appended."""


class Kind(StrEnum):
    """What a record is about."""

    DECISION = "DECISION"
    CONTROL = "CONTROL"
    LOOKUP = "LOOKUP"
    EXPORT = "EXPORT"
    STREAM_END = "STREAM_END"


class StreamEnding(StrEnum):
    """How a stream ended: the `action` of its closing record."""

    COMPLETE = "COMPLETE"
    STOPPED = "STOPPED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


class RecordError(ValueError):
    """A leaf is not a record, or a record contradicts itself. The message never quotes the content."""


class LeafTooLarge(InvalidArgument):
    """The record does not fit into an entry of the log (C2SP tlog-tiles: a 16-bit length)."""

    def __init__(self, size: int) -> None:
        super().__init__(
            "record",
            f"takes {size} bytes in the log, where {MAX_ENTRY_BYTES} are possible; make the change in smaller parts",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One record.

    Attributes:
        exchange: `exchanges/{uuid}` of the exchange or control call.
        kind: what it is about; a DECISION needs an exchange and a decision. The ALLOW of a stream is its opening
            record; its STREAM_END, of the same exchange, says what was handed on, and how it ended.
        at: aware times by name: `in`, `admitted`, `fetched`, `released`, and `logged`, which the ledger sets.
        base: the size of the log when the record's transaction began: every state that the decision rests on was
            read there. The ledger sets it.
        caller: the SPIFFE ID that called.
        certificate: the SHA-256 thumbprint of its certificate, hex.
        consumer: `departments/{d}`.
        provider: `departments/{d}`.
        dataset: `departments/{d}/datasets/{d}`.
        contract: `contracts/{c}@{version}`.
        terms_digest: SHA-256 of the terms, hex.
        purpose: the purpose, as the contract spells it.
        legal_basis: the name without `LEGAL_BASIS_`.
        case_reference: the consumer's case or matter.
        subject_token: `{epoch}.{hex}`.
        subject_count: of a batch or a stream.
        subjects_root: of a batch, the RFC 6962 root, hex, over a line for each subject (`audit.batch.lines`).
        outcomes: of a batch, how many subjects ended as ALLOW, and how many for each reason, the first of several.
        mode: the name without `MODE_`.
        decision: ALLOW, DENY or ERROR.
        reasons: names without `REASON_`, every rule that failed.
        rules: ids of the policy rules that refused.
        policy_digest: SHA-256 of the policies, hex.
        fields: what was released, `{"name", "transform"}` each.
        row_count: rows released.
        byte_count: bytes released.
        request_commitment: SHA-256(nonce || request), hex; the nonce is erasable detail.
        response_commitment: the same for the answer; for a stream, over the 32 bytes of its content's SHA-256.
        provider_receipt_digest: SHA-256 of the provider's signed receipt, hex.
        emergency: why the caller says that this is an emergency; no personal data. Then no consent is rested on.
        consents: what the decision rests on, `{"name", "position"}` each.
        trace_id: W3C trace id, for correlation only.
        grpc_code: the status name that the caller got.
        action: what a control call did, such as `SignContract`; the method of a lookup or export; how a stream ended.
        resource: the resource a control call is about.
        change: what it changed, with the digests of signed statements; `resumed` where a stream goes on after another.
    """

    exchange: str
    kind: Kind
    at: Mapping[str, datetime] = field(default_factory=dict)
    base: int | None = None
    caller: str = ""
    certificate: str = ""
    consumer: str = ""
    provider: str = ""
    dataset: str = ""
    contract: str = ""
    terms_digest: str = ""
    purpose: str = ""
    legal_basis: str = ""
    case_reference: str = ""
    subject_token: str = ""
    subject_count: int = 0
    subjects_root: str = ""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    mode: str = ""
    decision: str = ""
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    policy_digest: str = ""
    fields: tuple[Mapping[str, str], ...] = ()
    row_count: int = 0
    byte_count: int = 0
    request_commitment: str = ""
    response_commitment: str = ""
    provider_receipt_digest: str = ""
    consents: tuple[Mapping[str, str | int], ...] = ()
    emergency: str = ""
    trace_id: str = ""
    grpc_code: str = ""
    action: str = ""
    resource: str = ""
    change: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind is Kind.DECISION and (not self.exchange or self.decision not in DECISIONS):
            raise RecordError("a decision record names its exchange and says ALLOW, DENY or ERROR")
        if self.kind is not Kind.DECISION and self.decision:
            raise RecordError("only a decision record holds a decision")
        if self.kind is Kind.STREAM_END and (not self.exchange or self.action not in ENDINGS):
            raise RecordError("the record of a stream's end names its exchange and says how it ended")

    def leaf(self, *, logged: datetime | None = None, base: int | None = None) -> bytes:
        """The record's bytes in the log.

        Args:
            logged: when it is appended; replaces `at["logged"]`.
            base: the size of the log when the transaction began; replaces `base`.

        Raises:
            LeafTooLarge: over 65,535 bytes.
            TypeError, CanonicalError: a member that JSON cannot carry exactly, such as a float.
        """
        at = self.at if logged is None else {**self.at, LOGGED: logged}
        times = {name: format_time(value) for name, value in at.items()}
        # In order: `action`, the two members that have rules of their own, the others, and the version.
        members = [f'"action":{_scalar(self.action)}'] if self.action else []
        if times:
            members.append(f'"at":{_flat(times)}')
        if base is not None or self.base is not None:
            members.append(f'"base":{_scalar(self.base if base is None else base)}')
        members += [
            key + (_encode_text(value) if type(value) is str else _member(value))
            for key, value in zip(_KEYS, _values(self), strict=True)
            if value
        ]
        leaf = f'{{{",".join(members)},"v":{VERSION}}}'.encode()
        if len(leaf) > MAX_ENTRY_BYTES:
            raise LeafTooLarge(len(leaf))
        return leaf

    @classmethod
    def parse(cls, leaf: bytes) -> "AccessRecord":
        """Read a leaf.

        Raises:
            RecordError: not canonical JSON, of another version, with unknown members, or not the one spelling.
        """
        try:
            members = parse_canonical(leaf, max_bytes=MAX_ENTRY_BYTES)
            record = _from_members(members)
            same = record.leaf() == leaf
        except RecordError:
            raise
        except (CanonicalError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(
                f"the leaf is not a record of version {VERSION}: {type(error).__name__}"
            ) from error
        if not same:
            raise RecordError("the leaf is not the one spelling of its record")
        return record


DECISIONS: Final = frozenset({"ALLOW", "DENY", "ERROR"})
ENDINGS: Final = frozenset(StreamEnding)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SPECIAL: Final = frozenset({"action", "at", "base"})
_MEMBERS: Final = tuple(sorted(each.name for each in fields(AccessRecord) if each.name not in _SPECIAL))
_KEYS: Final = tuple(f'"{name}":' for name in _MEMBERS)
_values: Final = attrgetter(*_MEMBERS)
_SEQUENCES: Final = frozenset({"reasons", "rules", "fields", "consents"})
_NUMBERS: Final = frozenset({"subject_count", "row_count", "byte_count"})


@lru_cache(maxsize=4096)  # The records of a train share most of their times.
def format_time(value: datetime) -> str:
    """An aware time as RFC 3339 in UTC with milliseconds; the rest is cut off.

    Raises:
        RecordError: a naive time.
    """
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise RecordError("a time in a record needs a time zone")
        value = value.astimezone(UTC)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """Read what `format_time` writes. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def milliseconds(value: datetime) -> int:
    """Milliseconds since 1970, cut off as `format_time` does."""
    return (value - _EPOCH) // _MILLISECOND


# A third of the time of `canonical_json`, on the one path that every exchange takes; the tests compare the two.
def _member(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_member, value))}]"
    if type(value) is dict and value.keys() == _FIELD:
        return _field(*map(value.__getitem__, ("name", "transform")))
    if isinstance(value, Mapping):
        return _flat(value)
    return _scalar(value)


_FIELD: Final = {"name", "transform"}


@lru_cache(maxsize=4096)  # The same few fields are released again and again.
def _field(name: str, transform: str) -> str:
    return _flat({"name": name, "transform": transform})


def _flat(members: Mapping[str, Any]) -> str:
    if not "".join(members).isascii():
        return canonical_json(dict(members)).decode()  # Beyond ASCII the order of members is that of UTF-16.
    pairs = [f"{_encode_text(name)}:{_scalar(value)}" for name, value in sorted(members.items())]
    return f"{{{','.join(pairs)}}}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _encode_text(value)
    if type(value) is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return str(value)
    return canonical_json(value).decode()


def _from_members(members: Any) -> AccessRecord:
    if not isinstance(members, dict) or members.pop("v", None) != VERSION:
        raise RecordError(f"the leaf is not a record of version {VERSION}")
    times = {name: parse_time(text) for name, text in members.pop("at", {}).items()}
    base = _typed("base", members["base"], int, members.pop("base")) if "base" in members else None
    values = {name: _read(name, value) for name, value in members.items()}
    values["kind"] = Kind(values["kind"])
    return AccessRecord(**{"exchange": "", **values}, at=times, base=base)


def _read(name: str, value: Any) -> Any:
    if name in _SEQUENCES:
        return _typed(name, tuple(value), list, value)
    if name in _NUMBERS:
        return _typed(name, value, int, value)
    if name == "outcomes":
        return {
            reason: _typed(name, count, int, count)
            for reason, count in _typed(name, value, dict, value).items()
        }
    return _typed(name, value, dict if name == "change" else str, value)


def _typed(name: str, result: Any, kind: type, value: object) -> Any:
    if type(value) is not kind:
        raise RecordError(f"the member {name} is not a {kind.__name__}")
    return result
