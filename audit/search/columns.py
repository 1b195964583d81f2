"""A column of a run of records: its values once each, and for each record which of them it holds.

A value is found by looking for bytes in all values at once, and the records that hold it by one pass over one or two
bytes a record. That is why a search over a million records takes milliseconds and needs no index that an exchange
would have to pay for.

A mask says of each record of the run yes or no: an integer of one byte a record, the first record lowest, 1 or 0.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SEPARATOR: Final = b"\xff"
"""Between values, before the first and behind the last; no byte of UTF-8."""

_HEAD: Final = struct.Struct("<II")
_NARROW: Final = 256
_FEW: Final = 8


class ColumnDamaged(ValueError):
    """The bytes are not a column as it was written."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        values: each value once, as `SEPARATOR` says; a value is known by its place among them, from 0.
        codes: for each record the place of its value: a byte each, or where there are over 256 values two, the lower
            first.
        size: how many records.
    """

    values: bytes
    codes: bytes
    size: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Column":
        """The column that holds these values, at most 65,536 of them."""
        places: dict[str, int] = {}
        found = [places.setdefault(text, len(places)) for text in texts]
        values = SEPARATOR.join(text.encode(errors="surrogatepass") for text in places)
        return cls(SEPARATOR + values + SEPARATOR, _packed(found, len(places)), len(found))

    @classmethod
    def decode(cls, data: bytes) -> "Column":
        """Reads what `encode` wrote. That nobody altered it is for `audit.search.seal` to say.

        Raises:
            ColumnDamaged: it is of another length.
        """
        if len(data) < _HEAD.size:
            raise ColumnDamaged("it is too short")
        size, length = _HEAD.unpack_from(data)
        content = memoryview(data)[_HEAD.size :]
        if len(content) - length not in (size, 2 * size):
            raise ColumnDamaged("it is of another length")
        return cls(bytes(content[:length]), bytes(content[length:]), size)

    def encode(self) -> bytes:
        """The column as bytes."""
        return _HEAD.pack(self.size, len(self.values)) + self.values + self.codes

    def texts(self) -> list[str]:
        """The values, by place."""
        return [each.decode(errors="surrogatepass") for each in self.values[1:-1].split(SEPARATOR)]

    def places(self) -> Sequence[int]:
        """For each record the place of its value."""
        if len(self.codes) == self.size:
            return self.codes
        wide = array("H", self.codes)
        if sys.byteorder == "big":
            wide.byteswap()
        return wide

    def find(self, patterns: Sequence[bytes], *, fold: bool = False) -> set[int]:
        """The places of the values in which one of the patterns occurs.

        Args:
            patterns: bytes, with a `SEPARATOR` at the beginning or end for a value that begins or ends so.
            fold: do not tell A from a, in ASCII only, as SQLite's `lower`.
        """
        values = self.values.lower() if fold else self.values
        return {place for pattern in patterns for place in _occurrences(values, pattern)}

    def mask(self, places: set[int]) -> int:
        """The records that hold one of the values at these places."""
        if not places:
            return 0
        if len(self.codes) == self.size:
            flags = bytearray(_NARROW)
            for place in places:
                flags[place] = 1
            return int.from_bytes(self.codes.translate(flags), "little")
        return int.from_bytes(
            _wide_few(self, places) if len(places) <= _FEW else _wide(self, places), "little"
        )


def span(low: int, high: int) -> int:
    """The mask of the records from `low` up to before `high`, counted from the run's first."""
    return int.from_bytes(bytes(low) + b"\1" * (high - low), "little") if low < high else 0


def at(positions: Iterable[int]) -> int:
    """The mask of these records, counted from the run's first."""
    flags = bytearray()
    for position in positions:
        if position >= len(flags):
            flags.extend(bytes(position + 1 - len(flags)))
        flags[position] = 1
    return int.from_bytes(flags, "little")


def newest_first(mask: int) -> Iterator[int]:
    """The records of a mask, the last of them first."""
    flags = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
    end = len(flags)
    while (end := flags.rfind(1, 0, end)) >= 0:
        yield end


def _packed(places: list[int], values: int) -> bytes:
    if values <= _NARROW:
        return bytes(places)
    wide = array("H", places)
    if sys.byteorder == "big":
        wide.byteswap()
    return wide.tobytes()


def _occurrences(values: bytes, pattern: bytes) -> Iterator[int]:
    lead = pattern.startswith(SEPARATOR)
    start, place = 0, -1
    while (found := values.find(pattern, start)) >= 0:
        place += values.count(SEPARATOR, start, found + lead)
        yield place
        # On from the separator behind this value; it may begin the next match.
        start = values.find(SEPARATOR, found + lead)
        if start < 0 or start == len(values) - 1:
            return


def _wide_few(column: Column, places: set[int]) -> bytes:
    flags = bytearray(column.size)
    for place in places:
        pattern, found = place.to_bytes(2, "little"), -1
        while (found := column.codes.find(pattern, found + 1)) >= 0:
            if found % 2 == 0:
                flags[found // 2] = 1
    return bytes(flags)


def _wide(column: Column, places: set[int]) -> bytes:
    flags = bytearray(1 << 16)
    for place in places:
        flags[place] = 1
    return bytes(map(flags.__getitem__, column.places()))
