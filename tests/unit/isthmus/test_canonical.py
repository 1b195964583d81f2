"""Canonical JSON equals the reference implementation, and nothing ambiguous is ever read."""

from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from isthmus.canonical import (
    MAX_SAFE_INTEGER,
    CanonicalError,
    canonical_json,
    parse_canonical,
    parse_json,
    sha256_hex,
)

# Keys around the place where code point order and UTF-16 order part: U+E000 to U+FFFF against the astral planes.
KEYS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], max_codepoint=0x17F),
        st.characters(min_codepoint=0xD7F0, max_codepoint=0xFFFF, exclude_categories=["Cs"]),
        st.characters(min_codepoint=0x10000, max_codepoint=0x10FFFF),
        st.sampled_from('省市县人口库€\x7f\u2028\u2029"\\/\b\f\n\r\t\x00\x1f'),
    ),
    max_size=5,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | KEYS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=6)
    ),
    max_leaves=25,
)


@given(VALUES)
def test_equals_the_reference_implementation(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(VALUES)
def test_what_is_written_is_read_back(value: object) -> None:
    data = canonical_json(value)
    assert canonical_json(parse_canonical(data)) == data


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_reading_garbage_raises_nothing_but_the_typed_error(data: bytes) -> None:
    try:
        value = parse_canonical(data)
    except (CanonicalError, TypeError):
        return
    assert canonical_json(value) == data


def test_sorts_astral_keys_by_utf16_code_units() -> None:
    # RFC 8785 section 3.2.3: U+1F600 is D83D DE00, which sorts before U+FB33.
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def test_sorts_astral_keys_deep_inside_a_list() -> None:
    value: Any = {"a": [{"\ufb33": 1, "\U0001f600": {"z": 1, "b": (2,)}}]}
    assert canonical_json(value) == rfc8785.dumps(value)


def test_enums_are_written_as_their_values() -> None:
    class Mode(StrEnum):
        QUERY = "query"

    class Level(IntEnum):
        HIGH = 3

    assert canonical_json({"mode": Mode.QUERY, "level": Level.HIGH}) == b'{"level":3,"mode":"query"}'


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_a_float_is_refused_and_its_path_named(value: float) -> None:
    with pytest.raises(TypeError, match=r"\$\.terms\.fields\[1\]\.limit is a float"):
        canonical_json({"terms": {"fields": [0, {"limit": value}]}})


@pytest.mark.parametrize(
    "value", [b"x", {1}, object(), {"a": b"x"}, {1: "x"}, {None: 1}, {True: 1}, [{2.0: 1}]]
)
def test_what_json_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**400])
def test_an_integer_that_a_double_cannot_hold_is_refused(value: int) -> None:
    with pytest.raises(CanonicalError, match=r"\$\.n "):
        canonical_json({"n": value})


@pytest.mark.parametrize("value", ["\ud800", {"k": "a\udfff"}, {"\ud800": 1}, ["\udc00\ud800"]])
def test_a_lone_surrogate_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError, match="surrogate"):
        canonical_json(value)


def test_a_cycle_meets_the_depth_bound() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(CanonicalError, match="nests deeper"):
        canonical_json(cycle)


def test_a_value_never_appears_in_an_error() -> None:
    with pytest.raises(CanonicalError) as refused:
        canonical_json({"subject": "110101199001011234\ud800"})
    assert "110101199001011234" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b"NaN", "not an integer"),
        (b"[-Infinity]", "not an integer"),
        (b"1.0", "not an integer"),
        (b"1e3", "not an integer"),
        (b"9007199254740992", "2\\^53"),
        (b"9" * 5000, "53 bits"),
        (b'"\\ud800"', "surrogate"),
        (b"\xff", "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"[" * 33 + b"]" * 33, "deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "deeper"),
        (b'"' + b"x" * (1 << 20) + b'"', "at most"),
    ],
)
def test_an_ambiguous_or_oversized_document_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(CanonicalError, match=why):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    [b'{"b":1,"a":2}', b'{ "a":1}', b'{"a":1}\n', b"-0", b'"\\u0041"', b'"\\/"', b'"\\u7701"', b"01"],
)
def test_only_the_one_canonical_spelling_is_accepted(data: bytes) -> None:
    with pytest.raises(CanonicalError):
        parse_canonical(data)


def test_chinese_text_stays_text() -> None:
    assert canonical_json({"部门": "教育局"}) == '{"部门":"教育局"}'.encode()


def test_digest_is_the_published_sha256_of_abc() -> None:
    # FIPS 180-4, example "abc".
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
