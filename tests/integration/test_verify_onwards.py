"""Verification that goes on where it ended, and in several processes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.merkle import hash_leaf
from audit.tlog.tiles import Bundle, Tile, encode_bundle
from audit.tlog.tree import Edge
from audit.verifier import ledger as ledger_verifier
from audit.verifier import tiles as tiles_verifier
from audit.verifier.careful import Careful
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from audit.verifier.result import Verified
from audit.verifier.state import StateError
from audit.verifier.tiles import verify_tiles
from audit.verifier.workers import in_order
from isthmus.cli.main import app
from tests.integration.verify_world import exported, failures, grow
from tests.unit.audit.ledger_world import (
    KEY,
    OTHER_KEY,
    START,
    append,
    control,
    decision,
    denial,
    failure,
    ledger_in,
    signatures,
)

pytestmark = pytest.mark.integration

Verify = Callable[..., Verified]
CONTRACT = decision().contract


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_verifier, "_CHUNK_RECORDS", 32)
    monkeypatch.setattr(tiles_verifier, "_TILES_AT_ONCE", 1)


@pytest.fixture(params=["ledger", "tiles"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    """Verifies the ledger in a directory, or what is exported of it."""

    def ledger(directory: Path, **options: Any) -> Verified:
        return verify_ledger(str(directory / "ledger.db"), KEY.verifier, **options)

    def tiles(directory: Path, **options: Any) -> Verified:
        return verify_tiles(str(exported(directory)), KEY.verifier, **options)

    return ledger if request.param == "ledger" else tiles


def test_the_next_run_reads_only_what_is_new(tmp_path: Path, verify: Verify) -> None:
    state = tmp_path / "state"
    grow(tmp_path, failures(250), failures(50))
    assert (verify(tmp_path, state=state).begin, verify(tmp_path, state=state).begin) == (0, 300)
    grow(tmp_path, failures(40), failures(400))
    seen: list[tuple[int, int]] = []
    found = verify(tmp_path, state=state, progress=lambda *done: seen.append(done))
    assert (found.begin, found.size, seen[-1]) == (300, 740, (740, 740))


def test_what_was_closed_before_stays_closed(tmp_path: Path, verify: Verify) -> None:
    state = tmp_path / "state"
    grow(tmp_path, list(signatures()), [decision()], [control("SuspendContract", CONTRACT)])
    verify(tmp_path, state=state)
    grow(tmp_path, failures(3), [decision()])
    with pytest.raises(Damaged, match="SuspendContract") as caught:
        verify(tmp_path, state=state)
    assert (caught.value.kind, caught.value.where) == (DamageKind.RULE, "record 7")


def test_a_decision_of_an_earlier_run_is_not_taken_twice(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = failure()
    grow(tmp_path, [first])
    verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier, state=state)
    with ledger_in(tmp_path) as ledger:
        ledger.transact(lambda tx: tx.connection.exec_driver_sql("DROP INDEX records_one_decision").rowcount)
        append(ledger, failure(), failure(exchange=first.exchange))
    with pytest.raises(Damaged, match=f"{first.exchange} was decided before, in record 0") as caught:
        verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier, state=state)
    assert caught.value.where == "record 2"


def test_a_run_that_finds_damage_leaves_the_state_as_it_was(tmp_path: Path, verify: Verify) -> None:
    state = tmp_path / "state"
    grow(tmp_path, list(signatures()), failures(2))
    verify(tmp_path, state=state)
    before = state.read_bytes()
    grow(tmp_path, failures(300), [decision(contract="contracts/unsigned@1")])
    with pytest.raises(Damaged):
        verify(tmp_path, state=state)
    assert state.read_bytes() == before


def test_a_first_run_that_finds_damage_leaves_no_state(tmp_path: Path, verify: Verify) -> None:
    grow(tmp_path, [decision()])
    with pytest.raises(Damaged):
        verify(tmp_path, state=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_log_that_was_rolled_back_is_named_so(tmp_path: Path, verify: Verify) -> None:
    state, log, old = tmp_path / "state", tmp_path / "log", tmp_path / "old"
    log.mkdir()
    grow(log, failures(300))
    shutil.copytree(log, old)
    grow(log, failures(5))
    newest = verify(log, state=state).checkpoint.encode()
    for options in ({"state": state}, {"known": newest}):
        with pytest.raises(Damaged) as caught:
            verify(old, **options)
        assert (caught.value.kind, caught.value.where) == (DamageKind.ROLLBACK, "checkpoint 305")


@pytest.mark.parametrize("more", [0, 7, 300])
def test_a_log_that_was_forked_is_named_so(tmp_path: Path, verify: Verify, more: int) -> None:
    state, log, other = tmp_path / "state", tmp_path / "log", tmp_path / "other"
    log.mkdir()
    grow(log, failures(290))
    shutil.copytree(log, other)
    grow(log, failures(10))
    grow(other, failures(10), *([failures(more)] if more else []))
    signed = verify(log, state=state).checkpoint.encode()
    for options in ({"state": state}, {"known": signed}):
        with pytest.raises(Damaged) as caught:
            verify(other, **options)
        assert (caught.value.kind, caught.value.where) == (DamageKind.FORK, "checkpoint 300")


def test_a_state_of_another_log_kind_or_form_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ledger = str(tmp_path / "ledger.db")
    grow(tmp_path, failures(3))
    verify_ledger(ledger, KEY.verifier, state=state)
    with pytest.raises(StateError, match="another state file"):
        verify_tiles(str(exported(tmp_path)), KEY.verifier, state=state)
    (tmp_path / "other").mkdir()
    with ledger_in(tmp_path / "other", key=OTHER_KEY) as other:
        append(other, failure())
    with pytest.raises(StateError, match="log_key"):
        verify_ledger(str(tmp_path / "other" / "ledger.db"), OTHER_KEY.verifier, state=state)
    with pytest.raises(StateError, match="no state file"):
        verify_ledger(ledger, KEY.verifier, state=tmp_path / "other" / "ledger.db")
    (tmp_path / "text").write_text("何か" * 1000)
    with pytest.raises(StateError):
        verify_ledger(ledger, KEY.verifier, state=tmp_path / "text")
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked"):
            verify_ledger(ledger, KEY.verifier, state=state)
        connection.execute("ROLLBACK")
        connection.execute("UPDATE edge SET data = zeroblob(length(data))")
    with pytest.raises(StateError, match="does not belong together"):
        verify_ledger(ledger, KEY.verifier, state=state)


GONE = [
    ("DELETE FROM records WHERE idx = 0", DamageKind.RECORD, "record 0"),
    ("DELETE FROM records WHERE idx = 17", DamageKind.RECORD, "record 17"),
    ("DELETE FROM records WHERE idx = 299", DamageKind.RECORD, "record 299"),
    ("DELETE FROM checkpoints WHERE size = 100", DamageKind.CHECKPOINT, "records 0 to 299"),
    ("DELETE FROM record_reasons WHERE idx = 1", DamageKind.REASON, "records 0 to 299"),
    ("DELETE FROM tiles WHERE level = 0 AND idx = 0", DamageKind.TILE, "tile 0/0"),
]


@pytest.mark.parametrize("more", [0, 300])
@pytest.mark.parametrize(("statement", "kind", "where"), GONE)
def test_what_is_gone_since_an_earlier_run_is_missed(
    tmp_path: Path, statement: str, kind: DamageKind, where: str, more: int
) -> None:
    state, ledger = tmp_path / "state", tmp_path / "ledger.db"
    grow(tmp_path, [failure(), denial("NO_CONTRACT")], failures(98), failures(200))
    verify_ledger(str(ledger), KEY.verifier, state=state)
    if more:
        grow(tmp_path, failures(more))
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(ledger), KEY.verifier, state=state)
    assert (caught.value.kind, caught.value.where) == (kind, where)


def test_the_state_that_older_rules_left_is_not_gone_on_from(tmp_path: Path) -> None:
    state, ledger = tmp_path / "state", str(tmp_path / "ledger.db")
    grow(tmp_path, failures(3))
    verify_ledger(ledger, KEY.verifier, state=state)
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("UPDATE state SET value = '1' WHERE key = 'format'")
        connection.commit()
    with pytest.raises(StateError, match="format 1"):
        verify_ledger(ledger, KEY.verifier, state=state)


def test_a_sound_log_is_never_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, list(signatures()), [decision(), *failures(60)], [control("SuspendContract", CONTRACT)])
    monkeypatch.setattr(Careful, "run", lambda *_: pytest.fail("a sound chunk was in doubt"))
    assert verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier).size == 64


def test_the_number_of_processes_changes_no_answer(
    tmp_path: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ledger_verifier, tiles_verifier):
        monkeypatch.setattr(module, "_ALONE", 0)
    # The second decision of a contract that nobody signed comes before other damage, which is found sooner.
    grow(tmp_path, failures(300), [decision()], failures(300), [decision()], failures(300))
    sound = tmp_path / "sound"
    sound.mkdir()
    grow(sound, failures(300), failures(300))
    for jobs in (1, 2):
        with pytest.raises(Damaged) as caught:
            verify(tmp_path, jobs=jobs)
        assert (caught.value.kind, caught.value.where) == (DamageKind.UNFOUNDED, "record 300")
        assert verify(sound, jobs=jobs).size == 600


def tasks() -> Iterator[int]:
    yield from (-1, -2, -3)
    raise LookupError


def test_what_comes_before_a_task_that_cannot_be_made_is_handed_on_first() -> None:
    taken: list[tuple[int, int]] = []
    with pytest.raises(LookupError):
        taken.extend(in_order(abs, tasks(), jobs=2))
    assert taken == [(-1, 1), (-2, 2), (-3, 3)]


def write_tiles(folder: Path, leaves: list[bytes]) -> str:
    """A folder of whatever leaves, signed with the log's key."""
    growth = Edge.empty().append([hash_leaf(leaf) for leaf in leaves])
    bundles = {
        Bundle(at // 256, len(leaves[at : at + 256])): leaves[at : at + 256]
        for at in range(0, len(leaves), 256)
    }
    content = {Tile(*place, len(data) // 32).path: data for place, data in growth.tiles.items()}
    content |= {place.path: encode_bundle(entries) for place, entries in bundles.items()}
    signed = Checkpoint(KEY.verifier.name, len(leaves), growth.root)
    for path, data in {**content, "checkpoint": sign_checkpoint(signed, KEY)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return str(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda at: b"{}", "not a record"),
        (lambda at: failure(at={}).leaf(base=at), "does not say when"),
        (lambda at: failure().leaf(logged=START), "does not say when"),
        (lambda at: failure().leaf(logged=START, base=at - 1), "where no transaction began"),
        (lambda at: failure().leaf(logged=START, base=at + 1), "where no transaction began"),
        (lambda at: failure().leaf(logged=START, base=0), "where no transaction began"),
    ],
)
@pytest.mark.parametrize("at", [256, 300])
def test_an_entry_that_was_signed_and_is_no_record_is_named(
    tmp_path: Path, make: Callable[[int], bytes], words: str, at: int
) -> None:
    leaves = [failure().leaf(logged=START, base=index - index % 2) for index in range(310)]
    assert verify_tiles(write_tiles(tmp_path / "sound", leaves), KEY.verifier).size == 310
    leaves[at] = make(at)
    with pytest.raises(Damaged, match=words) as caught:
        verify_tiles(write_tiles(tmp_path / "false", leaves), KEY.verifier)
    assert (caught.value.kind, caught.value.where) == (DamageKind.CONTENT, f"record {at}")


def run(location: object, directory: Path, *arguments: str) -> Any:
    (directory / "log.pub").write_text(KEY.verifier.encode())
    command = [
        "audit",
        "verify",
        str(location),
        "--vkey",
        str(directory / "log.pub"),
        "--jobs",
        "1",
        *arguments,
    ]
    return CliRunner().invoke(app, command)


def test_the_command_tells_what_it_saw_and_what_it_did_not(tmp_path: Path) -> None:
    grow(tmp_path, failures(300))
    state = str(tmp_path / "state")
    told = json.loads(run(exported(tmp_path), tmp_path, "--state", state, "--json").stdout)
    assert (told["verified"], told["source"], told["records"]) == (True, "ENTRIES", 300)
    again = run(exported(tmp_path), tmp_path, "--state", state)
    assert again.exit_code == 0, again.stderr
    assert "records 0 to 299 were verified by an earlier run" in again.stderr
    hashes = run(exported(tmp_path, entries=False), tmp_path, "--hashes-only")
    assert hashes.exit_code == 0, hashes.stderr
    assert "only hashes and the checkpoint were verified" in hashes.stderr
    (exported(tmp_path) / "checkpoint").unlink()
    (tmp_path / "tiles" / "tile" / "0" / "000").unlink()
    missing = run(tmp_path / "tiles", tmp_path, "--json")
    assert (missing.exit_code, json.loads(missing.stdout)["where"]) == (1, "checkpoint")
    assert run("http://127.0.0.1:1", tmp_path).exit_code == 4
    assert run("ftp://a/b", tmp_path).exit_code == 1
    assert os.path.exists(state)


def test_a_log_without_its_records_does_not_pass_unless_that_is_what_was_asked_for(tmp_path: Path) -> None:
    grow(tmp_path, failures(300))
    folder, state = exported(tmp_path), tmp_path / "state"
    shutil.rmtree(folder / "tile" / "entries")
    refused = run(folder, tmp_path, "--state", str(state))
    assert (refused.exit_code, "--hashes-only" in refused.stderr) == (1, True)
    told = run(folder, tmp_path, "--json")
    assert (told.exit_code, json.loads(told.stdout)["where"]) == (1, "tile/entries")
    assert not state.exists()
    assert run(folder, tmp_path, "--hashes-only").exit_code == 0
