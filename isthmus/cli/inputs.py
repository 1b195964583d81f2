"""What people type and write: subjects, comparisons, catalogue entries and terms."""

import json
import sys
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import typer
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from isthmus.config import ConfigError, read_toml
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import FieldType, Subject

_MAX_LINE: Final = 1024
_OPERATORS: Final = ("!=", "<=", ">=", "=", "<", ">")


def subject(text: str) -> Subject:
    """Reads `SCHEME:ID`; with `-` as the id, one line of standard input, which no process list shows.

    Raises:
        typer.BadParameter: it has another form.
    """
    scheme, colon, identifier = text.partition(":")
    if identifier == "-":
        identifier = sys.stdin.readline(_MAX_LINE).strip()
    if not (scheme and colon and identifier):
        raise typer.BadParameter("give SCHEME:ID, or SCHEME:- and the identifier on standard input")
    return Subject(scheme=scheme, id=identifier)


def comparison(text: str) -> tuple[str, str, str]:
    """Reads `FIELD OPERATOR VALUE`, such as `出生日期<=2008-09-01`, into its parts.

    Raises:
        typer.BadParameter: there is no operator, field or value in it.
    """
    places = [(text.index(sign), -len(sign), sign) for sign in _OPERATORS if sign in text]
    if places:
        position, _, sign = min(places)
        field, value = text[:position].strip(), text[position + len(sign) :].strip()
        if field and value:
            return field, sign, value
    raise typer.BadParameter(f"give FIELD OPERATOR VALUE with one of {' '.join(_OPERATORS)}")


def typed(text: str, kind: FieldType.ValueType) -> Any:
    """Reads a value of a field's type.

    Raises:
        typer.BadParameter: it is none.
    """
    name = FieldType.Name(kind).removeprefix("FIELD_TYPE_").lower()
    readers: dict[str, Any] = {
        "bool": {"true": True, "false": False}.__getitem__,
        "int64": int,
        "double": float,
        "decimal": Decimal,
        "string": str,
        "date": date.fromisoformat,
        "timestamp": datetime.fromisoformat,
    }
    try:
        return readers[name](text)
    except (KeyError, ValueError, InvalidOperation):
        raise typer.BadParameter(f"the field is a {name}, and the value given is none") from None


def read_document(path: Path) -> dict[str, Any]:
    """Reads a TOML or, by its suffix, a JSON file that holds one table.

    Raises:
        ConfigError: it cannot be read or is neither.
    """
    if path.suffix.lower() != ".json":
        return read_toml(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(str(path), "", f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(str(path), "", "must hold one object")
    return found


def dataset_entry(path: Path) -> Dataset:
    """Reads a catalogue entry: the members of the message Dataset, enum values with or without their prefix.

    Raises:
        ConfigError: the file cannot be read, or does not fit the message.
    """
    found = _with_prefixes(read_document(path), Dataset.DESCRIPTOR)
    try:
        return ParseDict(found, Dataset())
    except ParseError as error:
        raise ConfigError(str(path), "", str(error)) from None


def _with_prefixes(value: Any, descriptor: Any) -> Any:
    """Completes `STRING` to `FIELD_TYPE_STRING` wherever the proto expects such an enum."""
    if not isinstance(value, dict):
        return value
    known = descriptor.fields_by_name
    return {name: _member(each, known[name]) if name in known else each for name, each in value.items()}


def _member(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, list):
        return [_member(each, field) for each in value]
    if field.enum_type is not None and isinstance(value, str):
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        return value if value.startswith(prefix) else f"{prefix}{value.upper()}"
    return value if field.message_type is None else _with_prefixes(value, field.message_type)
