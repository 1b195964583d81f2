"""The course of a race between processes on one ledger: who takes part, and about whom they ask."""

from __future__ import annotations

import json
import mmap
import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from audit.ledger import Transaction
from audit.record import AccessRecord, Kind
from gateway.config import Config
from gateway.load import open_ledger
from gateway.state.schema import consents
from isthmus.identity import Identity
from isthmus.ids import new_exchange
from isthmus.names import ConsentName
from isthmus.pki import Credentials, file_stem, load_credentials
from isthmus.subjects import SubjectTokens
from isthmus.v1.consent_service_pb2 import Consent
from tests.integration.exchange_parties import GATEWAY, OTHER_SYSTEM, PORTAL, SYSTEM, now
from tests.integration.exchange_world import World

ROOT = Path(__file__).resolve().parents[2]
SHARES = 4
"""Of the consents; each of two withdrawers ends two of them."""


@dataclass(frozen=True)
class Course:
    """What every process of a race knows; `residents[n]` gave `consents[n]`."""

    folder: Path
    config: Config
    residents: Sequence[str]
    consents: Sequence[str]
    systems: Sequence[Identity] = (SYSTEM, OTHER_SYSTEM)

    @classmethod
    def read(cls, folder: Path) -> Course:
        course: Course = pickle.loads((folder / "course").read_bytes())
        return course

    def write(self) -> None:
        for identity in (GATEWAY, PORTAL, *self.systems):
            assert (self.folder / "pki" / f"{file_stem(identity)}.pem").exists()
        (self.folder / "course").write_bytes(pickle.dumps(self))
        (self.folder / "frontier").write_bytes(bytes(8 * SHARES))

    def credentials(self, identity: Identity) -> Credentials:
        pki, stem = self.folder / "pki", file_stem(identity)
        return load_credentials(pki / f"{stem}.pem", pki / f"{stem}.key", pki / "ca.pem")

    def share(self, number: int) -> Sequence[int]:
        """The people whose consents end one after the other, in order."""
        return range(number, len(self.consents), SHARES)

    @contextmanager
    def frontier(self) -> Iterator[memoryview]:
        """How far each share has come, in memory that the processes share."""
        with (self.folder / "frontier").open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            view = memoryview(shared).cast("Q")
            yield view
            view.release()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where the system has one: a race is about order, and ten thousand syncs only slow it down."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def run(folder: Path, *parties: tuple[str, int], timeout: float) -> list[Counter[str]]:
    """Runs a process for each `(role, number)`, all at once; returns how the calls of each ended."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.race_worker", str(folder), role, str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for role, number in parties
    ]
    try:
        said = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * len(started)
    return [Counter(json.loads(each)) for each in said]


def populate(world: World, consent: Consent, count: int) -> Course:
    """Gives so many people a row in the registry and a recorded consent like `consent`."""
    residents = [f"11010119910{number:07d}" for number in range(count)]
    with sqlite3.connect(world.folder / "people.db") as connection:
        rows = [(each, "居民", 1000, "上海", "不外传") for each in residents]
        connection.executemany("INSERT INTO 人口 VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    names = [str(ConsentName.new()) for _ in residents]
    tokens = SubjectTokens({1: b"\x11" * 32}, current=1)
    ledger = open_ledger(world.config, clock=now)
    record = AccessRecord(
        exchange=str(new_exchange(now())),
        kind=Kind.CONTROL,
        contract=consent.contract,
        action="GrantConsent",
        change={"event": "GRANTED"},
    )
    persons = [tokens.token("cn.resident-id", each) for each in residents]

    def seed(transaction: Transaction) -> None:
        given = zip(names, persons, strict=True)
        positions = [
            transaction.append(replace(record, resource=name, subject_token=token)) for name, token in given
        ]
        connection = transaction.connection
        like = connection.execute(sa.select(consents).where(consents.c.name == consent.name)).mappings().one()
        connection.execute(
            consents.insert(),
            [
                {
                    **like,
                    "name": name,
                    "subject_token": token,
                    "position": position,
                }
                for name, token, position in zip(names, persons, positions, strict=True)
            ],
        )

    ledger.transact(seed, deadline_s=60)
    ledger.close()
    for identity in (PORTAL, SYSTEM, OTHER_SYSTEM):
        world.credentials(identity)
    course = Course(world.folder, world.config, residents, names)
    course.write()
    return course
