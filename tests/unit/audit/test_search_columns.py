"""Columns: what is found in them is what a plain look at every record finds, and damage is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.search.columns import SEPARATOR, Column, ColumnDamaged, at, newest_first, span
from audit.search.seal import Seal
from audit.tlog.keys import SignerKey

KEY = SignerKey.from_seed("log.example", b"\1" * 32)
texts = st.lists(st.text("aAbB案件0,@", max_size=4), min_size=1, max_size=60)


@given(texts)
def test_a_column_reads_back_as_it_was_written(values: list[str]) -> None:
    column = Column.decode(Column.of(values).encode())
    assert [column.texts()[place] for place in column.places()] == values


@settings(deadline=None)
@given(texts, st.text("aAbB案件0,@", max_size=3), st.booleans())
def test_a_pattern_is_found_where_a_plain_look_finds_it(values: list[str], part: str, wide: bool) -> None:
    values = values + [f"filler {number}" for number in range(300)] if wide else values
    column = Column.of(values)
    looks: dict[str, tuple[bytes, Callable[[str], bool]]] = {
        "whole": (SEPARATOR + part.encode() + SEPARATOR, lambda text: text == part),
        "beginning": (SEPARATOR + part.encode(), lambda text: text.startswith(part)),
        "end": (part.encode() + SEPARATOR, lambda text: text.endswith(part)),
        "part": (part.encode() or b"filler 7", lambda text: (part or "filler 7") in text),
    }
    for pattern, plain in looks.values():
        mask = column.mask(column.find([pattern]))
        assert list(newest_first(mask)) == [n for n in range(len(values) - 1, -1, -1) if plain(values[n])]


def test_folding_is_of_ascii_only() -> None:
    column = Column.of(["ABC案", "abc案", "ÄBC", "äbc"])
    assert column.find([b"abc"], fold=True) == {0, 1}
    assert column.find(["äbc".encode()], fold=True) == {3}


@pytest.mark.parametrize("values", [2, 300, 20_000])
def test_many_places_at_once_and_few_give_the_same_mask(values: int) -> None:
    column = Column.of([str(number * 7 % values) for number in range(20_000)])
    some = set(range(0, min(values, 900), 3))
    singly = 0
    for place in some:
        singly |= column.mask({place})
    assert column.mask(some) == singly
    assert column.mask(set()) == 0


@given(st.sets(st.integers(0, 200)))
def test_a_mask_lists_its_records_newest_first(positions: set[int]) -> None:
    assert list(newest_first(at(positions))) == sorted(positions, reverse=True)
    assert list(newest_first(span(3, 9))) == [8, 7, 6, 5, 4, 3]
    assert span(4, 4) == 0


PLACE = (3, "purpose", b"\7" * 32)


@given(texts, st.data())
def test_no_flipped_or_missing_byte_of_a_sealed_column_goes_unnoticed(
    values: list[str], data: st.DataObject
) -> None:
    seal, column = Seal(KEY), Column.of(values).encode()
    whole = seal.seal(PLACE, column)
    assert seal.open(PLACE, whole) == column
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    for damaged in (flipped, whole[:place], whole + b"\0", None, "text", 7):
        with pytest.raises(ColumnDamaged):
            seal.open(PLACE, damaged)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (KEY, (4, "purpose", b"\7" * 32)),
        (KEY, (3, "purposf", b"\7" * 32)),
        (KEY, (3, "purpose", b"\7" * 31 + b"\0")),
        (SignerKey.from_seed("log.example", b"\2" * 32), PLACE),
        (SignerKey.from_seed("log.example/other", b"\1" * 32), PLACE),
    ],
)
def test_a_seal_holds_for_one_log_one_segment_one_column_and_its_records(
    key: SignerKey, place: tuple[int, str, bytes]
) -> None:
    with pytest.raises(ColumnDamaged, match="seal is wrong"):
        Seal(key).open(place, Seal(KEY).seal(PLACE, b"content"))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9])
def test_a_column_of_another_length_is_none(length: int) -> None:
    with pytest.raises(ColumnDamaged):
        Column.decode(Column.of(["a", "b", "c"]).encode()[:length])
