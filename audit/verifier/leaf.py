"""A quick way to read the leaves of ordinary exchanges, which are nearly all of a log.

It answers only where it is certain that `AccessRecord.parse` would, and with the same members; a test holds the two
against each other. Everything else it leaves to `AccessRecord.parse`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import lru_cache
from json.scanner import make_scanner
from types import MappingProxyType
from typing import Any, Final, cast

from audit.record import DECISIONS, LOGGED, VERSION, AccessRecord, Kind, milliseconds
from audit.tlog.tiles import MAX_ENTRY_BYTES
from isthmus.canonical import MAX_SAFE_INTEGER

_SEQUENCES: Final = ("reasons", "rules", "fields", "consents")
_NUMBERS: Final = ("subject_count", "row_count", "byte_count")
_RARE: Final = ("change", "outcomes", "subjects_root")
_TYPES: Final[Mapping[str, type]] = MappingProxyType(
    {each.name: str for each in fields(AccessRecord) if each.name not in _RARE}
    | dict.fromkeys(_SEQUENCES, list)
    | dict.fromkeys(_NUMBERS, int)
    | {"at": dict, "base": int, "v": int}
)
_UNSET: Final[Mapping[str, Any]] = MappingProxyType(
    {
        each.name: MappingProxyType({}) if each.default is MISSING else each.default
        for each in fields(AccessRecord)
    }
)
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z")
"""What `audit.record.format_time` writes, of days that exist or not."""
_FIELD: Final = ("name", "transform")
_CONSENT: Final = ("name", "position")


class _Uncertain(Exception):
    """A case for `AccessRecord.parse`."""


class QuickRecord:
    """The members of a leaf under the names that `AccessRecord` gives them, and what it gives those that are left out."""

    __slots__ = ("__dict__",)

    def __init__(self, members: dict[str, Any]) -> None:
        self.__dict__ = {**_UNSET, **members}


def read_leaf(leaf: bytes) -> tuple[AccessRecord, int | None]:
    """The record of a leaf, and when it was appended, ms since 1970; None where the leaf does not say so.

    The record of an ordinary exchange is one in all but its type: it has no methods, and its `at` holds texts.

    Raises:
        RecordError: as `AccessRecord.parse`.
    """
    try:
        members = _read(leaf)
        logged = members["at"].get(LOGGED)
        at_ms = None if logged is None else _time_ms(logged)
    except (_Uncertain, ValueError, TypeError, KeyError, StopIteration, RecursionError):
        record = AccessRecord.parse(leaf)
        time = record.at.get(LOGGED)
        return record, None if time is None else milliseconds(time)
    return cast(AccessRecord, QuickRecord(members)), at_ms


def is_quick(record: object) -> bool:
    """Whether this is the record of an ordinary exchange: it opens no stream, and is no batch."""
    return type(record) is QuickRecord


def _read(leaf: bytes) -> dict[str, Any]:
    if len(leaf) > MAX_ENTRY_BYTES:
        raise _Uncertain
    text = leaf.decode()
    members, end = _scan(text, 0)
    if end != len(text) or type(members) is not dict:
        raise _Uncertain
    for name, value in members.items():
        # Of all members only `base` may be zero.
        if type(value) is not _TYPES[name] or not (value or name == "base"):
            raise _Uncertain
    if members["kind"] != "DECISION" or members["decision"] not in DECISIONS or members["v"] != VERSION:
        raise _Uncertain
    if "exchange" not in members or members.get("mode") == "STREAM":
        raise _Uncertain
    names = len(members) + len(members.setdefault("at", {})) + _check_nested(members)
    if not _spelled_plainly(text, members, names) and _encode(members) != text:
        raise _Uncertain
    del members["v"]
    members["kind"] = Kind.DECISION
    for name in _SEQUENCES:
        if name in members:
            members[name] = tuple(members[name])
    return members


def _check_nested(members: dict[str, Any]) -> int:
    """How many names the members of members have."""
    for name, time in members["at"].items():
        if not name.isascii() or not _TIME.fullmatch(time):
            raise _Uncertain
        datetime.fromisoformat(time)
    released, consents = members.get("fields", ()), members.get("consents", ())
    for each in released:
        if tuple(each) != _FIELD or type(each["name"]) is not str or type(each["transform"]) is not str:
            raise _Uncertain
    for each in consents:
        if tuple(each) != _CONSENT or type(each["name"]) is not str or type(each["position"]) is not int:
            raise _Uncertain
    for name in ("reasons", "rules"):
        if name in members and set(map(type, members[name])) != {str}:
            raise _Uncertain
    return 2 * (len(released) + len(consents))


def _spelled_plainly(text: str, members: dict[str, Any], names: int) -> bool:
    """Whether the text is canonical because there was only one way to write each of its parts.

    No escapes, so that every quote delimits a text and each text has one spelling; no spaces; names in order, and as
    many of them as were read, so that none came twice. Numbers are seen to by `_bounded`.
    """
    if "\\" in text or " " in text or "\n" in text or "\r" in text or "\t" in text:
        return False
    at = members["at"]
    return text.count('":') == names and list(members) == sorted(members) and list(at) == sorted(at)


def _bounded(text: str) -> int:
    value = int(text)
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER or text == "-0":
        raise _Uncertain
    return value


def _refused(_: str) -> Any:
    raise _Uncertain


_scan: Final = make_scanner(
    json.JSONDecoder(parse_int=_bounded, parse_float=_refused, parse_constant=_refused)  # type: ignore[arg-type]
)
# No name that comes so far has other characters than ASCII: then sorting is what RFC 8785 asks for.
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


@lru_cache(maxsize=4096)  # The records of one transaction share it.
def _time_ms(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))
