"""Converting many values of one column: the same text is converted once."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

_MAX_REMEMBERED: Final = 8_192

T = TypeVar("T")


class _Memo(dict[str, T], Generic[T]):
    def __init__(self, compute: Callable[[Any], T]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: str) -> T:
        value = self._compute(key)
        if len(self) < _MAX_REMEMBERED:
            self[key] = value
        return value


class Column(Generic[T]):
    """Converts a column's values; for one answer, so that nothing personal outlives it.

    Only text is remembered, and no more than a bound of it: other values of different types can be equal (1, 1.0
    and True) and yet be written differently.

    Args:
        compute: a pure function of the stored value.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._memo = _Memo(compute)

    def convert(self, values: Sequence[Any]) -> list[T]:
        """The values converted, in their order. Raises what the function raises."""
        memo, compute = self._memo, self._compute
        return [memo[value] if type(value) is str else compute(value) for value in values]
