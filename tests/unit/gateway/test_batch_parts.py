"""The pure parts of a batch: each does quickly what another part of Isthmus does slowly, and must agree with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.batch.answer import varint
from gateway.batch.asked import any_named_in
from gateway.batch.fetch import divided
from gateway.batch.part import part_exchange
from gateway.batch.people import NOBODY, Person, identify, reader
from gateway.batch.purse import Purse
from gateway.batch.tokens import token_maker
from gateway.exchange.item import Asked, Mode
from gateway.quotas import Counter, Limit, Use, limits
from isthmus.errors import InvalidArgument
from isthmus.subjects import SubjectTokens, normalise
from isthmus.v1.exchange_service_pb2 import BatchOutcome

TOKENS = SubjectTokens({1: b"\1" * 32, 2: b"\2" * 32}, 2)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = (
    TEXT
    | st.from_regex(r"[0-9A-Za-z]{1,20}", fullmatch=True)
    | st.sampled_from(["none", "NULL", " x ", '"1"'])
)
NAMES = st.lists(
    st.sampled_from(["strip", "strip-quotes", "upper", "lower", "digits", "remove-dashes", "nfkc", "pad:5"]),
    max_size=4,
)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def read(text: str, names: list[str], *, quick: bool) -> str | None:
    try:
        return reader(names)(text) if quick else normalise(text, names)
    except InvalidArgument:
        return None


@given(IDS, NAMES)
@example("a" * 257, [])
@example("Ab", ["upper", "lower"])
def test_the_quick_reader_reads_as_the_slow_one(text: str, names: list[str]) -> None:
    assert read(text, names, quick=True) == read(text, names, quick=False)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.sampled_from([1, 2]))
def test_tokens_made_together_are_those_made_alone(identifier: str, epoch: int) -> None:
    assert token_maker(TOKENS, "cn.x", epoch=epoch)(identifier) == TOKENS.token(
        "cn.x", identifier, epoch=epoch
    )


def test_who_is_named_twice_is_one_person_with_a_token_of_every_key() -> None:
    people = identify(
        [("a", "1"), ("a", " 1 "), ("b", "1"), ("a", "")], {"a": ("strip",), "b": ("strip",)}, TOKENS
    )
    assert people.places == (0, 0, 1, NOBODY)
    assert [each.token for each in people.persons] == [TOKENS.token("a", "1"), TOKENS.token("b", "1")]
    assert set(people.persons[0].tokens) == set(TOKENS.all_tokens("a", "1"))


def asked_about(identifier: str) -> Asked:
    return Asked(
        caller="",
        certificate="",
        system="",
        consumer="",
        mode=Mode.QUERY,
        contract="",
        purpose="",
        case_reference="",
        fields=(),
        scheme="",
        identifier=identifier,
        predicate=None,
        request=b"",
    )


@given(TEXT, IDS)
@example("办件-11010119900307231X", "11010119900307231x")
@example("2026", "2026")
@example("2026-7", "2026")
def test_a_text_that_names_a_subject_is_found_as_for_a_query(text: str, identifier: str) -> None:
    assert any_named_in(text, [("s", identifier)]) == asked_about(identifier).named_in(text)
    assert any_named_in(text + identifier, [("s", identifier)]) == asked_about(identifier).named_in(
        text + identifier
    )


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_written_as_protobuf_writes_them(number: int) -> None:
    written = BatchOutcome(index=number).SerializeToString()
    assert written == (b"\x08" + varint(number) if number else b"")


def test_the_parts_of_a_batch_count_up_from_its_exchange() -> None:
    name = "exchanges/01a20a7b-57b2-75ad-a41e-b6a48f4badff"
    assert part_exchange(name, 0) == name
    assert part_exchange(name, 1) == "exchanges/01a20a7b-57b2-75ad-a41e-b6a48f4bae00"


PERSONS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40)


@given(PERSONS, st.integers(1, 12))
def test_whoever_is_admitted_is_asked_about_once_in_parts_of_one_scheme(
    people: list[tuple[str, bool]], size: int
) -> None:
    persons = [Person(scheme, str(number), "", ()) for number, (scheme, _) in enumerate(people)]
    allowed = [number for number, (_, asked) in enumerate(people) if asked]
    at_once = [[each for each in allowed if each // size == turn] for turn in range(len(people) // size + 1)]
    parts = [list(each) for each in divided(persons, at_once, size=size)]
    assert sorted(number for part in parts for number in part) == allowed
    assert all(part and len(part) <= size for part in parts)
    assert all(len({persons[number].scheme for number in part}) == 1 for part in parts)


def test_the_first_part_leaves_before_the_second_is_admitted() -> None:
    persons = [Person("a", str(number), "", ()) for number in range(4)]
    steps = []

    def admitted() -> Iterator[list[int]]:
        for part in ([0, 1], [2, 3]):
            steps.append("admitted")
            yield part

    for _ in divided(persons, admitted(), size=2):
        steps.append("asked")
    assert steps == ["admitted", "asked", "admitted", "asked"]


QUOTAS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        window=st.sampled_from(["DAY", "TOTAL"]),
        scope=st.sampled_from(["CONTRACT", "SYSTEM", "SUBJECT"]),
        calls=st.integers(0, 4),
        rows=st.integers(0, 6),
    ),
    max_size=3,
)


def of(quotas: list[dict[str, object]], token: str) -> tuple[Limit, ...]:
    return limits(quotas, contract="contracts/a@1", system="s", token=token, now=NOW)


@given(QUOTAS, st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12), st.integers(0, 3))
def test_a_purse_allows_what_queries_one_by_one_would_be_allowed(
    quotas: list[dict[str, object]], subjects: list[tuple[str, int]], already: int
) -> None:
    usage: dict[Counter, Use] = {each.counter: Use(already, already) for each in of(quotas, "a")}
    shared = {counter: use for counter, use in usage.items() if counter.scope != "SUBJECT"}
    purse = Purse(of(quotas, ""), shared)
    purse.know({key: use for key, use in usage.items() if key not in shared})
    for token, rows in subjects:
        own = of(quotas, token)
        fits = all(each.allows(usage.get(each.counter, Use()), rows=rows) for each in own)
        assert (purse.take(token, None, rows=rows) is None) == fits
        if fits:
            for counter in {each.counter for each in own}:
                usage[counter] = usage.get(counter, Use()).plus(rows)


@pytest.mark.parametrize("rows", [None, 1])
def test_before_anybody_knows_there_must_be_room_for_one_row(rows: int | None) -> None:
    (limit,) = of([{"window": "TOTAL", "scope": "CONTRACT", "calls": 0, "rows": 2}], "")
    purse = Purse([limit], {limit.counter: Use(5, 2)})
    assert purse.take("a", None, rows=rows) is limit
    assert purse.take("a", None, rows=0) is None
