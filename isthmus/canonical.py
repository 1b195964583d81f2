"""Canonical JSON (RFC 8785, JCS): one value, one sequence of bytes, so that it can be hashed and signed.

Isthmus signs no floating point number: amounts travel as decimal text, so two languages can never
disagree about the last digit. Everything else of RFC 8785 holds byte for byte.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, TypeGuard

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer every JSON implementation reads back unchanged (RFC 8785 section 3.2.2.3)."""

MAX_DEPTH: Final = 32
"""How many objects and arrays may be nested."""

MAX_BYTES: Final = 1 << 20
"""How large a document is read unless the caller says otherwise: 1 MiB."""

_PATH_KEY_CHARACTERS: Final = 64

# The C encoder escapes exactly what RFC 8785 section 3.2.2.2 escapes once ASCII output is off. It sorts by
# code point, which is the order of UTF-16 code units as long as no key leaves the basic plane.
_SORTING = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_KEEPING_ORDER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=False, separators=(",", ":")
)

_Path = tuple["_Path | None", str | int]
_Container = dict[Any, object] | list[object] | tuple[object, ...]


class CanonicalError(ValueError):
    """A value or document has no canonical form, or is not in it. The message names the place."""


def canonical_json(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Returns the RFC 8785 form of `value`, UTF-8.

    Args:
        value: str, int, bool, None, list, tuple, or dict with str keys, nested in any way.
        max_depth: how many containers may be nested; a cycle meets this bound too.

    Raises:
        TypeError: a float, a key that is not a str, or another type; the message names the path.
        CanonicalError: an integer beyond 2^53 - 1, a lone surrogate, or too much nesting.
    """
    if _check(value, max_depth):
        value, encoder = _in_utf16_order(value), _KEEPING_ORDER
    else:
        encoder = _SORTING
    return encoder.encode(value).encode("utf-8")


def parse_json(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Reads one JSON document strictly, whatever its layout.

    Args:
        data: UTF-8 without a byte order mark.
        max_bytes: the largest document read, in bytes.
        max_depth: how many containers may be nested.

    Raises:
        CanonicalError: too large, too deep, not UTF-8, not JSON, a name used twice in one object, a number
            that is not an integer of at most 53 bits (NaN and Infinity included), or a lone surrogate.
    """
    value = _load(data, max_bytes=max_bytes, max_depth=max_depth)
    _check(value, max_depth)
    return value


def parse_canonical(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Reads a document that must be in its own canonical form.

    Args and errors are those of `parse_json`; a document that is well formed but laid out differently from
    what `canonical_json` returns for its value (spaces, key order, escapes, `-0`) is refused as well.
    """
    value = _load(data, max_bytes=max_bytes, max_depth=max_depth)
    if canonical_json(value, max_depth=max_depth) != data:
        raise CanonicalError("the document is not in canonical form (RFC 8785)")
    return value


def sha256_hex(data: bytes) -> str:
    """Returns the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _load(data: bytes, *, max_bytes: int, max_depth: int) -> Any:
    """Reads names and numbers strictly; depth and text are left to `_check`."""
    if len(data) > max_bytes:
        raise CanonicalError(f"the document has {len(data)} bytes; at most {max_bytes} are read")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_of_unique_names,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except CanonicalError:
        raise
    except UnicodeDecodeError as error:
        raise CanonicalError(f"the document is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise CanonicalError(f"the document is not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise CanonicalError(f"the document nests deeper than {max_depth}") from None
    except ValueError:
        # int() itself refuses thousands of digits.
        raise CanonicalError("the document holds an integer of more than 53 bits") from None


def _check(value: object, max_depth: int) -> bool:
    """Refuses what has no canonical form; returns whether a key needs UTF-16 ordering."""
    beyond_basic_plane = False
    todo: list[tuple[_Container, _Path | None, int]] = []
    if _is_container(value, None):
        todo.append((value, None, 1))
    while todo:
        container, path, depth = todo.pop()
        if depth > max_depth:
            raise CanonicalError(f"{_render(path)} nests deeper than {max_depth}")
        members: Iterable[tuple[Any, object]]
        if isinstance(container, dict):
            members = container.items()
            beyond_basic_plane = _check_keys(container, path) or beyond_basic_plane
        else:
            members = enumerate(container)
        for key, member in members:
            # The common leaf first: ASCII text needs no further look.
            if type(member) is str and member.isascii():
                continue
            if _is_container(member, (path, key)):
                todo.append((member, (path, key), depth + 1))
    return beyond_basic_plane


def _check_keys(container: dict[Any, object], path: _Path | None) -> bool:
    beyond_basic_plane = False
    for key in container:
        if not isinstance(key, str):
            raise TypeError(f"{_render(path)} has a key of type {type(key).__name__}; keys must be str")
        if not key.isascii():
            _refuse_surrogates(key, path, "a key of ")
            beyond_basic_plane = beyond_basic_plane or max(key) > "\uffff"
    return beyond_basic_plane


def _is_container(value: object, path: _Path | None) -> TypeGuard[_Container]:
    if isinstance(value, dict | list | tuple):
        return True
    if isinstance(value, str):
        _refuse_surrogates(value, path)
    elif isinstance(value, int):
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise CanonicalError(f"{_render(path)} is an integer beyond 2^53 - 1; send it as text")
    elif isinstance(value, float):
        raise TypeError(f"{_render(path)} is a float; send an integer or decimal text")
    elif value is not None:
        raise TypeError(f"{_render(path)} has the type {type(value).__name__}, which JSON does not have")
    return False


def _refuse_surrogates(text: str, path: _Path | None, what: str = "") -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CanonicalError(f"{what}{_render(path)} holds a lone surrogate, which is not text") from None


def _in_utf16_order(value: object) -> object:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _in_utf16_order(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_in_utf16_order(member) for member in value]
    return value


def _render(path: _Path | None) -> str:
    """Writes a path as `$.terms.fields[2]`; keys are cut, values never appear."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key[:_PATH_KEY_CHARACTERS]}")
    return "$" + "".join(reversed(parts))


def _object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CanonicalError("an object of the document uses a name twice")
    return members


def _refuse_number(_: str) -> Any:
    raise CanonicalError("the document holds a number that is not an integer; send decimal text")
