"""A caller's `traceparent` is taken only in the exact form of W3C Trace Context; everything else is as if it were not sent."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.client import traced
from isthmus.client.traces import trace_metadata
from isthmus.errors import InvalidArgument
from isthmus.ids import uuid7
from isthmus.traceparent import (
    MAX_CHARACTERS,
    TraceParent,
    own_span_id,
    own_trace_id,
    parse,
    trace_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),  # section 3.2.2.5, the first example
        (f"00-{TRACE}-{SPAN}-00", False),  # and the second
        (f"00-{TRACE}-{SPAN}-03", True),  # level 2: the random flag
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-ff", True),  # unknown flags are ignored
        (f"cc-{TRACE}-{SPAN}-01", True),  # section 4.3: a version to come
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_what_the_specification_allows_is_read(text: str, sampled: bool) -> None:
    assert parse(text) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"{GOOD}.",
        f"{GOOD}-what-the-future-will-be-like",  # version 00 ends here
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * MAX_CHARACTERS,
    ],
)
def test_what_the_specification_forbids_is_ignored(text: str) -> None:
    assert parse(text) is None
    assert trace_of([("traceparent", text)]) is None


def test_bytes_and_two_headers_are_none() -> None:
    assert trace_of([("traceparent", GOOD.encode())]) is None
    assert trace_of([("traceparent", GOOD), ("traceparent", GOOD)]) is None
    assert trace_of([("traceparent", GOOD), ("tracestate", "a=b")]) == parse(GOOD)


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "x"]), st.text() | st.binary())))
def test_no_metadata_breaks_a_call(metadata: list[tuple[str, str | bytes]]) -> None:
    found = trace_of(metadata)
    assert found is None or parse(str(found)) == found


hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(hexadecimal, hexadecimal.map(lambda text: text[:16]), st.booleans())
def test_what_is_written_is_read_again(trace_id: str, span_id: str, sampled: bool) -> None:
    written = TraceParent(trace_id, span_id, sampled)
    valid = bool(int(trace_id, 16) and int(span_id, 16))
    assert parse(str(written)) == (written if valid else None)


@given(st.from_regex(r"[0-9a-f.]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}(-x|\.x|)", fullmatch=True))
def test_whatever_is_read_has_ids_that_are_not_zero(text: str) -> None:
    found = parse(text)
    if found is not None:
        assert int(found.trace_id, 16) and int(found.span_id, 16)
        assert text[3:35] == found.trace_id and text[36:52] == found.span_id
        assert text[:2] != "ff" and (len(text) == 55 or text[:2] != "00")


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda at: at.year > 1970))
def test_a_trace_that_begins_here_bears_the_id_of_what_it_is_about(at: datetime) -> None:
    id = uuid7(at)
    name = f"exchanges/{id}"
    trace = TraceParent(own_trace_id(name), own_span_id(name), True)
    assert (
        parse(str(trace)) == trace and own_trace_id(id) == trace.trace_id and own_span_id(id) == trace.span_id
    )
    assert trace.trace_id == id.replace("-", "") and trace.trace_id.endswith(trace.span_id)


# ---- What a client sends


def test_a_client_sends_nothing_unless_there_is_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert trace_metadata() is None
    assert "opentelemetry.trace" not in sys.modules, "sending a call imports nothing"


def test_a_client_sends_the_trace_that_it_is_given_and_only_inside() -> None:
    with traced(GOOD):
        assert trace_metadata() == (("traceparent", GOOD),)
    assert trace_metadata() is None


def test_a_client_refuses_a_malformed_trace() -> None:
    with pytest.raises(InvalidArgument, match="W3C Trace Context"), traced("00-nonsense"):
        pass


def test_a_client_sends_the_current_trace_of_opentelemetry() -> None:
    api: Any = pytest.importorskip("opentelemetry.trace")
    flags = api.TraceFlags(api.TraceFlags.SAMPLED)
    context = api.SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False, trace_flags=flags)
    with api.use_span(api.NonRecordingSpan(context)):
        assert trace_metadata() == (("traceparent", GOOD),)
    assert trace_metadata() is None


def test_a_foreign_opentelemetry_without_a_span_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    span = SimpleNamespace(get_span_context=lambda: SimpleNamespace(is_valid=False))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace(get_current_span=lambda: span))
    assert trace_metadata() is None
