"""A document in articles and clauses, for a terminal and for a pipe. Pure.

Texts come from other departments. They are cleaned where a clause is made, so no text can pass for another line, and on
a terminal they travel as `Text`, so none is markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from isthmus.cli.output import clean

if TYPE_CHECKING:
    from rich.console import Group

NOTHING: Final = "none (无)"


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that is laid down: a label and its values, at least one."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """Clauses under one heading."""

    title: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A title, what the document is of, a warning (empty for none), and the articles."""

    title: str
    name: str
    warning: str
    articles: tuple[Article, ...]


def clause(label: str, values: Iterable[str], *, empty: str = NOTHING) -> Clause:
    """Returns a clause of cleaned texts; `empty` stands for no value."""
    return Clause(clean(label), tuple(map(clean, values)) or (empty,))


def document_lines(document: Document) -> Iterator[str]:
    """Yields the lines of a document as other programs, files and printers take it."""
    yield from (document.title, document.name)
    if document.warning:
        yield from ("", f"WARNING (警告): {document.warning}")
    for number, article in enumerate(document.articles, 1):
        yield from ("", f"Article {number} (第{number}条)  {article.title}")
        for clause in article.clauses:
            if len(clause.values) == 1:
                yield f"  {clause.label}: {clause.values[0]}"
            else:
                yield f"  {clause.label}:"
                yield from (f"    - {value}" for value in clause.values)


def document_renderable(document: Document) -> Group:
    """Returns a document for a terminal, wrapped to its width."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [
        Text(document.title, style="bold", justify="center"),
        Text(document.name, justify="center"),
    ]
    if document.warning:
        parts += [Text(), Text(f"WARNING (警告): {document.warning}", style="bold red")]
    for number, article in enumerate(document.articles, 1):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(ratio=2, overflow="fold")
        for clause in article.clauses:
            for place, value in enumerate(clause.values):
                grid.add_row(Text("" if place else clause.label), Text(value))
        heading = Text(f"Article {number} (第{number}条)  {article.title}", style="bold")
        parts += [Text(), heading, Padding(grid, (0, 0, 0, 2))]
    return Group(*parts)
