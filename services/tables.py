"""Reading one TOML table key by key, noting every problem instead of stopping at the first."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_MAX_QUOTED: Final = 80
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what would make it right."""

    place: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.remedy}"


def quoted(text: object) -> str:
    """`text` in quotes, cut to a readable length."""
    shown = str(text)
    return f'"{shown if len(shown) <= _MAX_QUOTED else shown[:_MAX_QUOTED] + "…"}"'


def nearest(word: str, known: Sequence[str]) -> str:
    """What to write instead of `word`: the likeliest of `known`, or the list of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {quoted(close[0])}?"
    shown = ", ".join(quoted(each) for each in known[:20])
    return f"there are {shown}{' and others' if len(known) > 20 else ''}" if known else "there is none"


@dataclass(slots=True)
class Table:
    """A TOML table.

    Args:
        content: its members.
        place: how a problem names it, for example `dataset "person"`.
        problems: where problems go; the caller raises when it is not empty at the end.
        overrides: texts that replace members of the same key, for example from the environment.
    """

    content: Mapping[str, Any]
    place: str
    problems: list[Problem]
    overrides: Mapping[str, str] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)

    def problem(self, key: str, what: str, remedy: str) -> None:
        """Notes a problem with `key`."""
        place = f"{self.place}, key {key}" if self.place else f"key {key}"
        self.problems.append(Problem(place, what, remedy))

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self.overrides.get(key, self.content.get(key))

    def given(self, key: str) -> bool:
        """Whether the key is there."""
        self._read.add(key)
        return key in self.content or key in self.overrides

    def text(
        self,
        key: str,
        *,
        default: str | None = None,
        max_length: int = 256,
        pattern: str = "",
        form: str = "",
    ) -> str:
        """A text; required unless `default` is given. `form` says in words what `pattern` wants."""
        value = self._take(key)
        if value is None:
            if default is None:
                self.problem(key, "is missing", f'write {key} = "…"{f", {form}" if form else ""}')
            return default or ""
        if not isinstance(value, str):
            self.problem(key, f"is {_kind(value)}", "write a text in quotes")
            return default or ""
        if default is None and not value.strip():
            self.problem(key, "is empty", f"write {form or 'a text'}")
        elif len(value) > max_length:
            self.problem(key, f"has {len(value)} characters", f"write at most {max_length}")
        elif _CONTROL.search(value):
            self.problem(key, "holds control characters", "remove them")
        elif value and pattern and not re.fullmatch(pattern, value):
            self.problem(key, f"{quoted(value)} has the wrong form", f"write {form}")
        return value

    def texts(
        self, key: str, *, default: Sequence[str] = (), max_items: int = 64, max_length: int = 1024
    ) -> tuple[str, ...]:
        """A list of texts."""
        value = self._take(key)
        if value is None:
            return tuple(default)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.problem(key, f"is {_kind(value)}", 'write a list of texts, such as ["a", "b"]')
            return tuple(default)
        if len(value) > max_items or any(len(each) > max_length for each in value):
            self.problem(key, "is too long", f"write at most {max_items} texts of {max_length} characters")
            return tuple(default)
        return tuple(value)

    def choice(self, key: str, names: Sequence[str], *, default: str | None = None) -> str:
        """One of `names`, in either case; required unless `default` is given. Answers as `names` spells it."""
        value = self._take(key)
        if value is None:
            if default is None:
                self.problem(key, "is missing", f"write one of {', '.join(names)}")
            return default or names[0]
        return self.one_of(key, value, names)

    def choices(self, key: str, names: Sequence[str], *, default: Sequence[str]) -> tuple[str, ...]:
        """A list of some of `names`, each once."""
        chosen = tuple(
            self.one_of(key, each, names) for each in self.texts(key, default=default, max_items=len(names))
        )
        if len(set(chosen)) != len(chosen):
            self.problem(key, "names something twice", "name it once")
        return chosen

    def one_of(self, key: str, value: object, names: Sequence[str]) -> str:
        """`value` as `names` spells it."""
        by_fold = {name.casefold(): name for name in names}
        if isinstance(value, str) and value.casefold() in by_fold:
            return by_fold[value.casefold()]
        shown = quoted(value) if isinstance(value, str) else _kind(value)
        self.problem(key, f"{shown} is not known", f"write one of {', '.join(names)}")
        return names[0]

    def flag(self, key: str) -> bool:
        """true or false; false unless it is there."""
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.problem(key, f"is {_kind(value)}", "write true or false, without quotes")
        return False

    def number(self, key: str, *, default: int, low: int, high: int) -> int:
        """A whole number within bounds."""
        value = self._take(key)
        if value is None:
            return default
        if key in self.overrides and isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.problem(key, f"is {_kind(value)}", f"write a whole number from {low} to {high}")
            return default
        return value

    def table(self, key: str, place: str, *, overrides: Mapping[str, str] | None = None) -> "Table":
        """The table under `key`; an empty one when it is missing."""
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"is {_kind(value)}", f"write a table, [{key}]")
        content = value if isinstance(value, dict) else {}
        return Table(content, place, self.problems, overrides or {})

    def tables(self, key: str, *, max_items: int) -> list[Mapping[str, Any]]:
        """The tables of a list `[[key]]`."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.problem(key, f"is {_kind(value)}", f"write tables, each under [[{key}]]")
            return []
        if len(value) > max_items:
            self.problem(key, f"has {len(value)} entries", f"write at most {max_items}")
            return []
        return value

    def finish(self) -> None:
        """Notes every key that nothing has read."""
        for key in [key for key in self.content if key not in self._read]:
            self.problem(quoted(key)[1:-1], "is unknown", nearest(key, sorted(self._read)))


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return f"the number {value}" if abs(value) < 10**12 else "a very large number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return "a text" if isinstance(value, str) else "of another type"
