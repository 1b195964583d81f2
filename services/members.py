"""The members of a JSON object of a grant, read with the place in every error."""

import re
from datetime import datetime
from typing import Any, Final

from isthmus.errors import IsthmusError
from isthmus.terms import parse_rfc3339

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class GrantFormError(ValueError):
    """A member of a grant is missing, malformed or out of bounds. The message names it and no value."""


class Members:
    """The members of a JSON object, read with the place in every error."""

    def __init__(self, content: object, place: str, *, allowed: set[str] | frozenset[str]) -> None:
        if not isinstance(content, dict):
            raise GrantFormError(f"{place} must be an object")
        if content.keys() - allowed:
            raise GrantFormError(f"{place} may hold only {', '.join(sorted(allowed))}")
        self._content = content
        self.place = place

    def at(self, name: str) -> str:
        return f"{self.place}.{name}"

    def text(self, name: str, longest: int, pattern: re.Pattern[str] | None = None) -> str:
        value = self._content.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= longest:
            raise GrantFormError(f"{self.at(name)} must be text of 1 to {longest} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise GrantFormError(f"{self.at(name)} has the wrong form")
        return value

    def uuid(self, name: str) -> str:
        return self.text(name, 36, _UUID)

    def time(self, name: str) -> datetime:
        try:
            return parse_rfc3339(self.text(name, 40), field=self.at(name))
        except (IsthmusError, OverflowError):
            raise GrantFormError(f"{self.at(name)} must be an RFC 3339 time with an offset") from None

    def list(self, name: str, fewest: int, most: int) -> list[Any]:
        value = self._content.get(name, [])
        if not isinstance(value, list) or not fewest <= len(value) <= most:
            raise GrantFormError(f"{self.at(name)} must be a list of {fewest} to {most}")
        return value

    def get(self, name: str) -> Any:
        return self._content.get(name)
