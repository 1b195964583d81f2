"""Checks the contracts with buf: lint, formatting, and that no caller of an earlier commit is broken.

    python proto/contracts.py                  compares with the latest tag, or else the previous commit
    python proto/contracts.py --against REF    compares with REF

buf resolves `google/api` and `google/rpc` from its own registry, which a build must not depend on. Each tree is
therefore staged in a temporary folder, with those files lent by the locked `googleapis-common-protos`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.rpc import status_pb2

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"
LENT = Path(status_pb2.__file__).parents[1]
OURS = "proto/isthmus"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Lint the contracts and look for breaking changes.")
    parser.add_argument(
        "--against", help="git ref to compare with (default: latest tag, else previous commit)"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        now = Path(scratch, "now")
        _stage_working_tree(now)
        passed = _buf(now, "lint", "--path", OURS)
        passed &= _buf(now, "format", "--diff", "--exit-code", "--path", OURS)
        passed &= _breaking(now, Path(scratch, "before"), options.against)
    print("contracts: " + ("passed" if passed else "failed"))
    return 0 if passed else 1


def _breaking(now: Path, before: Path, against: str | None) -> bool:
    ref = against or _earlier_ref()
    if ref is None:
        print("breaking: no earlier commit holds contracts; nothing to compare with")
        return True
    print(f"breaking: compared with {ref}")
    _stage_ref(ref, before)
    return _buf(now, "breaking", "--against", str(before))


def _earlier_ref() -> str | None:
    """The newest tag before HEAD, else the commit before HEAD; None in a first commit or a shallow clone."""
    tag = _git("describe", "--tags", "--abbrev=0", "HEAD~1")
    candidates = [tag.strip().decode()] if tag else []
    return next((ref for ref in [*candidates, "HEAD~1"] if _git("ls-tree", ref, f"{OURS}/")), None)


def _stage_working_tree(target: Path) -> None:
    shutil.copytree(ROOT / "proto", target / "proto", ignore=shutil.ignore_patterns("__pycache__"))
    _lend(target)


def _stage_ref(ref: str, target: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", ref, "proto"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        tree.extractall(target, filter="data")
    _lend(target)


def _lend(target: Path) -> None:
    """Adds the files that buf would otherwise fetch, and today's rules: both trees are judged by the same."""
    shutil.copy(ROOT / "buf.yaml", target / "buf.yaml")
    for source in LENT.rglob("*.proto"):
        copy = target / "proto" / "google" / source.relative_to(LENT)
        if copy.parts[len(target.parts) + 2] != "protobuf":
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)


def _buf(cwd: Path, *arguments: str) -> bool:
    return subprocess.run([BUF, *arguments], cwd=cwd, check=False).returncode == 0


def _git(*arguments: str) -> bytes:
    """What git prints, or nothing when it refuses: no repository, no such commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


if __name__ == "__main__":
    sys.exit(main())
