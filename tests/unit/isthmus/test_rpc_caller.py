"""The trace id that a caller sends is taken only in the exact form of W3C Trace Context."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.rpc.caller import caller, trace_id_of
from isthmus.rpc.metrics import code_label

TRACE = "0af7651916cd43dd8448eb211c80319c"
GOOD = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.mark.parametrize("value", [GOOD, GOOD.replace("00-", "cc-", 1) + "-what-may-come"])
def test_a_valid_traceparent_is_read(value: str) -> None:
    assert trace_id_of([("user-agent", "x"), ("traceparent", value)]) == TRACE


@pytest.mark.parametrize(
    "value",
    [
        "",
        GOOD.upper(),
        GOOD.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        GOOD + "\n",
        GOOD[:-1],
        GOOD + "-" + "x" * 300,
        GOOD.encode(),
    ],
)
def test_a_malformed_traceparent_is_ignored(value: str | bytes) -> None:
    assert trace_id_of([("traceparent", value)]) == ""


def test_two_traceparents_are_none() -> None:
    assert trace_id_of([("traceparent", GOOD), ("traceparent", GOOD)]) == ""


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "x"]), st.text() | st.binary())))
def test_no_metadata_breaks_a_call(metadata: list[tuple[str, str | bytes]]) -> None:
    assert trace_id_of(metadata) == "" or len(trace_id_of(metadata)) == 32


def test_a_context_that_nobody_guarded_has_no_caller() -> None:
    with pytest.raises(RuntimeError, match="did not pass the guard"):
        caller(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.CANCELLED, "Canceled"),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
    ],
)
def test_codes_are_spelled_as_the_ecosystems_dashboards_expect(code: grpc.StatusCode, label: str) -> None:
    assert code_label(code) == label
