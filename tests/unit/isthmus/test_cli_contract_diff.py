"""Two versions side by side: no difference goes unsaid, and nothing that widens sharing is called anything else."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.cli.contract_change import LABELS, Change, Effect, rows, summary, verdict
from isthmus.cli.contract_diff import compare
from isthmus.cli.contract_filters import filter_effect
from isthmus.errors import TermsInvalid
from isthmus.terms import terms_digest
from isthmus.v1.contract_service_pb2 import ContractTerms
from tests.unit.isthmus.contract_messages import LEAVES, TERMS, filled, shown, terms

SYSTEM = "departments/education/systems/enrolment"
OTHER = "departments/education/systems/other"
NO_GLASS = {"allowed": False, "systems": [], "review_within_hours": 0}


def glass(hours: int, *systems: str) -> dict[str, Any]:
    return {"allowed": True, "systems": list(systems), "review_within_hours": hours}


def fields(**transforms: str) -> list[dict[str, str]]:
    return [{"name": name, "transform": transform} for name, transform in transforms.items()]


def quota(calls: int = 0, rows: int = 0, *, window: str = "DAY") -> dict[str, Any]:
    return {"window": window, "calls": calls, "rows": rows, "scope": "CONTRACT"}


def born(operator: str, *values: str, kind: str = "date") -> dict[str, Any]:
    return {"field": "birth_date", "operator": operator, "values": [{kind: each} for each in values]}


@pytest.mark.parametrize("leaf", LEAVES, ids=".".join)
def test_no_difference_goes_unsaid(leaf: tuple[str, ...]) -> None:
    first, second = filled(leaf, 0), filled(leaf, 1)
    changes = compare(first, second)
    assert changes
    words = [next(rows((each,))) for each in changes]
    assert all(row[2] != row[3] for row in words)
    said = json.dumps(words, ensure_ascii=False)
    assert shown(leaf, first) in said
    assert shown(leaf, second) in said


@pytest.mark.parametrize("leaf", LEAVES, ids=".".join)
def test_equal_terms_say_so(leaf: tuple[str, ...]) -> None:
    changes = compare(filled(leaf, 1), filled(leaf, 1))
    assert changes == ()
    assert verdict(changes) is Effect.EQUAL
    assert summary(changes) == "The terms are equal; no term differs (条款相同)."


# Each turns narrower when A and B change places.
WIDER: list[tuple[str, Any, Any]] = [
    ("systems", [SYSTEM], [SYSTEM, OTHER]),
    ("fields", fields(a="plain"), fields(a="plain", b="hash")),
    ("fields", fields(a="mask:1"), fields(a="mask:4")),
    ("fields", fields(a="mask:1"), fields(a="plain")),
    ("fields", fields(a="omit"), fields(a="hash")),
    ("fields", fields(a="bucket:1000"), fields(a="bucket:500")),
    ("fields", fields(a="bucket:year"), fields(a="bucket:month")),
    ("purposes", ["入学"], ["入学", "转学"]),
    ("legal_basis", "CONSENT", "PUBLIC_TASK"),
    ("modes", ["VERIFY"], ["VERIFY", "QUERY"]),
    ("quotas", [quota(1000)], [quota(2000)]),
    ("quotas", [quota(1000)], []),
    ("quotas", [quota(1000, 5)], [quota(1000)]),
    ("row_filters", [born("GE", "2008-01-01")], []),
    ("row_filters", [born("GE", "2008-01-01")], [born("GE", "2001-01-01")]),
    ("row_filters", [born("LT", "9", kind="int64")], [born("LT", "10", kind="int64")]),
    ("row_filters", [born("EQ", "2008-01-01")], [born("IN", "2008-01-01", "2009-01-01")]),
    ("not_before", "2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"),
    ("not_after", "2026-12-01T00:00:00.000Z", "2027-12-01T00:00:00.000Z"),
    ("retention_days", 30, 365),
    (
        "onward_sharing",
        {"allowed": False, "recipients": []},
        {"allowed": True, "recipients": ["departments/x"]},
    ),
    (
        "onward_sharing",
        {"allowed": True, "recipients": []},
        {"allowed": True, "recipients": ["departments/x"]},
    ),
    ("break_glass", NO_GLASS, glass(24, SYSTEM)),
    ("break_glass", glass(24, SYSTEM), glass(24, SYSTEM, OTHER)),
    ("break_glass", glass(24, SYSTEM), glass(72, SYSTEM)),
    ("evidence", {"signed_requests": True}, {"signed_requests": False}),
]


@pytest.mark.parametrize(("term", "a", "b"), WIDER)
def test_what_lets_more_happen_is_called_wider_and_the_way_back_narrower(term: str, a: Any, b: Any) -> None:
    there = compare(terms(**{term: a}), terms(**{term: b}))
    back = compare(terms(**{term: b}), terms(**{term: a}))
    assert verdict(there) is Effect.WIDER
    assert verdict(back) is Effect.NARROWER


@pytest.mark.parametrize(
    ("term", "a", "b"),
    [
        ("fields", fields(a="hash"), fields(a="mask:1")),
        ("fields", fields(a="mask:1"), fields(a="blur:1")),
        ("fields", [*fields(a="plain"), *fields(a="hash")], fields(a="plain")),
        ("legal_basis", "PUBLIC_TASK", "LEGAL_OBLIGATION"),
        ("legal_citation", "第一条", "第二条"),
        ("row_filters", [born("GE", "2008-01-01")], [born("LT", "2008-01-01")]),
        ("row_filters", [born("GE", "2008-01-01")], [born("LT", "2009-01-01")]),
        ("break_glass", glass(0, SYSTEM), glass(24, SYSTEM)),
        ("row_filters", [born("IN", "2008-01-01")], [born("IN", "2009-01-01")]),
        ("row_filters", [born("GE", "b", kind="string")], [born("GE", "a", kind="string")]),
        ("row_filters", [born("GE", "NaN", kind="decimal")], [born("GE", "1", kind="decimal")]),
        ("provider", "departments/civil-registry", "departments/health"),
        ("consumer", "departments/education", "departments/health"),
        ("dataset", "departments/civil-registry/datasets/person", "departments/civil-registry/datasets/x"),
    ],
)
def test_what_no_rule_decides_is_left_to_a_person(term: str, a: Any, b: Any) -> None:
    for one, other in ((a, b), (b, a)):
        assert verdict(compare(terms(**{term: one}), terms(**{term: other}))) is Effect.UNDECIDED


@pytest.mark.parametrize(
    ("term", "a", "b"),
    [
        ("modes", ["QUERY", "VERIFY"], ["VERIFY", "QUERY"]),
        ("purposes", ["入学", "转学"], ["转学", "入学"]),
        ("fields", fields(a="plain", b="hash"), fields(b="hash", a="plain")),
        ("fields", fields(a="plain"), fields(a="plain", b="omit")),
        ("quotas", [quota(1), quota(2, window="HOUR")], [quota(2, window="HOUR"), quota(1)]),
    ],
)
def test_what_changes_nothing_but_the_signed_text_is_said_and_called_neither(
    term: str, a: Any, b: Any
) -> None:
    first, second = terms(**{term: a}), terms(**{term: b})
    assert terms_digest(first) != terms_digest(second)
    assert verdict(compare(first, second)) is Effect.NEITHER


def test_terms_about_other_data_are_never_called_narrower() -> None:
    changes = compare(terms(), terms(dataset="departments/civil-registry/datasets/x", retention_days=1))
    assert {each.effect for each in changes} == {Effect.UNDECIDED}
    assert "not about the same parties and data" in next(rows(changes))[4]


def test_what_a_person_must_judge_outweighs_what_a_rule_decides() -> None:
    changes = compare(terms(), terms(legal_citation="第二条", retention_days=30))
    assert [each.effect for each in changes] == [Effect.UNDECIDED, Effect.NARROWER]
    assert verdict(changes) is Effect.UNDECIDED


def test_the_review_that_comes_with_emergency_use_is_not_counted_as_more_sharing() -> None:
    changes = compare(terms(), terms(break_glass=glass(24, SYSTEM)))
    assert {each.term: each.effect for each in changes} == {
        "break_glass.allowed": Effect.WIDER,
        "break_glass.systems": Effect.WIDER,
        "break_glass.review_within_hours": Effect.NEITHER,
    }


def test_a_version_that_gives_and_takes_is_mixed_and_counted() -> None:
    changes = compare(terms(), terms(retention_days=30, modes=["QUERY", "VERIFY", "BATCH"]))
    assert verdict(changes) is Effect.MIXED
    assert summary(changes) == (
        "2 differences make sharing under B, against A: 1 wider (更宽), 1 narrower (更窄)."
    )
    assert [each.term for each in changes] == ["modes", "retention_days"]


def test_a_difference_reads_in_plain_words() -> None:
    changed = terms(legal_basis="PUBLIC_TASK", fields=fields(姓名="mask:1", birth_date="bucket:year"))
    field, basis = rows(compare(terms(), changed))
    assert field == (
        "Fields (共享字段)",
        "birth_date",
        "plain: as it is (原值)",
        "bucket:year: only the year (仅年份)",
        "narrower (更窄): the transform is stronger",
    )
    assert basis[0] == "Legal basis (法律依据)"
    assert basis[4] == "wider (更宽): the person's consent is no longer asked for"


def test_a_difference_has_a_form_for_programs() -> None:
    (change,) = compare(terms(), terms(fields=fields(姓名="mask:2", birth_date="plain")))
    said = json.loads(json.dumps(dataclasses.asdict(change)))
    assert said["term"] == "fields"
    assert (said["item"], said["a"], said["b"], said["effect"]) == ("姓名", "mask:1", "mask:2", "WIDER")


def test_every_change_of_every_term_has_a_label() -> None:
    changes = [change for leaf in LEAVES for change in compare(filled(leaf, 0), filled(leaf, 1))]
    assert {each.term for each in changes} <= set(LABELS)
    assert {each.partition(".")[0] for each in LABELS} == set(TERMS)


def test_terms_that_this_program_cannot_read_are_not_compared() -> None:
    strange = ContractTerms.FromString(terms().SerializeToString() + b"\x38\x63")
    with pytest.raises(TermsInvalid, match="cannot read"):
        compare(terms(), strange)


names = st.lists(st.sampled_from("abc"), max_size=4)
transforms = st.sampled_from(["plain", "hash", "omit", "mask:1", "mask:2", "bucket:10", "bucket:20"])
grants = st.dictionaries(st.sampled_from("abc"), transforms)
some = st.builds(
    lambda purposes, modes, granted, days, quotas: terms(
        purposes=purposes, modes=modes, fields=fields(**granted), retention_days=days, quotas=quotas
    ),
    names,
    st.lists(st.sampled_from(["QUERY", "VERIFY", "BATCH"]), max_size=3),
    grants,
    st.integers(1, 3),
    st.lists(st.builds(quota, st.integers(0, 2), st.integers(0, 2)), max_size=2),
)

OPPOSITE = {Effect.WIDER: Effect.NARROWER, Effect.NARROWER: Effect.WIDER}


@given(some, some)
def test_a_comparison_and_its_reverse_say_the_same(a: ContractTerms, b: ContractTerms) -> None:
    def turned(change: Change) -> tuple[Any, ...]:
        return (
            change.term,
            change.item,
            str(change.b),
            str(change.a),
            OPPOSITE.get(change.effect, change.effect),
        )

    there = {(each.term, each.item, str(each.a), str(each.b), each.effect) for each in compare(a, b)}
    assert there == {turned(each) for each in compare(b, a)}
    assert bool(there) == (terms_digest(a) != terms_digest(b))


@given(st.integers(), st.integers(), st.integers(), st.sampled_from(["GT", "GE", "LT", "LE"]))
def test_a_filter_called_narrower_lets_no_row_through_that_the_other_stops(
    a: int, b: int, row: int, operator: str
) -> None:
    def passes(bound: int) -> bool:
        return {"GT": row > bound, "GE": row >= bound, "LT": row < bound, "LE": row <= bound}[operator]

    narrower = filter_effect(born(operator, str(a), kind="int64"), born(operator, str(b), kind="int64"))
    assert narrower is not True or passes(a) or not passes(b)
    assert narrower is not False or passes(b) or not passes(a)
