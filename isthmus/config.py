"""Configuration: a TOML file into frozen dataclasses, exactly, or one error that says which key is wrong and why.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Ledger:
        url: str
        commit_timeout_s: float = 5.0

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Config:
        ledger: Ledger

    config = load(Path("gateway.toml"), Config, environ=os.environ)

A key that the dataclass does not have is refused, a missing one without a default too. `ISTHMUS_LEDGER_URL`
overrides `url` in `[ledger]`. Paths are relative to the file; paths in the environment to the working directory.
Secrets are never values here: they are files, named by path.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

MAX_FILE_BYTES: Final = 1 << 20
ENVIRONMENT_PREFIX: Final = "ISTHMUS"

_T = TypeVar("_T")


class ConfigError(ValueError):
    """A configuration cannot be used.

    `source` is the file or the environment variable, `key` the dotted key, empty for the file as a whole.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")
        self.source = source
        self.key = key


def load(path: Path, schema: type[_T], *, environ: Mapping[str, str] | None = None) -> _T:
    """Reads `path` as `schema`.

    Args:
        path: a TOML file of at most 1 MiB.
        schema: a dataclass of str, int, float, bool, Path, date, enums (by value), `X | None`, tuples and
            `dict[str, X]` of those, and further dataclasses, one for each section.
        environ: overrides, such as `os.environ`; none unless given. Only single values and tuples of them
            (separated by commas) can be overridden.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or does not fit; or `schema.__post_init__` raised
            ValueError.
    """
    document = read_toml(path)
    place = _Place(str(path), path.parent, "", environ or {})
    return typing.cast(_T, _section(document, schema, place))


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file of at most 1 MiB.

    Raises:
        ConfigError: it cannot be read or is no TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror or 'unknown error'}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(str(path), "", f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(str(path), "", "is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "", f"is not TOML: {error}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: the file, the folder its paths start from, its key, and the environment."""

    source: str
    base: Path
    key: str
    environ: Mapping[str, str]

    def inner(self, name: str) -> "_Place":
        return dataclasses.replace(self, key=f"{self.key}.{name}" if self.key else name)

    @property
    def variable(self) -> str:
        parts = (ENVIRONMENT_PREFIX, *self.key.replace("-", "_").split("."))
        return "_".join(parts).upper()

    def error(self, problem: str) -> ConfigError:
        return ConfigError(self.source, self.key, problem)


def _section(document: object, schema: Any, place: _Place) -> Any:
    if not isinstance(document, dict):
        raise place.error(f"must be a table, not {_kind(document)}")
    hints = typing.get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
    _refuse_unknown(document, list(fields), place)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        found, value = _field(document, name, hints[name], place.inner(name))
        if found:
            values[name] = value
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise place.inner(name).error(f"is missing; set it here or as {place.inner(name).variable}")
    try:
        return schema(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise place.error(str(error)) from error


def _refuse_unknown(document: Mapping[str, Any], known: list[str], place: _Place) -> None:
    for name in document:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise place.inner(name).error(f"is not known; {hint}")


def _field(document: Mapping[str, Any], name: str, hint: Any, place: _Place) -> tuple[bool, Any]:
    text = place.environ.get(place.variable)
    if text is not None and _is_scalar(hint):
        from_environment = _Place(place.variable, Path(), "", {})
        return True, _convert(_from_text(text, hint, from_environment), hint, from_environment)
    if name in document:
        return True, _convert(document[name], hint, place)
    section = _optional(hint)
    if dataclasses.is_dataclass(section) and _can_begin(section, place):
        return True, _convert({}, section, place)
    return False, None


def _can_begin(section: Any, place: _Place) -> bool:
    """Whether a section that the file leaves out is set in the environment."""
    return any(place.inner(field.name).variable in place.environ for field in dataclasses.fields(section))


def _optional(hint: Any) -> Any:
    """Returns X for `X | None`, and any other hint unchanged."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [each for each in typing.get_args(hint) if each is not type(None)]
        return members[0] if len(members) == 1 else hint
    return hint


def _is_scalar(hint: Any) -> bool:
    hint = _optional(hint)
    if typing.get_origin(hint) is tuple:
        return _is_scalar(typing.get_args(hint)[0])
    return isinstance(hint, type) and (hint in (str, int, float, bool, Path, date) or issubclass(hint, Enum))


def _from_text(text: str, hint: Any, place: _Place) -> Any:
    hint = _optional(hint)
    if typing.get_origin(hint) is tuple:
        member = typing.get_args(hint)[0]
        return [_from_text(part.strip(), member, place) for part in text.split(",") if part.strip()]
    try:
        if hint is bool:
            return {"true": True, "false": False}[text.lower()]
        return hint(text) if hint in (int, float) else date.fromisoformat(text) if hint is date else text
    except (KeyError, ValueError):
        raise place.error(f"must be {_NAMES[hint]}") from None


_NAMES: Final = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    date: "a date such as 2026-11-01",
}


def _convert(value: object, hint: Any, place: _Place) -> Any:
    hint = _optional(hint)
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _section(value, hint, place)
    if origin is tuple:
        return _tuple(value, typing.get_args(hint)[0], place)
    if origin is dict:
        return _table(value, typing.get_args(hint)[1], place)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(value, hint, place)
    return _scalar(value, hint, place)


def _tuple(value: object, member: Any, place: _Place) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise place.error(f"must be a list, not {_kind(value)}")
    return tuple(_convert(each, member, place.inner(str(index))) for index, each in enumerate(value))


def _table(value: object, member: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"must be a table, not {_kind(value)}")
    return {name: _convert(each, member, place.inner(name)) for name, each in value.items()}


def _enum(value: object, hint: type[Enum], place: _Place) -> Enum:
    for each in hint:
        if each.value == value:
            return each
    raise place.error(f"must be one of {', '.join(str(each.value) for each in hint)}")


def _scalar(value: object, hint: Any, place: _Place) -> Any:
    if hint is Path and isinstance(value, str) and value:
        return place.base / Path(value).expanduser()
    if hint is float and type(value) is int:
        return float(value)
    # type(), not isinstance(): true is an int to Python, and a moment is a date.
    if hint is Any or (type(value) is hint and hint in _NAMES):
        return value
    if hint not in _NAMES:
        raise TypeError(f"{place.key}: a configuration cannot hold {hint}")
    raise place.error(f"must be {_NAMES[hint]}, not {_kind(value)}")


def _kind(value: object) -> str:
    """Names a value's type without repeating the value, which may be a secret put in the wrong place."""
    kinds = {dict: "a table", list: "a list", **_NAMES}
    return kinds.get(type(value), "another type") if value != "" else "empty text"
