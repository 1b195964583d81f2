"""A stream: the whole table in both encodings, filtered as granted, with a receipt and an ending."""

from __future__ import annotations

import sys
from datetime import UTC
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isthmus.errors import PermissionDenied
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementKind
from isthmus.transforms import Transform
from isthmus.v1.common_pb2 import FieldType
from isthmus.v1.department_service_pb2 import StreamRowsResponse as Response
from services.arrow import ArrowChunks
from services.chunks import RowChunks
from services.grant_items import GrantedField
from services.journal import How
from services.manifest import Field, transform_fits
from services.plan import Planner
from services.veto import VetoRules
from tests.unit.services.fetch_outcomes import granted, predicate
from tests.unit.services.stream_answers import (
    ALL,
    KINDS,
    VIEW,
    arrow_rows,
    arrow_table,
    digest_of,
    fields_of,
    many,
    refusal,
    rows_of,
    stream,
)

ROWS = [
    ("甲", 1, 5, 0.5, "12345.60", "海淀区", b"\x00\xff", "2020-02-29", "2020-01-01T08:00:00Z"),
    ("乙", "否", " 42 ", 3, "$1,929.00", "", b"", "2020-02-29T23:00:00", "2020-01-01 08:00:00.25"),
    ("丙", "", -(2**63), -1e300, 0.1, 7, None, "", "1969-12-31T23:59:59.999999+00:00"),
    (None, None, None, None, None, None, None, None, None),
    ("丁", "是", 2.0, "2.5", "-0.00", "𠀀\x00|,\n", b"x" * 300, "0001-01-01", "2020-01-01T00:00:00+08:00"),
    ("甲", 0, 2**63 - 1, 7, 10, "长" * 200, b"\n", "9999-12-31", ""),
]
WANTED = [
    (True, 5, 0.5, "12345.60", "海淀区", b"\x00\xff", "2020-02-29", "2020-01-01T08:00:00Z"),
    (False, 42, 3.0, "1929.00", "", b"", "2020-02-29", "2020-01-01T08:00:00.250000Z"),
    (None, -(2**63), -1e300, "0.1", "7", None, None, "1969-12-31T23:59:59.999999Z"),
    (None,) * 8,
    (True, 2, 2.5, "-0.00", "𠀀\x00|,\n", b"x" * 300, "0001-01-01", "2019-12-31T16:00:00Z"),
    (False, 2**63 - 1, 7.0, "10", "长" * 200, b"\n", "9999-12-31", None),
]


@pytest.mark.parametrize(("encoding", "read"), [("ROWS", rows_of), ("ARROW", arrow_rows)])
def test_a_stream_is_the_table_value_by_value(world: Any, encoding: str, read: Any) -> None:
    world.fill(ROWS)
    assert read(stream(world, encoding=encoding)) == WANTED


def test_an_empty_table_is_a_stream_of_no_rows(world: Any) -> None:
    assert rows_of(stream(world)) == []
    assert arrow_table(stream(world, encoding="ARROW")).num_rows == 0


def test_arrow_names_types_and_transforms_in_its_schema(world: Any) -> None:
    fields = fields_of(*KINDS) + granted()
    fields[0]["transform"], fields[1]["transform"], fields[4]["transform"] = "omit", "hash", "mask:1"
    world.fill(ROWS)
    table = arrow_table(stream(world, encoding="ARROW", fields=fields))
    types = [pa.bool_(), pa.string(), pa.float64(), pa.string(), pa.string(), pa.binary(), pa.date32()]
    assert table.schema.types == [*types, pa.timestamp("us", tz="UTC")]
    metadata = {each.name: each.metadata for each in table.schema}
    assert metadata["int64"] == {b"isthmus.type": b"STRING", b"isthmus.transform": b"hash"}
    assert metadata["date"] == {b"isthmus.type": b"DATE", b"isthmus.transform": b"plain"}
    assert table["bool"].to_pylist() == [None] * 6
    assert table["string"].to_pylist()[0] == "**区"


raw = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.from_regex(r"\A-?[0-9]{1,4}(\.[0-9]{1,3})?\Z")
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes(timezones=st.just(UTC))
)
TRANSFORMS = [
    Transform.parse(each) for each in ("plain", "mask:1", "hash", "bucket:10", "bucket:year", "omit")
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([kind for kind in FieldType.values() if kind]),
    st.sampled_from(TRANSFORMS),
    st.lists(raw, max_size=4),
)
@example(FieldType.FIELD_TYPE_INT64, TRANSFORMS[0], [1.5])
@example(FieldType.FIELD_TYPE_STRING, TRANSFORMS[0], [b"x"])
@example(FieldType.FIELD_TYPE_BYTES, TRANSFORMS[0], ["x"])
@example(FieldType.FIELD_TYPE_STRING, TRANSFORMS[0], ["\ud800"])
@example(FieldType.FIELD_TYPE_DECIMAL, TRANSFORMS[0], ["007.10", "7.10", "-0", 1, 1.0, True, Decimal("1.00")])
@example(FieldType.FIELD_TYPE_STRING, TRANSFORMS[2], [1, 1.0, True, "1"])
def test_arrow_and_typed_rows_agree_on_every_value_or_both_refuse_it(
    kind: Any, transform: Transform, values: list[Any]
) -> None:
    if not transform_fits(transform, kind) or not values:
        return
    field = Field(name="f", column="f", type=kind)
    planner = Planner(VetoRules((), hashes=True), hash_key=bytes(32), zone=UTC)
    shape = planner._build_shape("d", [(GrantedField("f", transform), field)], "contracts/c")
    outcomes: list[Any] = []
    for encoder in (RowChunks(shape), ArrowChunks(shape)):
        try:
            outcomes.append(encoder.encode([values], len(values)))
        except Exception as error:  # noqa: BLE001 - the two are compared, whatever they raise
            outcomes.append((type(error).__name__, str(error)))
    if isinstance(outcomes[0], tuple):
        assert outcomes[0] == outcomes[1] and outcomes[0][0] == "UnfitField"
        return
    rows = Response(chunk=outcomes[0], row_count=len(values))
    arrow = Response(chunk=outcomes[1], row_count=len(values))
    ends = (Response(columns=shape.columns), Response())
    arrow_ends = (
        Response(columns=shape.columns, chunk=ArrowChunks(shape).head),
        Response(chunk=ArrowChunks.tail),
    )
    assert rows_of([ends[0], rows, ends[1]]) == arrow_rows([arrow_ends[0], arrow, arrow_ends[1]])


@pytest.mark.parametrize("encoding", ["ROWS", "ARROW"])
def test_the_receipt_covers_every_byte_and_the_journal_tells_beginning_and_end(
    world: Any, encoding: str
) -> None:
    world.fill(many(5_000))
    token = world.grant(world.stream(dataset=ALL, fields=fields_of(*KINDS), encoding=encoding))
    responses = list(world.streamer.stream(token, caller=world.gateway, wanted=lambda: True))
    assert len(responses) > 3 and [bool(each.receipt) for each in responses[:-1]] == [False] * (
        len(responses) - 1
    )
    signed = world.statements.verify(responses[-1].receipt, kind=StatementKind.RECEIPT, expect_role=Role.NODE)
    grant = world.statements.verify(token, kind=StatementKind.GRANT, expect_role=Role.GATEWAY).payload
    (member,) = signed.payload["outcomes"]
    exchange = grant["items"][0]["exchange"]
    assert member == {"exchange": exchange, "digest": digest_of(responses), "row_count": 5_000}
    assert signed.payload["grant"] == grant["grant"]
    (entry,), (ending,) = world.journal.entries(), world.journal.endings()
    assert (entry.line.exchange, entry.line.mode, entry.line.row_count) == (exchange, "STREAM", 0)
    assert (ending.exchange, ending.how, ending.row_count) == (exchange, How.COMPLETE, 5_000)
    assert ending.digest == member["digest"]
    assert ending.byte_count == sum(len(each.chunk) for each in responses)
    assert world.metric("isthmus_department_rows_total", dataset="all") == 5_000


def test_a_grant_of_a_stream_is_served_once(world: Any) -> None:
    token = world.grant(world.stream())
    assert list(world.streamer.stream(token, caller=world.gateway, wanted=lambda: True))
    with pytest.raises(PermissionDenied) as error:
        list(world.streamer.stream(token, caller=world.gateway, wanted=lambda: True))
    assert error.value.reason is Reason.GRANT_INVALID and "used before" in error.value.message


@pytest.mark.parametrize(
    ("filters", "row_filters", "wanted"),
    [
        ([predicate("int64", "GE", {"int64": "4990"})], [], 10),
        ([predicate("int64", "LT", {"int64": "10"}), predicate("bool", "EQ", {"bool": True})], [], 5),
        ([predicate("string", "EQ", {"string": "第7行"})], [], 1),
        ([predicate("decimal", "IN", {"decimal": "7.5"}, {"decimal": "9.50"})], [], 2),
        ([predicate("int64", "LT", {"int64": "10"})], [predicate("int64", "GE", {"int64": "8"})], 2),
        ([predicate("int64", "LT", {"int64": "0"})], [], 0),
    ],
)
def test_filters_leave_exactly_the_rows_of_which_they_hold(
    world: Any, filters: list[Any], row_filters: list[Any], wanted: int
) -> None:
    world.fill(many(5_000))
    both = [
        read(stream(world, encoding=encoding, filters=filters, row_filters=row_filters))
        for encoding, read in (("ROWS", rows_of), ("ARROW", arrow_rows))
    ]
    assert both[0] == both[1] and len(both[0]) == wanted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filters": [predicate("string", "EQ", {"string": "x"})]}, "granted as plain"),
        ({"fields": [{"name": "int64", "transform": "bucket:10"}]}, "granted as plain"),
        ({"fields": [{"name": "int64", "transform": "hash"}]}, "granted as plain"),
        ({"filters": [predicate("int64", "EQ", {"string": "x"})]}, "cannot be asked"),
        ({"filters": [predicate("nothing", "EQ", {"string": "x"})]}, "granted as plain"),
        ({"fields": fields_of("nothing")}, "no field"),
        ({"dataset": "departments/civil-registry/datasets/query-only"}, "QUERY only"),
        ({"dataset": "departments/civil-registry/datasets/sealed"}, "never shared"),
    ],
)
def test_what_goes_beyond_manifest_or_grant_is_vetoed_before_a_byte(
    world: Any, changes: dict[str, Any], words: str
) -> None:
    asked = {"fields": fields_of("int64"), "filters": [predicate("int64", "EQ", {"int64": "1"})]}
    error = refusal(world, **(asked | changes))
    assert error.reason is Reason.PROVIDER_VETO and words in error.message
    assert not list(world.journal.entries())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "QUERY"}, "items[0].mode"),
        ({"encoding": "CSV"}, "items[0].encoding must be ROWS or ARROW"),
        ({"resume": "no token!"}, "items[0].resume"),
        ({"resume": None}, "items[0].resume"),
        ({"subjects": [{"scheme": "s", "id": "x", "token": "1." + "0" * 32}]}, "items[0].subjects"),
        ({"filters": [predicate("f", "EQ", {"string": "x"})] * 17}, "items[0].filters"),
        ({"predicate": predicate("f", "EQ", {"string": "x"})}, "no other mode"),
        ({"fields": []}, "items[0].fields"),
    ],
)
def test_an_ill_formed_stream_is_refused_and_the_member_named(
    world: Any, changes: dict[str, Any], words: str
) -> None:
    error = refusal(world, **changes)
    assert error.reason is Reason.GRANT_INVALID and words in error.message


def test_a_stream_is_one_item_and_fetch_serves_none(world: Any) -> None:
    with pytest.raises(PermissionDenied, match="Fetch serves|StreamRows serves STREAM|may hold only"):
        world.fetch(world.stream())
    two = world.grant(world.stream(), world.stream())
    with pytest.raises(PermissionDenied, match="a list of 1 to 1"):
        list(world.streamer.stream(two, caller=world.gateway, wanted=lambda: True))


def test_without_pyarrow_typed_rows_are_served_and_arrow_is_refused_in_words(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refusal(world, encoding="ARROW")
    assert error.reason is Reason.PROVIDER_VETO and "ask for ROWS" in error.message
    assert rows_of(stream(world)) == []


def test_a_view_is_streamed_subject_by_subject_and_rows_of_nobody_stay(world: Any) -> None:
    world.fill(ROWS)
    found = rows_of(stream(world, dataset=VIEW, fields=fields_of("int64")))
    wanted = sorted(row[1] for row in WANTED if row[1] is not None)
    assert sorted(row[0] for row in found) == wanted
