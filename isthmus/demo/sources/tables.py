"""CSV files of the demonstration's sources: reading keys out of them, and writing invented ones."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from isthmus.demo.errors import DemoError


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header, every value as text."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def keys(path: Path, column: str, canonical: Callable[[str], str] = str.strip) -> set[str]:
    """The identifiers in a column, in canonical form; empty ones and NONE are left out."""
    found = {canonical(row[column]) for row in rows(path)}
    return {key for key in found if key and key.upper() not in ("NONE", "NULL")}


def pick(candidates: set[str], what: str) -> str:
    """The smallest of the candidates. Raises DemoError when there is none; `what` says what was looked for."""
    if not candidates:
        raise DemoError(f"the data hold no {what}, so this story cannot be told; use the complete data set")
    return min(candidates)


def write(path: Path, content: Sequence[Mapping[str, str]]) -> Path:
    """Writes rows of the same columns as a CSV file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def manifest(source: str, department: str) -> str:
    """The manifest that belongs to the demonstration's source, as its developer wrote it."""
    file = resources.files("isthmus.demo.sources") / source / f"{department}.toml"
    return file.read_text(encoding="utf-8")
