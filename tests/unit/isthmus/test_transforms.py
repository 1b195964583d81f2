"""The transform notation, and which transform hides at least as much as another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.transforms import Transform, allowed

notations = st.one_of(
    st.sampled_from(["plain", "hash", "omit", "bucket:year", "bucket:month"]),
    st.integers(0, 99).map(lambda number: f"mask:{number}"),
    st.integers(1, 999).map(lambda number: f"bucket:{number}"),
)


@given(notations)
def test_the_notation_reads_back(text: str) -> None:
    assert str(Transform.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "PLAIN", "mask", "mask:-1", "mask:100", "bucket:0", "bucket:day", "plain ", "plain\n"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a transform is"):
        Transform.parse(text)


@given(notations, notations, notations)
def test_hiding_is_a_partial_order(first: str, second: str, third: str) -> None:
    a, b, c = Transform.parse(first), Transform.parse(second), Transform.parse(third)
    assert a.hides_at_least(a)
    if a.hides_at_least(b) and b.hides_at_least(c):
        assert a.hides_at_least(c)
    if a.hides_at_least(b) and b.hides_at_least(a):
        assert a == b


@pytest.mark.parametrize(
    ("asked", "offered", "may"),
    [
        ("plain", [], True),
        ("plain", ["mask:4"], False),
        ("mask:2", ["mask:4"], True),
        ("mask:6", ["mask:4"], False),
        ("hash", ["mask:4"], False),
        ("hash", ["mask:4", "hash"], True),
        ("omit", ["mask:4"], True),
        ("bucket:20", ["bucket:10"], True),
        ("bucket:15", ["bucket:10"], False),
        ("bucket:year", ["bucket:month"], True),
        ("bucket:month", ["bucket:year"], False),
    ],
)
def test_a_provider_never_releases_more_than_its_mildest_transform(
    asked: str, offered: list[str], may: bool
) -> None:
    assert allowed(asked, offered) is may
