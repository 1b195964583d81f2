"""Contract terms against the catalogue: every contradiction is named, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalogue.entry import entry_json
from gateway.contracts.check import MOST_VIOLATIONS, require_agreeable, violations
from gateway.state.datasets import DatasetRow, FieldEntry
from isthmus.errors import TermsInvalid
from isthmus.terms import document_to_terms, rfc3339, terms_to_document
from isthmus.transforms import allowed
from tests.integration.control_world import OTHER_PURPOSE, PERSON, PURPOSE, person

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(**changes: Any) -> DatasetRow:
    text = entry_json(person())
    document = json.loads(text)
    members: dict[str, Any] = {
        "name": PERSON,
        "department": "departments/civil-registry",
        "revision": 1,
        "entry": document,
        "entry_json": text,
        "sharing_class": "CONDITIONAL",
        "retired": False,
        "published_at": NOW,
        "position": 0,
        "fields": {
            each["name"]: FieldEntry(**{**each, "transforms": tuple(each["transforms"])})
            for each in document["fields"]
        },
    }
    return DatasetRow(**{**members, **changes})


GOOD: dict[str, Any] = {
    "provider": "departments/civil-registry",
    "consumer": "departments/education",
    "systems": ["departments/education/systems/enrolment"],
    "dataset": PERSON,
    "fields": [{"name": "姓名", "transform": "mask:1"}],
    "purposes": [PURPOSE],
    "legal_basis": "CONSENT",
    "legal_citation": "第十三条",
    "modes": ["QUERY"],
    "not_before": rfc3339(NOW),
    "not_after": rfc3339(NOW + DAY),
    "retention_days": 30,
}


def faults(row: DatasetRow | None = None, **changes: Any) -> list[str]:
    terms = document_to_terms({**GOOD, **changes})
    return [each.field for each in violations(terms, row or entry(), NOW)]


def test_good_terms_have_no_fault() -> None:
    rich: dict[str, Any] = {
        "quotas": [
            {"window": "DAY", "calls": 100, "scope": "CONTRACT"},
            {"window": "DAY", "rows": 5, "scope": "SUBJECT"},
        ],
        "row_filters": [
            {"field": "city", "operator": "IN", "values": [{"string": "唐山"}, {"string": "保定"}]},
            {"field": "birth_date", "operator": "GE", "values": [{"date": "2010-01-01"}]},
        ],
        "onward_sharing": {"allowed": True, "recipients": ["departments/tax"]},
        "break_glass": {"allowed": True, "systems": GOOD["systems"], "review_within_hours": 24},
    }
    assert not faults() and not faults(**rich)
    require_agreeable(document_to_terms({**GOOD, **rich}), entry(), NOW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"consumer": "departments/civil-registry"}, ["terms.consumer", "terms.systems[0]"]),
        ({"provider": "departments/tax"}, ["terms.dataset"]),
        ({"provider": "departments/-"}, ["terms.provider", "terms.dataset"]),
        ({"systems": ["departments/tax/systems/x"]}, ["terms.systems[0]"]),
        ({"systems": ["enrolment"]}, ["terms.systems[0]"]),
        ({"systems": GOOD["systems"] * 2}, ["terms.systems[1]"]),
        ({"fields": [{"name": "身份证号", "transform": "plain"}]}, ["terms.fields[0].name"]),
        ({"fields": [{"name": "姓名", "transform": "plain"}]}, ["terms.fields[0].transform"]),
        ({"fields": [{"name": "姓名", "transform": "mask:2"}]}, ["terms.fields[0].transform"]),
        ({"fields": [{"name": "姓名", "transform": "blur"}]}, ["terms.fields[0].transform"]),
        ({"fields": [{"name": "city", "transform": "plain"}] * 2}, ["terms.fields[1]"]),
        ({"purposes": ["商业营销"]}, ["terms.purposes[0]"]),
        ({"purposes": [PURPOSE, PURPOSE]}, ["terms.purposes[1]"]),
        ({"purposes": [f"{PURPOSE}\0核验"]}, ["terms.purposes[0]", "terms.purposes[0]"]),
        ({"legal_citation": "第十三条\x1b[2J"}, ["terms.legal_citation"]),
        ({"purposes": [f"{PURPOSE} "]}, ["terms.purposes[0]", "terms.purposes[0]"]),
        ({"modes": ["QUERY", "STREAM"]}, ["terms.modes[1]"]),
        ({"not_after": rfc3339(NOW)}, ["terms.period.not_after"]),
        ({"not_before": rfc3339(NOW - 2 * DAY), "not_after": rfc3339(NOW - DAY)}, ["terms.period.not_after"]),
        ({"quotas": [{"window": "DAY", "scope": "SYSTEM"}]}, ["terms.quotas[0]"]),
        ({"quotas": [{"window": "DAY", "scope": "SYSTEM", "calls": 1}] * 2}, ["terms.quotas[1]"]),
        (
            {"onward_sharing": {"allowed": False, "recipients": ["departments/tax"]}},
            ["terms.onward_sharing.recipients"],
        ),
        ({"onward_sharing": {"allowed": True}}, ["terms.onward_sharing.recipients"]),
        (
            {"onward_sharing": {"allowed": True, "recipients": ["tax"]}},
            ["terms.onward_sharing.recipients[0]"],
        ),
        ({"break_glass": {"allowed": True}}, ["terms.break_glass"]),
        ({"break_glass": {"allowed": False, "review_within_hours": 2}}, ["terms.break_glass"]),
        (
            {
                "break_glass": {
                    "allowed": True,
                    "systems": ["departments/education/systems/other"],
                    "review_within_hours": 2,
                }
            },
            ["terms.break_glass.systems[0]"],
        ),
        (
            {"row_filters": [{"field": "none", "operator": "EQ", "values": [{"string": "x"}]}]},
            ["terms.row_filters[0].field"],
        ),
        (
            {"row_filters": [{"field": "city", "operator": "EQ", "values": [{"int64": "5"}]}]},
            ["terms.row_filters[0].values[0]"],
        ),
        (
            {"row_filters": [{"field": "city", "operator": "EQ", "values": [None]}]},
            ["terms.row_filters[0].values[0]"],
        ),
        (
            {
                "row_filters": [
                    {"field": "city", "operator": "EQ", "values": [{"string": "a"}, {"string": "b"}]}
                ]
            },
            ["terms.row_filters[0].values"],
        ),
    ],
)
def test_each_contradiction_is_named(changes: dict[str, Any], expected: list[str]) -> None:
    assert faults(**changes) == expected


def test_what_the_catalogue_does_not_offer() -> None:
    terms = document_to_terms(GOOD)
    assert [each.field for each in violations(terms, None, NOW)] == ["terms.dataset"]
    assert faults(entry(retired=True)) == ["terms.dataset"]
    refused = entry(
        sharing_class="REFUSED", entry={**entry().entry, "legal_citation": "《档案法》第二十七条"}
    )
    (fault,) = violations(terms, refused, NOW)
    assert "不予共享" in fault.description and "《档案法》第二十七条" in fault.description


def test_a_dataset_without_purposes_leaves_them_to_the_parties() -> None:
    free = entry(entry={**entry().entry, "purposes": []})
    assert faults(free, purposes=["任何合法目的", OTHER_PURPOSE]) == []


def test_the_answer_to_a_bad_proposal_stays_small() -> None:
    many = [{"name": f"f{number}", "transform": "plain"} for number in range(500)]
    with pytest.raises(TermsInvalid) as refusal:
        require_agreeable(document_to_terms({**GOOD, "fields": many}), entry(), NOW)
    assert len(refusal.value.violations) == MOST_VIOLATIONS


def test_terms_too_long_to_be_signed() -> None:
    assert faults(legal_citation="长" * 60_000) == ["terms"]


NOTATIONS = [
    "plain",
    "hash",
    "omit",
    "mask:0",
    "mask:1",
    "mask:4",
    "bucket:10",
    "bucket:year",
    "bucket:month",
]


@given(st.sampled_from(NOTATIONS), st.sampled_from(["姓名", "birth_date", "city"]))
def test_a_transform_passes_exactly_when_the_provider_would_release_it(asked: str, name: str) -> None:
    good = allowed(asked, entry().fields[name].transforms)
    assert (faults(fields=[{"name": name, "transform": asked}]) == []) is good


@given(st.data())
def test_no_terms_make_the_check_itself_fail(data: st.DataObject) -> None:
    text = st.text(max_size=20)
    terms = document_to_terms(GOOD)
    for member in ("provider", "consumer", "dataset"):
        setattr(terms, member, data.draw(text))
    for repeated in (
        terms.systems,
        terms.purposes,
        terms.onward_sharing.recipients,
        terms.break_glass.systems,
    ):
        repeated.extend(data.draw(st.lists(text, max_size=3)))
    found = list(violations(terms, data.draw(st.sampled_from([None, entry()])), NOW))
    assert found or terms_to_document(terms) == terms_to_document(document_to_terms(GOOD))
