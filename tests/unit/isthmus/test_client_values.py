"""Values travel without loss, and what a misbehaving provider sends is refused without being quoted."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.client.batch import BatchResult
from isthmus.client.results import QueryResult
from isthmus.client.values import Python, to_predicate, to_python, to_rows, to_subject, to_value
from isthmus.client.wire import field_bytes
from isthmus.errors import InvalidArgument, Reason, Unavailable
from isthmus.v1 import common_pb2 as common
from isthmus.v1.exchange_service_pb2 import BatchOutcome, BatchQueryResponse, QueryResponse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Python] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(VALUES)
def test_a_value_comes_back_as_it_went_out(content: Python) -> None:
    back = to_python(to_value(content))
    assert back == content
    assert type(back) is type(content)


def test_a_time_of_any_zone_travels_in_utc() -> None:
    beijing = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(hours=8)))
    assert to_value(beijing).timestamp_value == "2026-11-23T00:00:00Z"


@pytest.mark.parametrize("content", [2**63, -(2**63) - 1, datetime(2026, 1, 1), object(), ["a"]])  # noqa: DTZ001
def test_what_cannot_travel_is_refused(content: object) -> None:
    with pytest.raises(InvalidArgument):
        to_value(content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "row",
    [
        common.Row(values=[]),
        common.Row(values=[common.Value(), common.Value()]),
        common.Row(values=[common.Value(decimal_value="secret")]),
        common.Row(values=[common.Value(date_value="secret")]),
        common.Row(values=[common.Value(timestamp_value="secret")]),
    ],
)
def test_rows_that_do_not_fit_are_the_providers_fault_and_not_quoted(row: common.Row) -> None:
    with pytest.raises(Unavailable) as caught:
        to_rows([common.Column(name="a")], [row])
    assert caught.value.reason is Reason.DEPARTMENT_MISBEHAVED
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "name"), [("=", "EQ"), ("!=", "NE"), ("<", "LT"), (">=", "GE"), ("eq", "EQ"), ("LE", "LE")]
)
def test_a_predicate_is_written_as_people_write_it(asked: str, name: str) -> None:
    predicate = to_predicate("出生日期", asked, date(2008, 9, 1))
    assert common.Operator.Name(predicate.operator) == f"OPERATOR_{name}"
    assert predicate.values[0].date_value == "2008-09-01"


def test_in_takes_a_list() -> None:
    assert [each.string_value for each in to_predicate("状态", "in", ["在籍", "迁出"]).values] == [
        "在籍",
        "迁出",
    ]


@pytest.mark.parametrize("operator", ["~", "", "UNSPECIFIED", "like"])
def test_an_unknown_operator_is_refused(operator: str) -> None:
    with pytest.raises(InvalidArgument):
        to_predicate("a", operator, 1)


def test_a_subject_is_a_pair_or_a_message() -> None:
    person = common.Subject(scheme="us.ope", id="00247700")
    assert to_subject(("us.ope", "00247700")) == person
    assert to_subject(person) is person


@given(TEXT, st.binary(max_size=300), st.binary(max_size=30))
def test_the_bytes_of_a_field_are_exactly_those_that_came(name: str, inner: bytes, unknown: bytes) -> None:
    head = QueryResponse(exchange=name, subject_known=True).SerializeToString()
    tail = QueryResponse(receipt=common.Receipt(record_index=2**40)).SerializeToString()
    # Field 60 is one this version does not know.
    strange = bytes([0xE2, 0x03, len(unknown)]) + unknown
    whole = head + strange + b"\x1a" + _varint(len(inner)) + inner + tail
    assert field_bytes(whole, 3) == inner


@given(st.binary(max_size=60))
def test_no_bytes_make_the_scanner_run_away(data: bytes) -> None:
    try:
        found = field_bytes(data, 3)
    except ValueError:
        return
    assert found in data


def test_the_digest_is_over_the_providers_bytes_not_over_a_second_serialisation() -> None:
    value = common.Row(values=[common.Value(string_value="王芳")]).SerializeToString()
    column = common.Column(name="姓名").SerializeToString()
    # Rows before columns: legal, and not what a parser would write again.
    row_set = b"\x12" + _varint(len(value)) + value + b"\x0a" + _varint(len(column)) + column
    result = QueryResult.parse(b"\x1a" + _varint(len(row_set)) + row_set)
    assert result.rows == [{"姓名": "王芳"}]
    assert result.row_set_bytes == row_set
    assert common.RowSet.FromString(row_set).SerializeToString() != row_set


def test_a_batch_is_put_together_in_the_order_of_the_request() -> None:
    column = common.Column(name="a")
    rows = [common.Row(values=[common.Value(int64_value=7)])]
    denied = BatchOutcome(index=0, decision=common.DECISION_DENY, reasons=[40, 9999])  # type: ignore[list-item]
    allowed = BatchOutcome(index=1, decision=common.DECISION_ALLOW, subject_known=True, rows=rows)
    result = BatchResult.of(
        [
            BatchQueryResponse(exchange="exchanges/1", columns=[column], outcomes=[allowed]),
            BatchQueryResponse(outcomes=[denied], receipt=common.Receipt(record_index=5)),
        ]
    )
    assert [item.index for item in result.items] == [0, 1]
    assert result.items[0].reasons == (Reason.CONSENT_MISSING,)
    assert not result.items[0].allowed
    assert result.items[1].rows == [{"a": 7}]
    assert (result.exchange, result.receipt.record_index) == ("exchanges/1", 5)


def test_decimals_stay_exact() -> None:
    assert to_python(common.Value(decimal_value="1929.00")) == Decimal("1929.00")
    assert str(to_python(common.Value(decimal_value="1929.00"))) == "1929.00"


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
