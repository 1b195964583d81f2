"""Which tiles a log consists of, against the C2SP text, and how strictly their paths are read."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tiles.address import split_address
from audit.tiles.places import Place, available_width, bundles, count, hash_tiles, parse_resource
from audit.tlog.errors import TileError
from audit.tlog.tiles import MAX_INDEX, Bundle, Tile, tile_width

SIZES = st.one_of(st.integers(0, 3000), st.integers(0, 300_000))


def test_a_log_of_70000_entries_has_the_tiles_that_the_specification_names() -> None:
    found = list(hash_tiles(70_000))
    assert Counter((tile.level, tile.width) for tile in found) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    paths = {tile.path for tile in found}
    assert {"tile/0/000", "tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17"} <= paths
    assert "tile/2/000.p/1" in paths
    assert [bundle.path for bundle in bundles(70_000)][-2:] == ["tile/entries/272", "tile/entries/273.p/112"]


def test_a_log_of_256_entries_has_a_full_tile_and_one_above_it() -> None:
    assert [tile.path for tile in hash_tiles(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [bundle.path for bundle in bundles(256)] == ["tile/entries/000"]


def test_an_empty_log_has_no_tiles() -> None:
    assert [*hash_tiles(0), *bundles(0)] == []
    for listing in (hash_tiles, bundles):
        with pytest.raises(TileError):
            list(listing(-1))


@given(SIZES)
def test_each_place_is_as_wide_as_the_size_allows_and_none_is_missing(size: int) -> None:
    tiles, entries = list(hash_tiles(size)), list(bundles(size))
    places: list[Place] = [*tiles, *entries]
    for place in places:
        assert available_width(place, size) == place.width
    assert len(set(tiles)) == len(tiles) == count(size, entries=False)
    assert len(tiles) + len(entries) == count(size, entries=True)
    assert sum(tile.width for tile in tiles if tile.level == 0) == size
    assert sum(bundle.width for bundle in entries) == size
    for level in range(3):
        last = max((tile.index for tile in tiles if tile.level == level), default=-1)
        assert tile_width(level, last + 1, size) == 0


@given(SIZES, SIZES)
def test_what_a_smaller_log_has_a_larger_one_has_at_least_as_wide(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert all(available_width(place, large) >= place.width for place in hash_tiles(small))


@given(st.integers(0, 63), st.integers(0, MAX_INDEX), st.integers(1, 256))
def test_every_place_is_read_back_from_its_path(level: int, index: int, width: int) -> None:
    assert parse_resource(Tile(level, index, width).path) == Tile(level, index, width)
    assert parse_resource(Bundle(index, width).path) == Bundle(index, width)


def test_the_checkpoint_is_a_resource_under_one_name() -> None:
    assert parse_resource("checkpoint") is None
    for other in ("Checkpoint", "checkpoint/", "/checkpoint", "checkpoint?", "checkpoint\n", ""):
        with pytest.raises(TileError):
            parse_resource(other)


_PIECES = [
    "tile",
    "entries",
    "checkpoint",
    "/",
    "..",
    ".p/",
    "x001",
    "001",
    "0",
    "1",
    "256",
    "%30",
    "?",
    "\n",
    "１",
    "\0",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_PIECES), max_size=9).map("".join)))
def test_no_other_spelling_reaches_a_resource(path: str) -> None:
    try:
        place = parse_resource(path)
    except TileError:
        return
    assert path == ("checkpoint" if place is None else place.path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8446", ("127.0.0.1", 8446)),
        ("[::]:0", ("::", 0)),
        ("tiles.example:65535", ("tiles.example", 65535)),
    ],
)
def test_addresses_are_read(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize(
    "address", ["", "8446", ":8446", "a:", "a:b", "a:-1", "a:65536", "::1:80", "[a]:80", "a:８０"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        split_address(address)
