"""What must not be in the repository: a machine's own paths, a registry's address, oversized files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 350
HAND_WRITTEN = {
    ".py",
    ".pyi",
    ".proto",
    ".sh",
    ".sql",
    ".toml",
    ".yaml",
    ".yml",
    ".js",
    ".css",
    ".html",
    ".cedar",
}
BINARY = {".png", ".ico", ".gz", ".woff2", ".parquet", ".db"}
VENDORED = ("proto/buf/", "isthmus/vendor/")

# Spelt with a gap, so that this file does not find itself.
REGISTRIES = re.compile(
    r"""  pypi\.(?:or)g | python(?:hosted)\.org | registry\.(?:npm)js | npm(?:mirror)\.com
        | crates\.(?:i)o | proxy\.(?:go)lang | mirrors?\.[a-z0-9.-]+\.(?:cn|com|org)
        | --(?:extra-)?index-(?:u)rl | --find-(?:l)inks | --trusted-(?:h)ost
    """,
    re.VERBOSE,
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/$}-])/(?:work|root|farm|home/\w+|Users/\w+)/(?=\w|\.)")


def repository_files() -> list[PurePosixPath]:
    """Every file that is committed or about to be."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode("utf-8")
    names = (PurePosixPath(name) for name in listed.split("\0") if name)
    return [name for name in names if (ROOT / name).is_file()]


def is_generated(name: PurePosixPath) -> bool:
    return bool(re.search(r"_pb2(_grpc)?\.pyi?$", name.name)) or name.parts[0] == "requirements"


def is_vendored(name: PurePosixPath) -> bool:
    return str(name).startswith(VENDORED)


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in repository_files()
        if name.suffix not in BINARY and not is_vendored(name)
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    assert lines_matching(REGISTRIES) == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    assert lines_matching(MACHINE_PATHS) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRIES, "https://files.python" + "hosted.org/x.whl"),
        (REGISTRIES, "https://py" + "pi.org/simple"),
        (REGISTRIES, "--index" + "-url https://example.test"),
        (REGISTRIES, "--find" + "-links ./wheels"),
        (MACHINE_PATHS, "see /" + "work/main/audit"),
        (MACHINE_PATHS, "'/" + "root/.cache'"),
    ],
)
def test_the_searches_find_what_they_are_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize(
    "text", ["https://example.test/work/x", "spiffe://t/root/a", "${HOME}/root/x", "a/work/b"]
)
def test_a_path_inside_an_address_is_not_a_machine_path(text: str) -> None:
    assert not MACHINE_PATHS.search(text)


def test_no_test_folder_is_a_package() -> None:
    """`tests/gateway/__init__.py` would shadow the package `gateway`."""
    names = repository_files()
    assert [str(name) for name in names if name.parts[0] == "tests" and name.name == "__init__.py"] == []


def test_proto_is_not_a_package() -> None:
    """As a package it would shadow `import proto` of another library."""
    assert not (ROOT / "proto" / "__init__.py").exists()


def test_no_hand_written_file_is_too_long_to_read() -> None:
    counted = {
        str(name): len((ROOT / name).read_text("utf-8").splitlines())
        for name in repository_files()
        # One file a service is the rule for contracts, however long its comments make it.
        if name.suffix in HAND_WRITTEN - {".proto"} and not is_generated(name) and not is_vendored(name)
    }
    assert {name: lines for name, lines in counted.items() if lines > MAX_LINES} == {}
