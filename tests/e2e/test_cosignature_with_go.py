"""A checkpoint with a witness's cosignature, opened by the note package behind Go's checksum database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.tlog.note import split_note
from tests.unit.audit.witness_world import LOG, SIGNER, History, leaves

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GO_PATH = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go packages."""
SOURCE = Path(__file__).parent / "go-cosignature"
AT = datetime(2026, 11, 24, 8, 0, 5, tzinfo=UTC)
HISTORY = History(leaves(7))
NOTE = HISTORY.note()

Open = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def opens(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens a note with the program, built here without a network."""
    if shutil.which("go") is None or not (GO_PATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("Go's x/mod is not installed (Debian: apt-get install golang-go golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("go")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOCACHE": str(folder / "cache")}
    program = folder / "go-cosignature"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=SOURCE, env=env, check=True, timeout=200)

    def run(note: bytes, witness: str = SIGNER.verifier.encode()) -> subprocess.CompletedProcess[str]:
        command = [str(program), LOG.verifier.encode(), witness]
        return subprocess.run(
            command, input=note.decode(), capture_output=True, encoding="utf-8", timeout=60, check=False
        )

    return run


def test_go_finds_the_witness_and_its_time(opens: Open) -> None:
    line = SIGNER.cosign(split_note(NOTE)[0], AT).line().encode()
    done = opens(NOTE + line)
    assert done.stdout == f"{SIGNER.verifier.name} {int(AT.timestamp())}\n", done.stderr


def test_go_refuses_what_we_refuse(opens: Open) -> None:
    other = SIGNER.cosign(split_note(HISTORY.note(6))[0], AT).line().encode()
    assert opens(NOTE + other).returncode == 1
    line = SIGNER.cosign(split_note(NOTE)[0], AT).line().encode()
    assert opens(NOTE + line.replace(b"AAA", b"AAB", 1)).returncode == 1
    assert opens(NOTE).returncode == 1
