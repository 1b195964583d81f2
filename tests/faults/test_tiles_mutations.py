"""Whatever is changed in a folder of tiles behind the log's back, the offline verifier names it.

The folder is that of 600 records: full and partial tiles on two levels, full and partial bundles of entries.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.ledger.offline import open_offline
from audit.tiles.export import export_tiles
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.merkle import hash_leaf
from audit.tlog.tiles import MAX_ENTRY_BYTES, Tile
from audit.tlog.tree import Edge
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.result import Source
from audit.verifier.tiles import verify_tiles
from tests.unit.audit.ledger_world import KEY, OTHER_KEY, append, denial, failure, ledger_in

pytestmark = pytest.mark.fault

SIZE = 600
EARLIER = 500
SAMPLES = 40
FILES = {
    "checkpoint",
    "tile/0/000",
    "tile/0/001",
    "tile/0/002.p/88",
    "tile/1/000.p/2",
    "tile/entries/000",
    "tile/entries/001",
    "tile/entries/002.p/88",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with the checkpoint of an earlier export and its ledger beside it."""
    directory = tmp_path_factory.mktemp("log")
    with ledger_in(directory) as ledger:
        for size in range(0, SIZE, 10):
            append(ledger, *(failure() for _ in range(9)), denial("NO_CONTRACT"))
            if size + 10 == EARLIER:
                (directory / "earlier").write_bytes(ledger.newest().note)
    export(directory / "ledger.db", directory / "tiles")
    return directory / "tiles"


def export(ledger: Path, folder: Path, *, entries: bool = True) -> None:
    """The folder as `isthmus audit export-tiles` writes it, without what it locks with."""
    with open_offline(str(ledger)) as connection:
        export_tiles(connection, folder, entries=entries)
    (folder / ".export.lock").unlink(missing_ok=True)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "tiles"))


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """Where bytes are changed; the seed is printed, and can be given."""
    seed = int(os.environ.get("MUTATION_SEED", random.SystemRandom().getrandbits(32)))
    print(f"MUTATION_SEED={seed}")
    return random.Random(seed)


def files(folder: Path) -> Iterator[str]:
    return (each.relative_to(folder).as_posix() for each in sorted(folder.rglob("*")) if each.is_file())


def damage(folder: Path) -> Damaged:
    """What the verifier names."""
    with pytest.raises(Damaged) as caught:
        verify_tiles(str(folder), KEY.verifier)
    return caught.value


def entry_at(data: bytes, position: int) -> int:
    """Which entry of a bundle a byte belongs to."""
    end = number = 0
    while (end := end + 2 + int.from_bytes(data[end : end + 2], "big")) <= position:
        number += 1
    return number


def expected(path: str, data: bytes, position: int) -> tuple[DamageKind, str]:
    """What an altered or missing byte is to be called."""
    if path == "checkpoint":
        return DamageKind.CHECKPOINT, "checkpoint"
    if not path.startswith("tile/entries/"):
        return DamageKind.TILE, path
    first = 256 * int(path.removeprefix("tile/entries/")[:3])
    return DamageKind.RECORD, f"record {first + entry_at(data, position)}"


def test_a_sound_folder_is_sound(original: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = verify_tiles(str(original), KEY.verifier, progress=lambda *done: seen.append(done))
    assert (found.size, found.source, seen[-1]) == (SIZE, Source.ENTRIES, (SIZE, SIZE))
    assert set(files(original)) == FILES


@pytest.mark.parametrize("path", sorted(FILES))
def test_every_altered_byte_is_named(folder: Path, path: str, chance: random.Random) -> None:
    data = (folder / path).read_bytes()
    every = range(len(data))
    for position in every if len(data) <= 4 * SAMPLES else sorted(chance.sample(every, SAMPLES)):
        flipped = data[position] ^ (1 << chance.randrange(8))
        (folder / path).write_bytes(data[:position] + bytes([flipped]) + data[position + 1 :])
        found = damage(folder)
        assert (found.kind, found.where) == expected(path, data, position), position


@pytest.mark.parametrize("path", sorted(FILES))
def test_every_truncation_is_named(folder: Path, path: str, chance: random.Random) -> None:
    data = (folder / path).read_bytes()
    for length in (0, 1, len(data) - 1, *chance.sample(range(len(data)), SAMPLES // 4)):
        (folder / path).write_bytes(data[:length])
        found = damage(folder)
        assert (found.kind, found.where) == expected(path, data, length), length


@pytest.mark.parametrize("path", sorted(FILES))
def test_whatever_is_put_behind_a_file_is_named(folder: Path, path: str) -> None:
    data = (folder / path).read_bytes()
    for more in (b"\0", data[-32:], data, bytes(MAX_ENTRY_BYTES)):
        (folder / path).write_bytes(data + more)
        found = damage(folder)
        assert found.where == path
        assert found.kind is not DamageKind.STORAGE


@pytest.mark.parametrize("path", sorted(FILES))
def test_every_missing_file_is_named(folder: Path, path: str) -> None:
    (folder / path).unlink()
    assert damage(folder).where == path


def test_every_exchange_of_two_files_is_named(folder: Path) -> None:
    paths = sorted(FILES)
    for one in paths:
        for other in paths[: paths.index(one)]:
            swap(folder / one, folder / other)
            assert named(damage(folder)) & {one, other}
            swap(folder / one, folder / other)
    verify_tiles(str(folder), KEY.verifier)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def named(found: Damaged) -> set[str]:
    """The file that a damage is in, whatever it is called."""
    kind, _, number = found.where.partition(" ")
    if kind != "record":
        return {found.where}
    return {path for path in FILES if path.startswith(f"tile/entries/{int(number) // 256:03}")}


@pytest.mark.parametrize("how", ["drop", "repeat", "exchange"])
def test_every_moved_entry_is_named(folder: Path, how: str) -> None:
    path = folder / "tile/entries/002.p/88"
    data = path.read_bytes()
    entries = split(data)
    for number in range(len(entries)):
        changed = list(entries)
        if how == "drop":
            del changed[number]
        elif how == "repeat":
            changed.insert(number, changed[number])
        elif number + 1 < len(entries):
            changed[number : number + 2] = [changed[number + 1], changed[number]]
        else:
            continue
        path.write_bytes(b"".join(changed))
        found = damage(folder)
        # What comes behind an entry that was repeated is the first that is not where it was signed.
        behind = number + (how == "repeat")
        where = f"record {512 + behind}" if behind < len(entries) else "tile/entries/002.p/88"
        assert (found.kind, found.where) == (DamageKind.RECORD, where)


def split(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        found.append(data[:end])
        data = data[end:]
    return found


@pytest.mark.parametrize(
    "path",
    ["tile/0/003", "tile/0/002", "tile/0/002.p/89", "tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"]
    + [
        "tile/entries/002",
        "tile/entries/003.p/4",
        "tile/0/0",
        "tile/9",
        "tile/0/000.p/256",
        "tile/0/000.bak",
    ],
)
@pytest.mark.parametrize("source", ["tile/0/000", "tile/0/002.p/88"])
def test_a_repeated_tile_is_named(folder: Path, path: str, source: str) -> None:
    target = folder / path
    target.parent.mkdir(exist_ok=True, parents=True)
    shutil.copy(folder / source, target)
    assert damage(folder).where == path


def test_the_narrower_tiles_of_earlier_checkpoints_belong_to_the_log_if_they_say_the_same(
    folder: Path,
) -> None:
    narrow = folder / "tile/0/000.p/7"
    narrow.parent.mkdir()
    narrow.write_bytes((folder / "tile/0/000").read_bytes()[: 7 * 32])
    entries = folder / "tile/entries/002.p/2"
    entries.write_bytes(b"".join(split((folder / "tile/entries/002.p/88").read_bytes())[:2]))
    verify_tiles(str(folder), KEY.verifier)
    entries.write_bytes(entries.read_bytes()[:-1])
    assert damage(folder).where == "tile/entries/002.p/2"
    entries.unlink()
    narrow.write_bytes((folder / "tile/0/001").read_bytes()[: 7 * 32])
    assert damage(folder).where == "tile/0/000.p/7"


def test_a_full_tile_takes_the_place_of_a_partial_one(original: Path, folder: Path) -> None:
    """As the specification allows it, for whoever still has an earlier checkpoint."""
    shutil.copy(original.parent / "earlier", folder / "checkpoint")
    for path in ("tile/0/002.p/88", "tile/entries/002.p/88"):
        (folder / path).unlink()
    both = folder / "tile/1/000.p/2"
    (folder / "tile/1/000.p/1").write_bytes(both.read_bytes()[:32])
    both.unlink()
    # Nothing is wrong with what is read; but a folder that holds more than its checkpoint covers is not whole.
    found = damage(folder)
    assert (found.where, "covers 500 records" in found.problem) == ("tile/0/001", True)


def test_an_earlier_checkpoint_in_place_of_the_newest_is_named(original: Path, folder: Path) -> None:
    newest = (folder / "checkpoint").read_bytes()
    shutil.copy(original.parent / "earlier", folder / "checkpoint")
    assert damage(folder).kind is DamageKind.TILE
    with pytest.raises(Damaged) as caught:
        verify_tiles(str(folder), KEY.verifier, known=newest)
    assert (caught.value.kind, caught.value.where) == (DamageKind.ROLLBACK, f"checkpoint {SIZE}")


def test_the_checkpoint_of_another_key_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with ledger_in(tmp_path / "other", key=OTHER_KEY) as other:
        append(other, failure())
        (folder / "checkpoint").write_bytes(other.newest().note)
    assert damage(folder).where == "checkpoint"


def test_a_folder_without_entries_is_verified_as_that(original: Path, tmp_path: Path) -> None:
    export(original.parent / "ledger.db", tmp_path / "hashes", entries=False)
    found = verify_tiles(str(tmp_path / "hashes"), KEY.verifier)
    assert (found.source, found.size) == (Source.HASHES, SIZE)


def alter(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])


@pytest.mark.parametrize("change", [alter, Path.unlink])
@pytest.mark.parametrize("path", sorted(each for each in FILES if "entries" not in each))
def test_without_entries_every_altered_tile_is_named(
    original: Path, tmp_path: Path, path: str, change: Callable[[Path], None]
) -> None:
    export(original.parent / "ledger.db", tmp_path / "hashes", entries=False)
    change(tmp_path / "hashes" / path)
    assert damage(tmp_path / "hashes").where == path


def test_entries_that_were_all_taken_away_are_missed(folder: Path) -> None:
    for path in [each for each in FILES if "entries" in each]:
        (folder / path).unlink()
    assert damage(folder).where == "tile/entries/000"


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hashes of 66,000 leaves: a tree in which a tile above the leaves is full too."""
    folder = tmp_path_factory.mktemp("tall")
    growth = Edge.empty().append([hash_leaf(index.to_bytes(4, "big")) for index in range(66_000)])
    for (level, index), data in growth.tiles.items():
        path = folder / Tile(level, index, len(data) // 32).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    signed = Checkpoint(KEY.verifier.name, 66_000, growth.root)
    (folder / "checkpoint").write_bytes(sign_checkpoint(signed, KEY))
    return folder


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/0/100", "tile/0/257.p/208", "tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"]
)
def test_every_level_of_a_tall_tree_is_guarded(tall: Path, path: str, chance: random.Random) -> None:
    file = tall / path
    data = file.read_bytes()
    assert verify_tiles(str(tall), KEY.verifier).size == 66_000
    try:
        for position in chance.sample(range(len(data)), 3):
            file.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            found = damage(tall)
            assert (found.kind, found.where) == (DamageKind.TILE, path)
        file.unlink()
        assert damage(tall).where == path
    finally:
        file.write_bytes(data)
