"""Filters: what they mean, where they are wrong, and that no text gets past them into SQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from audit.search.filter import And, Not, Or, Restriction, parse_filter
from audit.search.query import FIELDS, compile_filter
from isthmus.errors import InvalidArgument


def shape(text: str) -> object:
    """The structure of a filter, with `field operator value` for restrictions."""

    def walk(each: object) -> object:
        match each:
            case Restriction(field, operator, value):
                return f"{field}{operator}{value}"
            case Not(term):
                return ("NOT", walk(term))
            case And(terms):
                return ("AND", *map(walk, terms))
            case Or(terms):
                return ("OR", *map(walk, terms))
        return each

    return walk(parse_filter(text))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", None),
        ("  \n ", None),
        ("a=1", "a=1"),
        ("(a=1)", "a=1"),
        ("a=1 AND b=2 AND c=3", ("AND", "a=1", "b=2", "c=3")),
        # AIP-160: OR binds tighter than AND.
        ("a=1 AND b=2 OR c=3", ("AND", "a=1", ("OR", "b=2", "c=3"))),
        ("(a=1 AND b=2) OR c=3", ("OR", ("AND", "a=1", "b=2"), "c=3")),
        ("NOT a=1 OR b=2", ("OR", ("NOT", "a=1"), "b=2")),
        ("-a=1", ("NOT", "a=1")),
        ("NOT (a=1 OR -b!=2)", ("NOT", ("OR", "a=1", ("NOT", "b!=2")))),
        ("NOTE=1 AND ANDY=2", ("AND", "NOTE=1", "ANDY=2")),
        ("a<=1 AND b>=2 AND c<3 AND d>4", ("AND", "a<=1", "b>=2", "c<3", "d>4")),
        ("a:1", "a:1"),
        ("a = x-y:z/w@2", "a=x-y:z/w@2"),
        ('a = "AND b = 2"', "a=AND b = 2"),
        ("a = 'it \"is\"'", 'a=it "is"'),
        (r'a = "q\"b\\"', 'a=q"b\\'),
        ('a = "案件 一"', "a=案件 一"),
        ("a = 案件", "a=案件"),
        ('a = ""', "a="),
    ],
)
def test_a_filter_means_what_aip_160_says(text: str, meaning: object) -> None:
    assert shape(text) == meaning


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a", 2),
        ("a b", 3),
        ("a =", 4),
        ("a = AND b = 2", 5),
        ("= 1", 1),
        ("AND", 1),
        ("a=1 AND", 8),
        ("a=1 AND OR b=2", 9),
        ("a=1 b=2", 5),
        ("a=1,b=2", 4),
        ("(a=1", 5),
        ("a=1)", 4),
        ("()", 2),
        ('a="open', 3),
        (r'a="\n"', 3),
        ("a=1 AND 教育=2", 9),
        ("f(x)=1", 2),
        ("a.b=1", 2),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused_where_it_is_wrong(text: str, position: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text)
    assert caught.value.violations[0].field == "filter"
    assert caught.value.message.startswith(f"filter: at character {position}: ")


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "x" * 4095,
        "(" * 17 + "a=1" + ")" * 17,
        "NOT " * 17 + "a=1",
        "(" * 4000,
        "-" * 4000,
        " AND ".join(["a=1"] * 65),
    ],
)
def test_a_filter_is_bounded(text: str) -> None:
    with pytest.raises(InvalidArgument, match="at most"):
        parse_filter(text)


def test_the_bounds_themselves_pass() -> None:
    parse_filter("a=" + "x" * 4094)
    parse_filter("(" * 16 + "a=1" + ")" * 16)
    parse_filter(" AND ".join(["a=1"] * 64))


@given(st.text(st.sampled_from("ab()\"'\\=!<>:- ANDORT1教,"), max_size=60) | st.text(max_size=60))
def test_any_text_is_a_filter_or_a_precise_refusal(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidArgument as error:
        assert error.message.startswith("filter: at character ")


@given(st.sampled_from(["purpose", "caller", "case_reference", "resource"]), st.text(min_size=1, max_size=40))
def test_a_value_reaches_the_database_as_a_parameter_only(field: str, value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    compiled = compile_filter(f'{field} = "{quoted}"').compile(dialect=sqlite.dialect())
    assert value in compiled.params.values()
    assert str(compiled) == str(compile_filter(f'{field} = "plain"').compile(dialect=sqlite.dialect()))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing = 1", "there is no such field; there are consumer"),
        ("decision = MAYBE", "decision is one of ALLOW, DENY, ERROR"),
        ("decision = allow", "decision is one of"),
        ("reason : WHATEVER", "reason is one of"),
        ("reason = UNSPECIFIED", "reason is one of"),
        ("decision < DENY", "has no order"),
        ("consumer = education", "departments/{department}"),
        ("dataset = departments/a", "datasets/{dataset}"),
        ("contract = x", "contracts/{contract}"),
        ("exchange = exchanges/1", "exchanges/{uuid}"),
        ("emergency = yes", "emergency is one of true, false"),
        ("system = departments/a", "systems/{system}"),
        ("index > -1", "whole number"),
        ("index = 9999999999999999999", "whole number"),
        ("index = ١", "whole number"),
        ("time > yesterday", "RFC 3339"),
        ("time > 2026-11-01", "RFC 3339"),
        ("time > 2026-11-01T00:00:00", "RFC 3339"),
        ("time > 2026-02-30T00:00:00Z", "RFC 3339"),
        ("time > 2026-11-01T00:00:00.0001Z", "RFC 3339"),
    ],
)
def test_a_field_is_compared_only_with_what_it_can_hold(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem.replace("{", r"\{").replace("}", r"\}")) as caught:
        compile_filter(text)
    assert "at character" in caught.value.message


def test_an_error_never_repeats_what_was_searched_for() -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_filter('consumer = "110101199003072316"')
    assert "110101199003072316" not in caught.value.message


def test_every_field_has_a_use() -> None:
    samples = {
        "index": "1",
        "time": "2026-11-01T00:00:00Z",
        "consumer": "departments/a",
        "provider": "departments/a",
    }
    samples |= {"dataset": "departments/a/datasets/b", "contract": "contracts/a@1", "decision": "DENY"}
    samples |= {
        "exchange": "exchanges/01a209c9-b5bc-764f-96c7-f488ff7ebc42",
        "mode": "MODE_QUERY",
        "kind": "CONTROL",
        "system": "departments/a/systems/s",
        "emergency": "true",
    }
    samples |= {"reason": "REASON_NO_CONTRACT", "legal_basis": "CONSENT", "stream": "OPEN"}
    for field in FIELDS:
        for operator in ("=", "!=", ":"):
            compile_filter(f'{field} {operator} "{samples.get(field, "x")}"')
