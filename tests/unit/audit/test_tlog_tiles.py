"""Tile coordinates, paths and entry bundles against the C2SP tlog-tiles text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import TileError
from audit.tlog.tiles import (
    MAX_INDEX,
    Bundle,
    Tile,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    parse_path,
    tile_width,
)


def test_the_specification_example_path() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Bundle(1234067, 8).path == "tile/entries/x001/x234/067.p/8"
    assert Tile(63, 0, 1).path == "tile/63/000.p/1"


def test_the_specification_example_of_70000_entries() -> None:
    assert edge_tiles(70_000) == (Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1))
    assert [tile_width(0, index, 70_000) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(1, index, 70_000) for index in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(2, index, 70_000) for index in (0, 1)] == [1, 0]


def test_a_tree_of_256_entries_has_a_full_tile_and_one_above_it() -> None:
    assert edge_tiles(256) == (Tile(1, 0, 1),)
    assert tile_width(0, 0, 256) == 256


def test_sizes_without_a_tree_are_refused() -> None:
    assert edge_tiles(0) == ()
    assert edge_tiles(1 << 63)[-1] == Tile(7, 0, 128)
    for size in (-1, (1 << 63) + 1):
        with pytest.raises(TileError):
            edge_tiles(size)


@given(st.integers(0, 63), st.integers(0, MAX_INDEX), st.integers(1, 256))
def test_paths_round_trip(level: int, index: int, width: int) -> None:
    for place in (Tile(level, index, width), Bundle(index, width)):
        assert parse_path(place.path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/x000/067",
        "tile/0/001/067",
        "tile/0/x001/x067",
        "tile/0/x001/x234/x067",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/08",
        "tile/0/000.p/",
        "tile/0/000.p/999",
        "tile/entries/../000",
        "tile/entry/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/x999/x999/x999/x999/x999/999",
    ],
)
def test_any_other_spelling_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(TileError):
        parse_path(path)


@given(st.text(max_size=40))
def test_no_text_breaks_the_path_parser(path: str) -> None:
    try:
        place = parse_path(path)
    except TileError:
        return
    assert place.path == path


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, MAX_INDEX + 1, 1), (0, 0, 0), (0, 0, 257)],
)
def test_places_out_of_range_are_refused(level: int, index: int, width: int) -> None:
    with pytest.raises(TileError):
        Tile(level, index, width)


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=256), st.data())
def test_bundles_round_trip_and_a_prefix_is_the_partial_bundle(
    entries: list[bytes], data: st.DataObject
) -> None:
    width = data.draw(st.integers(1, len(entries)))
    encoded = encode_bundle(entries)
    assert decode_bundle(encoded, width) == tuple(entries[:width])
    assert encoded.startswith(encode_bundle(entries[:width]))


def test_the_bundle_bytes() -> None:
    assert encode_bundle([b"", "数据".encode(), b"z"]).hex() == "0000" + "0006e695b0e68dae" + "00017a"


def test_the_longest_entry_fits_and_a_longer_one_is_refused() -> None:
    assert decode_bundle(encode_bundle([b"a" * 65_535]), 1) == (b"a" * 65_535,)
    with pytest.raises(TileError, match="65535"):
        encode_bundle([b"a" * 65_536])


@pytest.mark.parametrize("count", [0, 257])
def test_bundles_of_impossible_width_are_refused(count: int) -> None:
    with pytest.raises(TileError):
        encode_bundle([b""] * count)
    with pytest.raises(TileError):
        decode_bundle(b"\0\0" * max(count, 1), count)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1", b"\0\0\0", b"\0\2a", b"\0\1a\0\1", b"\0\0" * 257])
def test_a_cut_short_or_overfull_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(TileError):
        decode_bundle(data, 1)


def test_a_bundle_that_lacks_entries_is_refused() -> None:
    with pytest.raises(TileError, match="2 entries where 3"):
        decode_bundle(encode_bundle([b"a", b"b"]), 3)
