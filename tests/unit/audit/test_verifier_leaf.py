"""The quick way to read leaves says what `AccessRecord.parse` says, or leaves the leaf to it."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.ledger.schema import index_values
from audit.record import LOGGED, AccessRecord, RecordError, milliseconds
from audit.verifier.facts import Facts, Release, Whole, basis_of, key_of, name_of
from audit.verifier.leaf import is_quick, read_leaf
from tests.unit.audit.ledger_world import START, control, decision, denial, failure

CONSENTED = decision(legal_basis="CONSENT", consents=({"name": "consents/一", "position": 3},))
RECORDS = (decision(), CONSENTED, denial("A", "B"), failure(case_reference="a b \\ \n"), control("X", "y"))
LEAVES = [record.leaf(logged=START, base=0) for record in RECORDS]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def told(leaf: bytes) -> object:
    """What the quick way says of a leaf."""
    try:
        record, at_ms = read_leaf(leaf)
    except RecordError:
        return RecordError
    names = [each.name for each in fields(AccessRecord) if each.name != "at"]
    return at_ms, [getattr(record, name) for name in names], index_values(record, at_ms or 0)


def expected(leaf: bytes) -> object:
    """What the record says of it."""
    try:
        record = AccessRecord.parse(leaf)
    except RecordError:
        return RecordError
    at_ms = milliseconds(record.at[LOGGED]) if LOGGED in record.at else None
    names = [each.name for each in fields(AccessRecord) if each.name != "at"]
    return at_ms, [getattr(record, name) for name in names], index_values(record, at_ms or 0)


@pytest.mark.parametrize("leaf", LEAVES)
def test_both_ways_agree_on_what_the_ledger_writes(leaf: bytes) -> None:
    assert told(leaf) == expected(leaf) != RecordError


def test_ordinary_exchanges_are_read_quickly() -> None:
    assert [is_quick(read_leaf(leaf)[0]) for leaf in LEAVES] == [True, True, True, True, False]


@given(st.sampled_from(LEAVES), st.data())
def test_both_ways_agree_on_altered_bytes(leaf: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leaf) - 1))
    cut = data.draw(st.integers(0, 2))
    altered = leaf[:at] + data.draw(st.binary(max_size=2)) + leaf[at + cut :]
    assert told(altered) == expected(altered)


@given(st.sampled_from(LEAVES[:3]), st.data(), JSON)
def test_both_ways_agree_on_altered_members(leaf: bytes, data: st.DataObject, value: Any) -> None:
    members = json.loads(leaf)
    name = data.draw(st.sampled_from([*members, "emergency", "rules", "outcomes", "change", "unknown"]))
    members[name] = value
    altered = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert told(altered.encode("utf-8", "surrogatepass")) == expected(
        altered.encode("utf-8", "surrogatepass")
    )


SPELLINGS = [
    (b'"row_count":1', b'"row_count":-0'),
    (b'"row_count":1', b'"row_count":0'),
    (b'"row_count":1', b'"row_count":1.0'),
    (b'"row_count":1', b'"row_count":1e0'),
    (b'"row_count":1', b'"row_count":true'),
    (b'"row_count":1', b'"row_count":9007199254740992'),
    (b'"row_count":1', b'"row_count":-5'),
    (b'"row_count":1', b'"row_count":1,"row_count":1'),
    (b'"row_count":1', b'"row_count": 1'),
    (b'"v":1', b'"v":true'),
    (b'"v":1', b'"v":2'),
    (b'"mode":"QUERY"', b'"mode":"\\u0051UERY"'),
    (b'"mode":"QUERY"', b'"mode":""'),
    (b'"mode":"QUERY"', b'"mode":"\\ud800"'),
    (b'"mode":"QUERY"', b'"mode":"\x7f"'),
    (b'"mode":"QUERY"', '"mode":"\U0001f600"'.encode()),
    (b'"at":{', '"at":{"\U0001f600":"2026-11-02T08:00:00.000Z",'.encode()),
    (b'"at":{', b'"at":{"a":"2026-11-02T24:00:00.000Z",'),
    (b'"at":{', b'"at":{"a":"2026-02-30T08:00:00.000Z",'),
    (b'"at":{', b'"at":{"a":"2026-11-02 08:00:00.000Z",'),
    (b'"at":{', b'"at":{"a":"2026-11-02T08:00:00.0000Z",'),
    (b'"at":{', b'"at":{"z":"2026-11-02T08:00:00.000Z",'),
    (b'"at":{', b'"at":{"a":1,'),
    (b'"transform":"plain"}', b'"transform":"plain","z":{"a":[]}}'),
    (b'"name":"full_name","transform":"plain"', b'"transform":"plain","name":"full_name"'),
    (b'"kind":"DECISION"', b'"kind":"LOOKUP"'),
    (b'"decision":"ALLOW"', b'"decision":"MAYBE"'),
    (b'"base":0', b'"base":false'),
    (b'"base":0,', b""),
    (b'"base":0', b'"base":-0'),
    (b'"kind":"DECISION","legal_basis":"PUBLIC_TASK"', b'"legal_basis":"PUBLIC_TASK","kind":"DECISION"'),
    (b"}", b"}\n"),
]


@pytest.mark.parametrize("names", [("！", "\U0001f600"), ("\U0001f600", "！")])
def test_names_of_times_are_in_the_order_of_utf_16(names: tuple[str, str]) -> None:
    times = ",".join(f'"{name}":"2026-11-02T08:00:00.000Z"' for name in ("in", "logged", *names))
    leaf = re.sub(r'"at":\{[^}]*\}', f'"at":{{{times}}}', LEAVES[0].decode()).encode()
    assert told(leaf) == expected(leaf)
    assert (told(leaf) is RecordError) == (names[0] == "！")


@pytest.mark.parametrize(("old", "new"), SPELLINGS)
def test_both_ways_agree_on_other_spellings(old: bytes, new: bytes) -> None:
    leaf = LEAVES[0].replace(old, new, 1) if old != b"}" else LEAVES[0] + b"\n"
    assert leaf != LEAVES[0]
    assert told(leaf) == expected(leaf)


@given(st.text())
@example("exchanges/01a209f9-78fb-7c98-a738-766bd9da7274")
@example("exchanges/01a209f978fb-7c98-a738-766bd9da7274")
def test_the_short_name_of_an_exchange_is_that_of_no_other(name: str) -> None:
    assert name_of(key_of(name)) == name


def test_facts_say_what_the_rules_ask() -> None:
    facts = Facts()
    for index, leaf in enumerate(LEAVES):
        facts.add(index, read_leaf(leaf)[0])
    assert [position for _, position in facts.decided] == [0, 1, 2, 3]
    released = [step for step in facts.steps if isinstance(step, Release)]
    assert [(each.position, each.basis) for each in released] == [
        (0, basis_of(RECORDS[0])),
        (1, basis_of(CONSENTED)),
    ]
    assert [step.position for step in facts.steps if isinstance(step, Whole)] == [4]
