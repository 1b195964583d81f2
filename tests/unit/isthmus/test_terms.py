"""Contract terms: one document, one canonical form, one digest."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import TermsInvalid
from isthmus.terms import (
    document_to_terms,
    json_to_value,
    parse_rfc3339,
    rfc3339,
    terms_digest,
    terms_json,
    terms_to_document,
    value_to_json,
)
from isthmus.v1.common_pb2 import Value


def document() -> dict[str, Any]:
    return {
        "provider": "departments/civil-registry",
        "consumer": "departments/education",
        "systems": ["departments/education/systems/enrolment"],
        "dataset": "departments/civil-registry/datasets/person",
        "fields": [{"name": "姓名", "transform": "mask:1"}, {"name": "birth_date", "transform": "plain"}],
        "purposes": ["入学资格核验", "school enrolment"],
        "legal_basis": "CONSENT",
        "legal_citation": "个人信息保护法 第十三条",
        "modes": ["QUERY", "VERIFY"],
        "quotas": [{"window": "DAY", "calls": 1000, "rows": 0, "scope": "CONTRACT"}],
        "row_filters": [{"field": "birth_date", "operator": "GE", "values": [{"date": "2008-01-01"}]}],
        "not_before": "2026-01-01T00:00:00.000Z",
        "not_after": "2027-01-01T00:00:00.000Z",
        "retention_days": 365,
        "onward_sharing": {"allowed": False, "recipients": []},
        "break_glass": {"allowed": False, "systems": [], "review_within_hours": 0},
        "evidence": {"signed_requests": False},
    }


def test_the_document_survives_the_message_unchanged() -> None:
    assert terms_to_document(document_to_terms(document())) == document()


def test_the_canonical_form_is_the_sorted_document_in_utf8() -> None:
    text = terms_json(document_to_terms(document())).decode()
    assert json.loads(text) == document()
    assert "入学资格核验" in text
    assert list(json.loads(text)) == sorted(document())


def test_optional_parts_may_be_left_out_and_mean_none() -> None:
    short = {
        key: value
        for key, value in document().items()
        if key not in ("onward_sharing", "break_glass", "evidence")
    }
    assert terms_digest(document_to_terms(short)) == terms_digest(document_to_terms(document()))


@given(st.sampled_from(sorted(document())))
def test_any_change_of_the_terms_changes_the_digest(member: str) -> None:
    changed = document()
    changed[member] = {
        "fields": [{"name": "x", "transform": "plain"}],
        "systems": ["departments/education/systems/other"],
        "purposes": ["other"],
        "legal_basis": "PUBLIC_TASK",
        "modes": ["STREAM"],
        "quotas": [],
        "row_filters": [],
        "not_before": "2025-01-01T00:00:00.000Z",
        "not_after": "2028-01-01T00:00:00.000Z",
        "retention_days": 1,
        "onward_sharing": {"allowed": True, "recipients": []},
        "break_glass": {"allowed": True, "systems": [], "review_within_hours": 0},
        "evidence": {"signed_requests": True},
    }.get(member, "departments/other/datasets/other")
    assert terms_digest(document_to_terms(changed)) != terms_digest(document_to_terms(document()))


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("provider", 5, "terms.provider"),
        ("systems", ["a", 1], "terms.systems"),
        ("fields", [{"name": "a", "transfrom": "plain"}], "terms.fields[0].transfrom"),
        ("legal_basis", "BECAUSE", "terms.legal_basis"),
        ("modes", ["QUERY", "PEEK"], "terms.modes"),
        ("quotas", [{"window": "WEEK"}], "terms.quotas[0].window"),
        ("quotas", [{"window": "DAY", "calls": -1}], "terms.quotas[0].calls"),
        (
            "row_filters",
            [{"field": "a", "operator": "EQ", "values": [{"date": 5}]}],
            "terms.row_filters[0].values[0].date",
        ),
        ("not_after", "tomorrow", "terms.not_after"),
        ("not_after", "2027-01-01T00:00:00", "terms.not_after"),
        ("retention_days", True, "terms.retention_days"),
        ("break_glass", {"allowed": "yes"}, "terms.break_glass.allowed"),
        ("surprise", 1, "terms.surprise"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place(place: str, value: object, named: str) -> None:
    with pytest.raises(TermsInvalid) as caught:
        document_to_terms({**document(), place: value})
    assert caught.value.violations[0].field == named


@pytest.mark.parametrize("gone", ["provider", "not_before", "retention_days"])
def test_a_missing_member_is_named(gone: str) -> None:
    rest = {key: value for key, value in document().items() if key != gone}
    with pytest.raises(TermsInvalid, match=f"terms.{gone}: is missing"):
        document_to_terms(rest)


values = st.one_of(
    st.just(Value()),
    st.booleans().map(lambda flag: Value(bool_value=flag)),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: Value(int64_value=number)),
    st.floats(allow_nan=False).map(lambda number: Value(double_value=number)),
    st.text(st.characters(codec="utf-8")).map(lambda text: Value(string_value=text)),
    st.binary().map(lambda data: Value(bytes_value=data)),
)


@given(values)
def test_values_survive_their_json_form(value: Value) -> None:
    assert json_to_value(json.loads(json.dumps(value_to_json(value))), field="v") == value


def test_times_are_utc_with_milliseconds() -> None:
    at = datetime(2026, 11, 23, 8, 0, 0, 123_000, tzinfo=UTC)
    assert rfc3339(at) == "2026-11-23T08:00:00.123Z"
    assert parse_rfc3339("2026-11-23T16:00:00.123+08:00", field="t") == at
