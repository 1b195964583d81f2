"""What commands print: one JSON document, or a table for people, or tab-separated lines for other programs.

Texts come from other departments. Control characters are taken out of them, so that no title can move the cursor
or repaint what a terminal shows.
"""

import base64
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_UNPRINTABLE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="List at most so many.")]


def clean(text: str) -> str:
    """Returns `text` without control and format characters (line breaks and tabs become spaces)."""
    spaced = "".join(" " if char in "\n\r\t" else char for char in text)
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNPRINTABLE)


def document(message: Message) -> dict[str, Any]:
    """Returns a message as JSON members under the names of the proto, defaults included."""
    members: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return members


def print_json(content: Mapping[str, Any]) -> None:
    """Writes one JSON document."""
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2, default=plain))


def plain(value: Any) -> Any:
    """Returns a value of a row as JSON knows it: exact decimals and times as text, bytes in base64."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def cell(value: Any) -> str:
    """Returns a value of a row as people read it; empty for NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value if isinstance(value, str | int | float) else plain(value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table on a terminal, and tab-separated lines under a header line into a pipe."""
    cleaned = [[clean(each) for each in row] for row in rows]
    if not sys.stdout.isatty():
        for line in (headers, *cleaned):
            typer.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, header_style="bold")
    for row in cleaned:
        # Text, not str: brackets in a title are no markup.
        table.add_row(*(Text(each) for each in row))
    Console().print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Writes a name and a value a line; lists a line each; what is empty is left out."""
    shown = {name: value for name, value in facts.items() if value not in (None, "", [], ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        for line in value if isinstance(value, list | tuple) else [value]:
            typer.echo(f"{name:<{width}}  {clean(str(line))}")
