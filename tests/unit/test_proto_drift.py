"""The committed stubs are what the pinned generators make of proto/, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "proto" / "generate.py"


def run_generator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    done = run_generator("--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_committed_stubs_match_the_contracts() -> None:
    done = run_generator("--check")
    assert done.returncode == 0, f"run `make proto` and commit the result:\n{done.stdout}{done.stderr}"


def test_fresh_stubs_match_themselves(fresh: Path) -> None:
    assert run_generator("--check", "--out", str(fresh)).returncode == 0


def test_an_edited_a_deleted_and_a_left_over_stub_are_each_named(fresh: Path) -> None:
    stubs = fresh / "isthmus" / "vendor" / "buf" / "validate"
    edited = stubs / "validate_pb2.py"
    edited.write_text(edited.read_text("utf-8") + "# by hand\n", "utf-8")
    (stubs / "validate_pb2.pyi").unlink()
    (stubs / "removed_pb2.py").write_text("")

    done = run_generator("--check", "--out", str(fresh))

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "different: isthmus/vendor/buf/validate/validate_pb2.py",
        "missing: isthmus/vendor/buf/validate/validate_pb2.pyi",
        "stale: isthmus/vendor/buf/validate/removed_pb2.py",
    ]


def test_nothing_is_generated_at_a_top_level_that_is_not_ours(fresh: Path) -> None:
    assert [path.name for path in fresh.iterdir()] == ["isthmus"]
