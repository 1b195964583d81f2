"""Transforms at the source, typed values, predicates, and stored identifiers, as properties."""

from __future__ import annotations

import math
import operator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import assume, example, given
from hypothesis import strategies as st

from isthmus.errors import InvalidArgument
from isthmus.subjects import normalise
from isthmus.transforms import Transform
from isthmus.v1 import common_pb2
from isthmus.v1.common_pb2 import FieldType, Predicate, Value
from services.manifest import Field, SubjectColumn, released_type, transform_fits
from services.predicates import PredicateError, compile_predicate
from services.stored import StoredForms, check_template
from services.transforms import MASK, bucket, hasher, mask, pairwise_key, release
from services.values import UnfitValue, as_text, reader
from services.wire import NULL, WRITERS, row_entry

KINDS = [kind for kind in FieldType.values() if kind]
TRANSFORMS = [Transform.parse(text) for text in ("plain", "mask:0", "mask:4", "hash", "omit", "bucket:10")]
TRANSFORMS += [Transform.parse("bucket:year"), Transform.parse("bucket:month")]

raw_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.decimals(allow_nan=True)
    | st.text(max_size=40)
    | st.binary(max_size=20)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=14))))
    | st.uuids()
)


def wire(cell: bytes) -> Value:
    """The one value of a row, after a look that the bytes are exactly those that protobuf itself writes."""
    row = common_pb2.Row.FromString(cell)
    assert row.SerializeToString(deterministic=True) == cell
    assert common_pb2.RowSet(rows=[row]).SerializeToString(deterministic=True) == row_entry(cell)
    (value,) = row.values
    return value


def test_text_of_every_length_is_written_as_protobuf_writes_it() -> None:
    for size in (*range(260), 16_383, 16_384, 2_097_150):
        text = "x" * size
        assert wire(WRITERS[common_pb2.FIELD_TYPE_STRING](text)).string_value == text
        assert wire(WRITERS[common_pb2.FIELD_TYPE_BYTES](text.encode())).bytes_value == text.encode()


@given(st.integers(-(2**63), 2**63 - 1))
@example(-1)
@example(-(2**63))
@example(128)
def test_numbers_are_written_as_protobuf_writes_them(number: int) -> None:
    assert wire(WRITERS[common_pb2.FIELD_TYPE_INT64](number)).int64_value == number
    double = wire(WRITERS[common_pb2.FIELD_TYPE_DOUBLE](float(number)))
    assert double.double_value == float(number)


@given(st.text(max_size=40), st.integers(0, 99))
@example("", 4)
@example("1234", 4)
@example("王小明", 1)
def test_a_mask_keeps_the_length_the_tail_and_nothing_else(text: str, keep: int) -> None:
    masked = mask(text, keep)
    assert len(masked) == len(text)
    kept = keep if len(text) > keep else 0
    assert masked == MASK * (len(text) - kept) + (text[-kept:] if kept else "")


@given(st.text(min_size=1, max_size=40), st.integers(1, 99))
def test_a_mask_never_shows_a_whole_value(text: str, keep: int) -> None:
    assert mask(text, keep).startswith(MASK)


@given(
    st.integers(-(2**63), 2**63 - 1) | st.decimals(allow_nan=False, allow_infinity=False, places=6),
    st.integers(1, 999_999_999),
)
def test_a_bucket_is_the_multiple_at_or_below_a_number(number: int | Decimal, width: int) -> None:
    floor = bucket(number, str(width))
    assert type(floor) is type(number)
    assert int(floor) % width == 0 and int(floor) == floor
    assert floor <= number < Decimal(int(floor)) + width


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15), st.integers(1, 1000)
)
def test_a_bucket_of_a_double_is_exact(number: float, width: int) -> None:
    floor = bucket(number, str(width))
    assert isinstance(floor, float) and floor % width == 0 and floor <= number


@given(st.dates() | st.datetimes(timezones=st.just(UTC)))
def test_a_calendar_bucket_hides_the_day(moment: date | datetime) -> None:
    year, month = bucket(moment, "year"), bucket(moment, "month")
    assert isinstance(year, date) and (year.year, year.month, year.day) == (moment.year, 1, 1)
    assert isinstance(month, date) and (month.year, month.month, month.day) == (moment.year, moment.month, 1)
    assert type(year) is type(moment)


def test_hashes_differ_by_contract_dataset_field_and_node() -> None:
    def digest(node: bytes, contract: str, dataset: str, field: str) -> str:
        return hasher(key=pairwise_key(node, contract=contract, dataset=dataset), field=field)("v")

    base = (bytes(32), "contracts/a", "departments/d/datasets/e", "f")
    others = [
        (b"1" * 32, *base[1:]),
        (base[0], "contracts/b", *base[2:]),
        (*base[:2], "x", base[3]),
        (*base[:3], "g"),
    ]
    digests = {digest(*base), *(digest(*each) for each in others)}
    assert len(digests) == 5 and digest(*base) == digest(*base)


@given(raw_values, st.sampled_from(KINDS), st.sampled_from(TRANSFORMS))
def test_a_released_value_has_its_declared_type_or_is_refused(
    raw: Any, kind: Any, transform: Transform
) -> None:
    assume(transform_fits(transform, kind))
    field = Field(name="f", column="f", type=kind)
    try:
        value = release(field, transform, key=bytes(32))(raw)
    except UnfitValue as error:
        assert str(raw) not in str(error) or len(str(raw)) < 3 or not isinstance(raw, str)
        return
    released = released_type(transform, kind)
    expected = FieldType.Name(released).removeprefix("FIELD_TYPE_").lower() + "_value"
    on_the_wire = wire(NULL if value is None else WRITERS[released](value))
    assert on_the_wire.WhichOneof("kind") == (None if value is None else expected)


@given(st.text(min_size=1, max_size=20), st.sampled_from(["mask:0", "hash", "omit"]))
def test_what_hides_a_value_does_not_contain_it(text: str, notation: str) -> None:
    assume(set(text) != {MASK} and not set(text) <= set("0123456789abcdef"))
    field = Field(name="f", column="f", type=common_pb2.FIELD_TYPE_STRING)
    released: Any = release(field, Transform.parse(notation), key=bytes(32))(text)
    assert released is None or text not in released


@given(st.sampled_from(KINDS), raw_values)
def test_the_wire_form_of_a_value_reads_back_as_the_same_value(kind: Any, raw: Any) -> None:
    read = reader(kind)
    try:
        value = read(raw)
    except UnfitValue:
        return
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return
    encoded = wire(WRITERS[kind](value))
    assert read(getattr(encoded, encoded.WhichOneof("kind") or "")) == value


@pytest.mark.parametrize(
    ("kind", "raw", "wanted"),
    [
        ("BOOL", "是", True),
        ("BOOL", 0, False),
        ("INT64", " 42 ", 42),
        ("INT64", Decimal("5.0"), 5),
        ("DECIMAL", "$1,929.00", Decimal("1929.00")),
        ("DECIMAL", "-￥5", Decimal(-5)),
        ("DECIMAL", 0.1, Decimal("0.1")),
        ("DATE", "2020-02-29", date(2020, 2, 29)),
        ("DATE", "2020-02-29T23:00:00", date(2020, 2, 29)),
        ("TIMESTAMP", "2020-01-01 08:00:00", datetime(2020, 1, 1, tzinfo=UTC)),
        ("TIMESTAMP", "2020-01-01T08:00:00Z", datetime(2020, 1, 1, 8, tzinfo=UTC)),
        ("STRING", 7, "7"),
        ("STRING", "", ""),
        ("DATE", "  ", None),
        ("INT64", None, None),
    ],
)
def test_stored_values_are_read_as_people_store_them(kind: str, raw: Any, wanted: Any) -> None:
    read = reader(FieldType.Value(f"FIELD_TYPE_{kind}"), ZoneInfo("Asia/Shanghai"))
    assert read(raw) == wanted


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("BOOL", "maybe"),
        ("BOOL", 2),
        ("INT64", "1,000"),
        ("INT64", "1.5"),
        ("INT64", 2**63),
        ("INT64", float("nan")),
        ("DECIMAL", "1,92"),
        ("DECIMAL", "--1"),
        ("DECIMAL", Decimal("NaN")),
        ("DECIMAL", Decimal("1e999")),
        ("DOUBLE", "1" * 1000),
        ("DATE", "11/17/2014"),
        ("DATE", "2021-02-29"),
        ("TIMESTAMP", "noon"),
        ("BYTES", "text"),
        ("STRING", b"bytes"),
    ],
)
def test_a_value_of_another_type_is_refused_not_guessed(kind: str, raw: Any) -> None:
    with pytest.raises(UnfitValue):
        reader(FieldType.Value(f"FIELD_TYPE_{kind}"))(raw)


OPERATORS = {"EQ": operator.eq, "NE": operator.ne, "LT": operator.lt, "LE": operator.le, "GT": operator.gt}


@given(
    st.decimals(-(10**12), 10**12, places=2),
    st.decimals(-(10**12), 10**12, places=2),
    st.sampled_from(sorted(OPERATORS)),
)
def test_predicates_compare_numbers_as_numbers_even_when_stored_as_text(
    stored: Decimal, asked: Decimal, name: str
) -> None:
    field = Field(name="f", column="f", type=common_pb2.FIELD_TYPE_DECIMAL)
    predicate = Predicate(
        field="f",
        operator=common_pb2.Operator.Value(f"OPERATOR_{name}"),
        values=[Value(decimal_value=as_text(asked))],
    )
    holds = compile_predicate(predicate, field)
    assert holds(str(stored)) is OPERATORS[name](stored, asked)
    assert holds(None) is None


def test_what_has_no_order_cannot_be_compared_by_it() -> None:
    field = Field(name="f", column="f", type=common_pb2.FIELD_TYPE_BOOL)
    with pytest.raises(PredicateError, match="no order"):
        compile_predicate(
            Predicate(field="f", operator=common_pb2.OPERATOR_LT, values=[Value(bool_value=True)]), field
        )


SUBJECTS = [
    SubjectColumn(column="c", scheme="us.ope", normalisers=("strip-quotes", "pad:8"), stored=("{}", '"{}"')),
    SubjectColumn(column="c", scheme="cn.resident-id", normalisers=("strip", "upper"), stored=("{}",)),
    SubjectColumn(column="c", scheme="us.ssn", normalisers=("digits",), stored=("{}", "SSN-{}")),
]


@given(st.sampled_from(SUBJECTS), st.text(st.characters(codec="utf-8"), max_size=24))
def test_every_stored_form_leads_back_to_its_own_subject_and_no_other(
    subject: SubjectColumn, text: str
) -> None:
    try:
        identifier = normalise(text, subject.normalisers)
    except InvalidArgument:
        return
    assume(normalise(identifier, subject.normalisers) == identifier)
    forms = StoredForms(subject, sa.Text())
    found = forms.candidates([identifier])
    resolve = forms.resolver(found)
    assert all(resolve(stored) == identifier == forms.canonical(stored) for stored in found)


def test_two_subjects_never_share_a_stored_form() -> None:
    subject = SubjectColumn(column="c", scheme="x", normalisers=(), stored=("{}", "0{}"))
    # "0" + "1" would be the stored form of both "1" and "01".
    assert StoredForms(subject, sa.Text()).candidates(["1", "01"]) == {"1": "1", "01": "01"}
    assert check_template("0{}", ()) != ""


def test_a_row_that_the_database_found_too_much_belongs_to_nobody() -> None:
    forms = StoredForms(SubjectColumn(column="c", scheme="x"), sa.Text())
    resolve = forms.resolver(forms.candidates(["ABC"]))
    assert (resolve("ABC"), resolve("abc"), resolve("ABC ")) == ("ABC", None, None)


def test_identifiers_are_bound_as_the_column_stores_them() -> None:
    padded = SubjectColumn(column="c", scheme="x", normalisers=("pad:8",))
    assert StoredForms(padded, sa.Integer()).candidates(["00001234", "x0001234"]) == {1234: "00001234"}
    # Without the padding 0012 is no identifier of this column, and 12 is somebody else's.
    assert StoredForms(SubjectColumn(column="c", scheme="x"), sa.Integer()).candidates(["0012"]) == {}
    assert (
        StoredForms(SubjectColumn(column="c", scheme="x"), sa.BigInteger()).candidates(["9" * 20, "9" * 19])
        == {}
    )
    forms = StoredForms(SubjectColumn(column="c", scheme="x"), sa.CHAR(8))
    assert forms.resolver(forms.candidates(["AB"]))("AB      ") == "AB"


@pytest.mark.parametrize("template", ["", "x", "{}{}", "{0}{}", "{}}", "{name}"])
def test_a_template_holds_the_identifier_once(template: str) -> None:
    assert check_template(template, ("strip-quotes",)) != ""
