"""The leaf: canonical, one spelling for one record, read back exactly, bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.ledger.schema import INDEX_COLUMNS, index_values
from audit.record import AccessRecord, Kind, LeafTooLarge, RecordError, format_time, milliseconds
from isthmus.canonical import CanonicalError, canonical_json, parse_json
from tests.unit.audit.ledger_world import START, control, decision, denial

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers(0, 2**53 - 1)
ZONES = [UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))]
TIMES = st.builds(
    lambda ms, zone: (START + timedelta(milliseconds=ms)).astimezone(zone),
    st.integers(-(10**13), 10**12),
    st.sampled_from(ZONES),
)
PAIRS = st.lists(st.dictionaries(TEXT, TEXT, max_size=3), max_size=3).map(tuple)
JSON = st.recursive(st.none() | st.booleans() | NUMBERS | TEXT, lambda inner: st.lists(inner, max_size=3))


def of_field(name: str, kind: str) -> st.SearchStrategy[Any]:
    """Any value of a member of the record."""
    special: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.sampled_from([Kind.CONTROL, Kind.LOOKUP, Kind.EXPORT]),
        "decision": st.just(""),
        "at": st.dictionaries(TEXT, TIMES, max_size=3),
        "base": st.none() | NUMBERS,
        "change": st.dictionaries(TEXT, JSON, max_size=3),
        "outcomes": st.dictionaries(TEXT, NUMBERS, max_size=3),
        "fields": PAIRS,
        "consents": st.lists(st.dictionaries(TEXT, TEXT | NUMBERS, max_size=3), max_size=3).map(tuple),
        "reasons": st.lists(TEXT, max_size=3).map(tuple),
        "rules": st.lists(TEXT, max_size=3).map(tuple),
    }
    return special.get(name, NUMBERS if kind == "<class 'int'>" else TEXT)


RECORDS = st.builds(
    AccessRecord, **{each.name: of_field(each.name, str(each.type)) for each in fields(AccessRecord)}
)


def spelled(record: AccessRecord) -> bytes:
    """The leaf as its definition has it: what is not empty, zero or unset, canonically."""
    members: dict[str, Any] = {each.name: getattr(record, each.name) for each in fields(record)}
    members["at"] = {name: format_time(value) for name, value in record.at.items()}
    base = members.pop("base")
    leaf = {name: value for name, value in members.items() if value} | {"v": 1}
    return canonical_json(leaf if base is None else leaf | {"base": base})


@given(RECORDS)
# RFC 8785 sorts by UTF-16 code units, where a character beyond the basic plane stands before the last of it.
@example(control("a", "b", at={"\U0001f600": START, "\ufffd": START}))
def test_a_leaf_is_the_canonical_json_of_the_record(record: AccessRecord) -> None:
    assert record.leaf() == spelled(record)


@given(RECORDS)
def test_a_leaf_read_back_spells_the_same_leaf(record: AccessRecord) -> None:
    assert AccessRecord.parse(record.leaf()).leaf() == record.leaf()


def test_a_record_is_read_back_as_it_was() -> None:
    record = decision(consents=({"name": "consents/x", "position": 7},), base=0)
    assert AccessRecord.parse(record.leaf()) == record


def test_the_ledger_s_stamp_is_part_of_the_leaf() -> None:
    stamped = AccessRecord.parse(decision().leaf(logged=START, base=12))
    assert (stamped.at["logged"], stamped.base) == (START, 12)


def test_chinese_text_stands_in_the_leaf_as_itself() -> None:
    assert "义务教育入学资格核验".encode() in decision().leaf()


@pytest.mark.parametrize("wide", ["x", "证", '"'])
def test_a_leaf_that_an_entry_of_the_log_cannot_hold_is_refused(wide: str) -> None:
    room = 65_535 - len(control("a", "").leaf(base=0)) - len(',"resource":""')
    fits = wide * (room // len(canonical_json(wide)[1:-1]))
    assert len(control("a", fits).leaf(base=0)) <= 65_535
    with pytest.raises(LeafTooLarge, match="65535"):
        control("a", fits + wide).leaf(base=0)


@pytest.mark.parametrize(
    ("member", "value"),
    [("row_count", 1.5), ("row_count", 2**53), ("change", {"amount": 0.1}), ("purpose", "\ud800")],
)
def test_what_json_cannot_carry_exactly_is_refused(member: str, value: Any) -> None:
    with pytest.raises((TypeError, CanonicalError, UnicodeEncodeError)):
        decision(**{member: value}).leaf()


@pytest.mark.parametrize(
    "make",
    [
        lambda: decision(decision=""),
        lambda: decision(decision="MAYBE"),
        lambda: decision(exchange=""),
        lambda: control("SignContract", "contracts/x@1", decision="ALLOW"),
        lambda: decision(at={"in": START.replace(tzinfo=None)}).leaf(),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(RecordError):
        make()


def _mutated(**changes: Any) -> bytes:
    members = parse_json(decision().leaf(logged=START, base=3))
    members |= changes
    return canonical_json({name: value for name, value in members.items() if value != "gone"})


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"v":1}',
        _mutated(v=2),
        _mutated(v="gone"),
        _mutated(kind="GUESS"),
        _mutated(kind="gone"),
        _mutated(more="x"),
        _mutated(reasons=[]),
        _mutated(row_count=0),
        _mutated(row_count="1"),
        _mutated(row_count=True),
        _mutated(purpose=["x"]),
        _mutated(fields="xy"),
        _mutated(at=[]),
        _mutated(at={"in": "2026-11-02T08:00:00Z"}),
        _mutated(at={"in": "2026-11-02T08:00:00.000+00:00"}),
        _mutated(base="3"),
        decision().leaf() + b" ",
        decision().leaf().replace(b'"v":1', b'"v": 1'),
    ],
)
def test_what_is_not_the_one_spelling_of_a_record_is_refused(leaf: bytes) -> None:
    with pytest.raises(RecordError):
        AccessRecord.parse(leaf)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(RecordError):
        AccessRecord.parse(data)


def test_a_record_is_found_by_what_its_leaf_says() -> None:
    record = denial("CONSENT_WITHDRAWN", at={"logged": START})
    found = dict(zip(INDEX_COLUMNS, index_values(record), strict=True))
    assert (found["contract"], found["version"]) == ("contracts/edu-person-2026", 2)
    assert (found["at_ms"], found["decision"], found["kind"]) == (milliseconds(START), "DENY", "DECISION")
    assert index_values(replace(record, contract=""))[INDEX_COLUMNS.index("version")] == 0


def test_milliseconds_agree_with_the_text_before_1970_too() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_500, UTC)
    assert (milliseconds(moment), format_time(moment)) == (-1, "1969-12-31T23:59:59.999Z")
