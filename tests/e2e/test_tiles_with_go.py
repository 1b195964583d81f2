"""The log, checked by the packages behind Go's checksum database (`golang.org/x/mod/sumdb`)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.tlog.merkle import hash_leaf
from tests.e2e.log_for_peers import PublishedLog, Receipt, flip, publish
from tests.unit.audit.ledger_world import KEY, OTHER_KEY
from tests.unit.audit.rfc6962_vectors import INCLUSION, LEAVES, ROOTS
from tests.unit.audit.tiles_world import SPECIFIED, export, write_ledger

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GO_PATH = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go packages."""
SOURCE = Path(__file__).parent / "go-tlog"
VKEY = KEY.verifier.encode()

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the program, built here without a network, for its opinion on some checks."""
    if shutil.which("go") is None or not (GO_PATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go's x/mod is not installed (Debian: apt-get install golang-go golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("go")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOCACHE": str(folder / "cache")}
    program = folder / "go-tlog"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=SOURCE, env=env, check=True, timeout=200)

    def ask(*checks: dict[str, Any]) -> list[dict[str, Any]]:
        text = json.dumps([{"Vkey": VKEY, **check} for check in checks])
        done = subprocess.run(
            [str(program)], input=text, capture_output=True, encoding="utf-8", timeout=100, check=True
        )
        results: list[dict[str, Any]] = json.loads(done.stdout)
        return results

    return ask


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PublishedLog:
    return publish(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files of a log of 70,000 entries, the specification's example."""
    folder = tmp_path_factory.mktemp("big")
    write_ledger(folder / "ledger.db", SPECIFIED)
    export(folder / "ledger.db", folder / "out")
    return folder / "out"


def directory(folder: Path, *, entries: bool = True, **changes: Any) -> dict[str, Any]:
    """The check of a whole folder."""
    note = (folder / "checkpoint").read_text(encoding="utf-8")
    return {"Op": "directory", "Note": note, "Dir": str(folder), "Entries": entries, **changes}


def receipt(found: Receipt, **changes: Any) -> dict[str, Any]:
    """The check of a receipt."""
    return {
        "Op": "receipt",
        "Receipt": found.text,
        "Entry": base64.b64encode(found.entry).decode(),
        **changes,
    }


def test_go_agrees_with_the_published_vectors(go: Ask) -> None:
    """So what it says below is worth something."""
    checks: list[dict[str, Any]] = [
        {
            "Op": "vector",
            "Index": index,
            "Size": size,
            "Root": base64.b64encode(ROOTS[size - 1]).decode(),
            "Leaf": base64.b64encode(hash_leaf(LEAVES[index])).decode(),
            "Proof": [base64.b64encode(bytes.fromhex(each)).decode() for each in proof],
        }
        for index, size, proof in INCLUSION
    ]
    assert all("root" in result for result in go(*checks))
    wrong = [{**check, "Leaf": flip(check["Leaf"])} for check in checks]
    assert all("refused" in result for result in go(*wrong))


def test_go_verifies_the_whole_log_of_a_service(go: Ask, log: PublishedLog) -> None:
    size, root = log.note.split("\n")[1:3]
    for result in go({"Op": "checkpoint", "Note": log.note}, directory(log.folder)):
        assert result == {"size": int(size), "root": root}


def test_go_verifies_every_tile_and_entry_of_70000(go: Ask, big: Path) -> None:
    (result,) = go(directory(big))
    assert result["size"] == SPECIFIED


def test_go_verifies_the_receipts_of_the_service(go: Ask, log: PublishedLog) -> None:
    for result in go(*(receipt(each) for each in log.receipts)):
        assert result["size"] >= 1010


def test_go_verifies_that_the_log_only_grew(go: Ask, log: PublishedLog) -> None:
    same = {"Op": "consistency", "Note": log.note, "Old": log.old_note}
    by_service, by_tiles = go({**same, "Proof": log.consistency}, {**same, "Dir": str(log.folder)})
    assert by_service == by_tiles
    assert by_service["size"] == int(log.note.split("\n")[1])


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("checkpoint", 3),
        ("checkpoint", -9),
        ("tile/0/000", 0),
        ("tile/0/137", 4096),
        ("tile/0/273.p/112", 111 * 32),
        ("tile/1/000", 137 * 32),
        ("tile/1/001.p/17", 16 * 32 + 31),
        ("tile/2/000.p/1", 5),
        ("tile/entries/000", 30),
        ("tile/entries/200", 0),
        ("tile/entries/273.p/112", -1),
    ],
)
def test_go_refuses_a_single_changed_byte(go: Ask, big: Path, path: str, at: int) -> None:
    file = big / path
    sound = file.read_bytes()
    try:
        changed = bytearray(sound)
        changed[at] ^= 1
        file.write_bytes(changed)
        note = (big / "checkpoint").read_bytes().decode("utf-8", "replace")
        (result,) = go(directory(big, Note=note))
        assert "refused" in result
    finally:
        file.write_bytes(sound)


@pytest.mark.parametrize("path", ["tile/0/005", "tile/1/000", "tile/2/000.p/1", "tile/entries/273.p/112"])
def test_go_refuses_what_is_cut_short_or_missing(go: Ask, big: Path, path: str) -> None:
    file = big / path
    sound = file.read_bytes()
    try:
        file.write_bytes(sound[:-7])
        assert "refused" in go(directory(big))[0]
        file.unlink()
        assert "refused" in go(directory(big))[0]
    finally:
        file.write_bytes(sound)


def test_go_refuses_swapped_entries_and_the_checkpoint_of_another_key(go: Ask, big: Path) -> None:
    one, other = big / "tile/entries/001", big / "tile/entries/002"
    first, second = one.read_bytes(), other.read_bytes()
    try:
        one.write_bytes(second)
        other.write_bytes(first)
        assert "refused" in go(directory(big))[0]
    finally:
        one.write_bytes(first)
        other.write_bytes(second)
    assert "refused" in go(directory(big, Vkey=OTHER_KEY.verifier.encode()))[0]


def test_go_refuses_receipts_that_were_tampered_with(go: Ask, log: PublishedLog) -> None:
    for found in log.receipts:
        tampered = [
            found.changed(1, f"index {int(found.head[1].split()[1]) + 1}"),
            found.changed(2, flip(found.head[2])),
            found.changed(len(found.head) - 1, flip(found.head[-1])),
            Receipt(found.text, found.entry + b" "),
            Receipt("\n".join(found.head[:-1]) + "\n\n" + found.checkpoint, found.entry),
            Receipt("\n".join(found.head) + "\n\n" + log.note, found.entry),
        ]
        checks = [*(receipt(each) for each in tampered), receipt(found, Vkey=OTHER_KEY.verifier.encode())]
        results = go(*checks)
        assert ["refused" in result for result in results] == [True] * len(checks)


def test_go_refuses_a_log_that_was_rewritten(go: Ask, log: PublishedLog, tmp_path: Path) -> None:
    write_ledger(tmp_path / "forked.db", 1500)
    export(tmp_path / "forked.db", tmp_path / "out")
    forked = (tmp_path / "out" / "checkpoint").read_text(encoding="utf-8")
    assert "size" in go(directory(tmp_path / "out"))[0], "sound in itself, and another history"
    checks = [
        {"Op": "consistency", "Old": log.old_note, "Note": forked, "Dir": str(tmp_path / "out")},
        {"Op": "consistency", "Old": log.old_note, "Note": forked, "Proof": log.consistency},
        {"Op": "consistency", "Old": log.note, "Note": log.old_note, "Proof": log.consistency},
    ]
    for proof in (log.consistency[:-1], (flip(log.consistency[0]), *log.consistency[1:])):
        checks.append({"Op": "consistency", "Old": log.old_note, "Note": log.note, "Proof": proof})
    assert ["refused" in result for result in go(*checks)] == [True] * len(checks)
