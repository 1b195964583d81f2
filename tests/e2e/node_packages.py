"""Programs in Node.js with their locked packages, installed outside the repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def install(source: Path, program: str, factory: pytest.TempPathFactory) -> Path:
    """A folder with `program` of `source` and its packages; skips the test where there is no Node.js."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed (Debian: apt-get install nodejs npm)")
    folder = factory.mktemp(source.name)
    for file in ("package.json", "package-lock.json", program):
        shutil.copy(source / file, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=110)
    return folder
