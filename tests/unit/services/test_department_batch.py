"""A batch: as its subjects' single queries would have answered, one by one, and nobody else's harm."""

from __future__ import annotations

import hashlib
import sqlite3
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.errors import PermissionDenied
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementKind
from isthmus.v1 import common_pb2
from isthmus.v1.common_pb2 import MODE_BATCH
from isthmus.v1.department_service_pb2 import FetchOutcome, SubjectRows
from services.columns import Column
from services.grant_subjects import MAX_SUBJECTS, read_subjects
from services.members import GrantFormError, Members
from services.source import Rows, Source, SourceTimeout
from services.stored import canonical_check, canonical_or_none
from tests.unit.services.fetch_outcomes import KNOWN, granted, predicate

QUOTED, NULLS = "110101199003072320", "110101199003072339"
ALL = granted(name="mask:1", birth="plain", income="plain", children="hash", district="plain", secret="omit")
TOKEN = "1." + "ab" * 16


def subject_rows(outcome: FetchOutcome) -> list[SubjectRows]:
    assert outcome.refused == 0, outcome.explanation
    assert not outcome.row_set
    found = [SubjectRows.FromString(each) for each in outcome.subject_rows]
    for each, content in zip(found, outcome.subject_rows, strict=True):
        assert each.SerializeToString(deterministic=True) == content
        assert each.subject_known == bool(each.rows)
    assert outcome.row_count == sum(len(each.rows) for each in found)
    assert outcome.subject_known == any(each.subject_known for each in found)
    return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    subjects=st.lists(
        st.sampled_from([KNOWN, QUOTED, NULLS, "TWO", "NOBODY", "X1"]), min_size=1, unique=True
    ),
    names=st.lists(st.sampled_from(range(len(ALL))), min_size=1, unique=True),
    filtered=st.booleans(),
)
def test_a_batch_answers_what_single_queries_answer(
    world: Any, subjects: list[str], names: list[int], filtered: bool
) -> None:
    fields = [ALL[each] for each in names]
    row_filters = (
        [predicate("district", "IN", {"string": "海淀区"}, {"string": "西城区"})] if filtered else []
    )
    changes = {"fields": fields, "row_filters": row_filters}
    singles = [world.fetch(world.item(each, **changes)).outcomes[0] for each in subjects]
    (batch,) = world.fetch(world.batch(*subjects, **changes)).outcomes
    for single, found in zip(singles, subject_rows(batch), strict=True):
        row_set = common_pb2.RowSet.FromString(single.row_set)
        assert list(found.rows) == list(row_set.rows)
        assert found.subject_known == single.subject_known
        assert list(batch.columns) == list(row_set.columns)


def test_the_receipt_covers_every_subject_in_order(world: Any) -> None:
    token = world.grant(world.batch("TWO", "NOBODY", KNOWN), world.batch("MANY"))
    response = world.fetcher.fetch(token, caller=world.gateway)
    signed = world.statements.verify(response.receipt, kind=StatementKind.RECEIPT, expect_role=Role.NODE)
    digests = b"".join(hashlib.sha256(each).digest() for each in response.outcomes[0].subject_rows)
    served, refused = signed.payload["outcomes"]
    exchange = served.pop("exchange")
    assert served == {"digest": hashlib.sha256(digests).hexdigest(), "row_count": 3, "subject_count": 3}
    assert refused.pop("exchange") != exchange and refused == {"refused": "PROVIDER_VETO"}
    first, second = (entry.line for entry in world.journal.entries())
    assert (first.mode, first.served, first.refused, first.row_count) == ("BATCH", 3, 0, 3)
    assert (second.served, second.refused, second.refusals) == (0, 1, ("PROVIDER_VETO",))
    assert first.subject_tokens == (TOKEN,) * 3
    labels = {"dataset": "person", "mode": "BATCH"}
    assert world.metric("isthmus_department_items_total", outcome="served", **labels) == 2
    assert world.metric("isthmus_department_items_total", outcome="unknown", **labels) == 1


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("MANY", "max_rows_per_subject = 3"),
        ("BROKEN", "'birth' holds a value that is not of the declared type"),
    ],
)
def test_a_subject_that_cannot_be_answered_refuses_its_batch_and_no_other_item(
    world: Any, subject: str, words: str
) -> None:
    fields = granted(birth="plain")
    outcomes = world.fetch(
        world.batch(KNOWN, fields=fields),
        world.batch(KNOWN, subject, fields=fields),
        world.item(fields=fields),
    ).outcomes
    assert [int(each.refused) for each in outcomes] == [0, Reason.PROVIDER_VETO, 0]
    assert words in outcomes[1].explanation.replace('"', "'")
    assert not outcomes[1].subject_rows and not outcomes[1].row_count
    assert subject not in outcomes[1].explanation


def test_a_batch_that_takes_too_long_leaves_the_other_items_their_answers(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> Any:
        raise SourceTimeout("a statement took longer than statement_timeout_seconds")
        yield

    monkeypatch.setattr(Source, "parts", slow)
    monkeypatch.setattr(Source, "fetch", lambda *_: Rows())
    outcomes = world.fetch(world.batch(KNOWN), world.item()).outcomes
    assert [int(each.refused) for each in outcomes] == [Reason.DEPARTMENT_TIMEOUT, 0]


def test_a_batch_larger_than_an_answer_is_refused_alone_and_not_read_to_its_end(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        many = [(f"S{n}", "x", "2000-01-01", "1", 1, "东城区", "") for n in range(2_000)]
        connection.executemany("INSERT INTO 人口 VALUES (?, ?, ?, ?, ?, ?, ?)", many)
    connection.close()
    read: list[int] = []
    parts = Source.parts

    def counted(*arguments: Any) -> Any:
        for part in parts(*arguments):
            read.append(len(part.rows))
            yield part

    world.source.parts = counted.__get__(world.source)
    outcomes = world.fetch(world.batch(*(each[0] for each in many)), world.item()).outcomes
    assert [int(each.refused) for each in outcomes] == [Reason.OVERLOADED, 0]
    assert "max_rows_per_answer = 20" in outcomes[0].explanation
    assert sum(read) < 100


def test_ten_thousand_subjects_are_answered_in_order(world: Any) -> None:
    ids = [f"X{n}" for n in range(MAX_SUBJECTS - 2)]
    (outcome,) = world.fetch(world.batch(KNOWN, *ids, "TWO")).outcomes
    found = subject_rows(outcome)
    assert [len(found[0].rows), len(found[-1].rows), len(found)] == [1, 2, MAX_SUBJECTS]
    assert not any(each.subject_known for each in found[1:-1])


def read(content: Any) -> Any:
    return read_subjects(Members({"subjects": content}, "items[0]", allowed={"subjects"}), MODE_BATCH)


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=20, unique=True), st.data())
def test_distinct_subjects_are_read_in_order_and_a_repeated_one_is_refused(
    ids: list[str], data: st.DataObject
) -> None:
    tokens = [f"{n}.{n:032x}" for n in range(len(ids))]
    found = read({"scheme": "s", "ids": ids, "tokens": tokens})
    assert (found.scheme, found.ids, found.tokens) == ("s", tuple(ids), tuple(tokens))
    again = data.draw(st.sampled_from(ids))
    with pytest.raises(GrantFormError, match="names a subject twice") as error:
        read({"scheme": "s", "ids": [*ids, again], "tokens": [*tokens, TOKEN]})
    assert again not in str(error.value).replace("items[0].subjects.ids names a subject twice", "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(["scheme", "ids", "tokens", "more"]), json_values)
def test_whatever_stands_in_a_batch_it_is_read_or_the_member_is_named(name: str, value: Any) -> None:
    content = {"scheme": "s", "ids": ["a", "b"], "tokens": [TOKEN, TOKEN], name: value}
    try:
        found = read(content)
    except GrantFormError as error:
        assert "items[0].subjects" in str(error)
    else:
        assert len(found.ids) == len(found.tokens) == len(set(found.ids)) <= MAX_SUBJECTS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": []}, "subjects.ids"),
        ({"ids": ["x"] * (MAX_SUBJECTS + 1)}, "subjects.ids"),
        ({"ids": ["a", "x" * 257]}, "subjects.ids[1]"),
        ({"tokens": [TOKEN]}, "one token for each"),
        ({"tokens": [TOKEN, TOKEN + "0"]}, "subjects.tokens[1]"),
        ({"tokens": [TOKEN, TOKEN + "\n"]}, "subjects.tokens[1]"),
        ({"scheme": "S"}, "subjects.scheme"),
    ],
)
def test_a_batch_out_of_bounds_is_refused_whole(world: Any, changes: dict[str, Any], words: str) -> None:
    subjects = {"scheme": "s", "ids": ["a", "b"], "tokens": [TOKEN, TOKEN]} | changes
    with pytest.raises(PermissionDenied) as error:
        world.fetch(world.item(mode="BATCH", subjects=subjects))
    assert error.value.reason is Reason.GRANT_INVALID and words in error.value.message


def test_equal_values_of_different_types_are_converted_each_in_its_own_way() -> None:
    column = Column(repr)
    values = [1, 1.0, True, "1", Decimal(1), Decimal("1.0"), "1", b"1", bytearray(b"1")]
    assert column.convert(values) == column.convert(values) == [repr(each) for each in values]


NORMALISERS = st.lists(
    st.sampled_from(["strip", "strip-quotes", "upper", "lower", "digits", "remove-dashes", "nfkc", "pad:4"]),
    max_size=3,
).map(tuple)


@given(
    st.text(max_size=12) | st.sampled_from(["NULL", '"none"', " x", "a-1", "ｘ", "a\n", "0007"]), NORMALISERS
)
def test_the_quick_look_at_a_canonical_form_agrees_with_the_slow_one(
    text: str, normalisers: tuple[str, ...]
) -> None:
    assert canonical_check(normalisers)(text) == (canonical_or_none(text, normalisers) == text)
