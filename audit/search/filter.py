"""Filters as in AIP-160, the part that a search of records needs.

    consumer = "departments/education" AND (decision = DENY OR decision = ERROR) AND NOT mode = VERIFY

A restriction is a field, one of `= != < <= > >= :` and a value: a word, or text in double or single quotes with
`\\` before a quote or backslash. `NOT` or `-` negates what follows, `OR` binds tighter than `AND` (as AIP-160 has it),
parentheses group. Bare words, functions, nested fields and restrictions without `AND` between them are refused.
"""

import re
from dataclasses import dataclass
from typing import Final

from isthmus.errors import InvalidArgument

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 16
MAX_RESTRICTIONS: Final = 64

_SPACE: Final = re.compile(r"\s*")
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR: Final = re.compile(r"<=|>=|!=|=|<|>|:")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_WORD: Final = re.compile(r"[^\s()\"'=<>!,]+")
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT"})


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparison. `position` counts characters from 1 and says where `value` begins."""

    field: str
    operator: str
    value: str
    position: int


@dataclass(frozen=True, slots=True)
class Not:
    """What its term is not."""

    term: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """All of the terms."""

    terms: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the terms."""

    terms: tuple["Expression", ...]


Expression = Restriction | Not | And | Or


def refuse(position: int, problem: str) -> InvalidArgument:
    """The error about a filter. `position` counts characters from 1; `problem` must not quote the filter."""
    return InvalidArgument("filter", f"at character {position}: {problem}")


def parse_filter(text: str) -> Expression | None:
    """Read a filter; None for one that is empty.

    Raises:
        InvalidArgument: it cannot be read, is longer than 4096 characters, nests deeper than 16 or holds more
            than 64 restrictions; the message says at which character.
    """
    if len(text) > MAX_LENGTH:
        raise refuse(MAX_LENGTH + 1, f"a filter has at most {MAX_LENGTH} characters")
    parser = _Parser(text)
    if parser.at_end():
        return None
    found = parser.expression(0)
    if not parser.at_end():
        raise parser.error("expected AND, OR or the end")
    return found


class _Parser:
    """A recursive descent over the text; `_at` is the next character to read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._restrictions = 0

    def at_end(self) -> bool:
        self._skip_space()
        return self._at == len(self._text)

    def error(self, problem: str) -> InvalidArgument:
        return refuse(self._at + 1, problem)

    def expression(self, depth: int) -> Expression:
        terms = [self._factor(depth)]
        while self._keyword("AND"):
            terms.append(self._factor(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _factor(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        while self._keyword("OR"):
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _term(self, depth: int) -> Expression:
        self._skip_space()
        if depth > MAX_DEPTH:
            raise self.error(f"a filter nests at most {MAX_DEPTH} deep")
        if self._keyword("NOT") or self._symbol("-"):
            return Not(self._term(depth + 1))
        if self._symbol("("):
            inner = self.expression(depth + 1)
            if not self._symbol(")"):
                raise self.error("expected AND, OR or a closing parenthesis")
            return inner
        return self._restriction()

    def _restriction(self) -> Restriction:
        field = self._take(_FIELD)
        if field is None or field in _KEYWORDS:
            self._at -= len(field or "")
            raise self.error("expected a field, NOT or an opening parenthesis")
        operator = self._take(_OPERATOR)
        if operator is None:
            raise self.error("expected one of = != < <= > >= : after the field")
        self._restrictions += 1
        if self._restrictions > MAX_RESTRICTIONS:
            raise self.error(f"a filter holds at most {MAX_RESTRICTIONS} restrictions")
        self._skip_space()
        position = self._at + 1
        return Restriction(field, operator, self._value(), position)

    def _value(self) -> str:
        start = self._at
        if (quoted := self._take(_QUOTED)) is not None:
            if any(match[1] not in "\"'\\" for match in _ESCAPE.finditer(quoted)):
                raise refuse(
                    start + 1, "in quoted text a backslash stands before a quote or a backslash only"
                )
            return _ESCAPE.sub(r"\1", quoted[1:-1])
        word = self._take(_WORD)
        if word is None or word in _KEYWORDS:
            raise refuse(start + 1, "expected a value: a word, or text in quotes that are closed")
        return word

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        self._skip_space()
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def _symbol(self, symbol: str) -> bool:
        self._skip_space()
        found = self._text.startswith(symbol, self._at)
        self._at += len(symbol) if found else 0
        return found

    def _keyword(self, keyword: str) -> bool:
        start = self._at
        if self._take(_FIELD) == keyword:
            return True
        self._at = start
        return False
