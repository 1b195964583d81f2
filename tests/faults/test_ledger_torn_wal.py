"""Power is lost and takes parts of the write-ahead log with it: all that is pinned comes back, or the ledger refuses."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.ledger import LedgerRolledBack
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.faults.ledger_evidence import Told, require_all, require_sound, seeded
from tests.faults.ledger_nursery import answer
from tests.faults.race import quick_folder
from tests.unit.audit.ledger_world import KEY, failure, ledger_in

pytestmark = pytest.mark.fault

HEADER, FRAME, PAGE = 32, 24 + 4096, 4096  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
SECTOR = 512
SAMPLE = 12
SPOILERS: dict[str, Callable[[bytes, int], bytes]] = {
    "cut off": lambda log, at: log[:at],
    "flipped": lambda log, at: log[:at] + bytes([log[at] ^ 0x10]) + log[at + 1 :],
    "never written": lambda log, at: (
        log[: at // SECTOR * SECTOR] + bytes(SECTOR) + log[at // SECTOR * SECTOR + SECTOR :]
    ),
}


@dataclass(frozen=True, slots=True)
class Victim:
    """A ledger in the middle of its life.

    Attributes:
        database: the file.
        log: its write-ahead log.
        notes: the signed checkpoints by size, of the empty log too.
        hashes: all leaf hashes that were acknowledged, by position.
        settled: the records that are in the database itself; None before there is a table.
    """

    database: bytes
    log: bytes
    notes: dict[int, str]
    hashes: dict[int, str]
    settled: int | None

    def frames(self) -> Iterator[tuple[int, bool]]:
        """Where each frame of this generation of the log ends, and whether it ends a commit."""
        salts = self.log[16:24]
        for start in range(HEADER, len(self.log), FRAME):
            _, pages = struct.unpack(">II", self.log[start : start + 8])
            if self.log[start + 8 : start + 16] != salts:
                return
            yield start + FRAME, pages > 0

    def left(self, spoilt: bytes) -> int | None:
        """The records that must come back from a log of which this is left: those of whole commits, in their order."""
        sizes = [size for size in self.notes if self.settled is None or size > self.settled]
        ends = [end for end, commits in self.frames() if commits]
        same = next(
            (n for n, (a, b) in enumerate(zip(self.log, spoilt, strict=False)) if a != b), len(spoilt)
        )
        return dict(zip(ends, sizes, strict=True)).get(
            max((e for e in ends if e <= same), default=0), self.settled
        )

    def restore(self, directory: Path, log: bytes, pinned: int) -> Path:
        """What is found after the loss of power; returns the database's path."""
        directory.mkdir()
        (directory / "ledger.db").write_bytes(self.database)
        (directory / "ledger.db-wal").write_bytes(log)
        (directory / "pin").write_text(self.notes[pinned], encoding="utf-8")
        return directory / "ledger.db"


@pytest.fixture(params=["first log", "log used again"])
def victim(request: pytest.FixtureRequest) -> Victim:
    """Copied while it is in use. A log that is used again still ends in frames of its former contents."""
    hashes, notes, settled = dict[int, str](), dict[int, str](), None
    with quick_folder() as folder, ledger_in(folder, pin=None) as ledger:
        notes[0] = ledger.newest().note.decode()
        for number in range(6):
            if number == 2 and request.param == "log used again":
                with closing(sqlite3.connect(folder / "ledger.db")) as connection:
                    connection.execute("PRAGMA wal_checkpoint")
                settled = len(hashes)
            commit = ledger.transact(lambda tx, n=number: [tx.append(failure()) for _ in range(1 + n % 3)])  # type: ignore[misc]
            told = answer(commit)
            hashes |= {int(index): value for index, value in told["acknowledged"].items()}
            notes[commit.size] = commit.checkpoint
        database, log = ((folder / name).read_bytes() for name in ("ledger.db", "ledger.db-wal"))
    return Victim(database, log, notes, hashes, settled)


def spoilt(victim: Victim, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """The log cut off at the end of each frame, and spoilt in each way at places inside some."""
    ends = [HEADER, *(end for end, _ in victim.frames())]
    for end in (0, *ends):
        yield f"cut off at {end}", victim.log[:end]
    for how, spoil in SPOILERS.items():
        places = [
            chance.randrange(HEADER),
            *(end - chance.randint(1, FRAME) for end in chance.sample(ends[1:], SAMPLE)),
        ]
        # Of each kind one at least in what a frame says about itself, not in its page.
        places.append(chance.choice(ends[:-1]) + chance.randrange(24))
        for place in places:
            yield f"{how} at {place}", spoil(victim.log, place)


@pytest.mark.timeout(300)
def test_a_torn_log_brings_back_all_that_is_pinned_or_is_refused(victim: Victim) -> None:
    back, refused = 0, 0
    for what, log in spoilt(victim, seeded()):
        left = victim.left(log)
        newer = [size for size in victim.notes if size > (left or 0)]
        with quick_folder() as folder:
            try:
                require_back(victim, folder / "back", log, left)
                back += 1
                if newer:
                    require_refused(victim, folder / "refused", log, left)
                    refused += 1
            except (AssertionError, Damaged) as error:
                raise AssertionError(f"{what}, of which {left} records are left: {error}") from error
    print(f"{back} torn logs brought back all that was pinned, {refused} were refused")
    assert refused > back / 2


def require_back(victim: Victim, directory: Path, log: bytes, left: int | None) -> None:
    """With a pin that covers no more than is left, everything that is left comes back, and the log goes on."""
    database = victim.restore(directory, log, left or 0)
    hashes = {index: value for index, value in victim.hashes.items() if index < (left or 0)}
    if left is not None:
        assert verify_ledger(str(database), KEY.verifier, known=victim.notes[left].encode()).size == left
    with ledger_in(directory) as ledger:
        assert ledger.newest().size == (left or 0)
    require_all(
        directory, Told(hashes, {size: note for size, note in victim.notes.items() if size <= (left or 0)})
    )
    require_sound(directory)


def require_refused(victim: Victim, directory: Path, log: bytes, left: int | None) -> None:
    """With a pin of the next transaction, the verifier names what is missing, and nobody appends to what is left."""
    pinned = min(size for size in victim.notes if size > (left or 0))
    database = victim.restore(directory, log, pinned)
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(database), KEY.verifier, known=victim.notes[pinned].encode())
    if left is None:
        assert caught.value.kind is DamageKind.STORAGE
    else:
        assert (caught.value.kind, caught.value.where) == (DamageKind.ROLLBACK, f"checkpoint {pinned}")
    for _ in range(2):  # What it did on the way to its first refusal must not make the next one accept.
        with pytest.raises(LedgerRolledBack, match=f"holds {left or 0} records.* covers {pinned}"):
            ledger_in(directory).__enter__()


def test_pages_torn_while_the_log_is_copied_into_the_database_are_mended(victim: Victim) -> None:
    # The log is emptied only after the database is synced, so it holds whatever may be half written there.
    chance = seeded()
    pages = {struct.unpack(">I", victim.log[end - FRAME : end - FRAME + 4])[0] for end, _ in victim.frames()}
    for _ in range(SAMPLE):
        database = bytearray(victim.database)
        for page in chance.sample(sorted(pages), chance.randint(1, len(pages))):
            start = (page - 1) * PAGE + chance.randrange(0, PAGE, SECTOR)
            database.extend(bytes(max(0, page * PAGE - len(database))))
            database[start : page * PAGE] = chance.randbytes(page * PAGE - start)
        with quick_folder() as folder:
            size = max(victim.notes)
            torn = Victim(bytes(database), victim.log, victim.notes, victim.hashes, victim.settled)
            torn.restore(folder / "torn", victim.log, size)
            with ledger_in(folder / "torn") as ledger:
                assert ledger.newest().size == size
            require_all(folder / "torn", Told(victim.hashes, victim.notes))
            require_sound(folder / "torn")
