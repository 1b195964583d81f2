"""The report in the order in which it is drawn: departments by how much they share, islands together at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log10
from typing import Final

from isthmus.picture.words import ISLANDS, MORE, Word
from isthmus.v1.sharing_service_pb2 import (
    DatasetSharing,
    DepartmentSharing,
    ReportSharingResponse,
    SharingPair,
)

STEPS: Final = 5
"""How many shades the heat map has."""
_DEPARTMENTS: Final = "departments/"
_WIDE: Final = 0x1100
"""The first character of those that take a whole square, Chinese ones among them."""
_NARROW: Final = frozenset(" .,:;'|!()-ijlIftr")
_BROAD: Final = frozenset("MWmw@%")


class Cell(StrEnum):
    """What there is between a provider and a consumer."""

    ITSELF = "itself"
    SHARED = "shared"
    UNUSED = "unused"
    REFUSED = "refused"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is drawn.

    Attributes:
        report: the figures.
        titles: what a reader calls a department or dataset, by its name; a missing one is called by its name.
        departments: in the order of rows and columns.
        pairs: by provider and consumer.
    """

    report: ReportSharingResponse
    titles: Mapping[str, str]
    departments: Sequence[DepartmentSharing]
    pairs: Mapping[tuple[str, str], SharingPair]

    @classmethod
    def of(cls, report: ReportSharingResponse, titles: Mapping[str, str]) -> "Sheet":
        """The sheet of a report."""
        ordered = sorted(report.departments, key=lambda each: (-_shares(each), each.department))
        pairs = {(each.provider, each.consumer): each for each in report.pairs}
        return cls(report, titles, ordered, pairs)

    def title(self, name: str) -> str:
        """What a reader calls a department or dataset."""
        return self.titles.get(name) or name.removeprefix(_DEPARTMENTS).replace("/datasets/", " / ")

    def cell(self, provider: str, consumer: str) -> Cell:
        """What there is between two departments."""
        if provider == consumer:
            return Cell.ITSELF
        pair = self.pairs.get((provider, consumer))
        if pair is not None and pair.allowed:
            return Cell.SHARED
        if pair is not None and pair.contracts:
            return Cell.UNUSED
        return Cell.REFUSED if pair is not None and pair.denied + pair.failed else Cell.NONE

    def allowed(self, provider: str, consumer: str) -> int:
        """How many exchanges were allowed between them."""
        pair = self.pairs.get((provider, consumer))
        return pair.allowed if pair is not None else 0

    def shade(self, allowed: int) -> int:
        """The shade of so many exchanges, 1 to `STEPS`, on a logarithmic scale up to the most of any pair."""
        most = max((each.allowed for each in self.pairs.values()), default=0)
        if most <= 1:
            return STEPS
        return 1 + min(STEPS - 1, int(log10(max(allowed, 1)) / log10(most) * STEPS))

    @property
    def possible(self) -> int:
        """How many pairs of two departments there could be."""
        return len(self.departments) * (len(self.departments) - 1)

    @property
    def sharing(self) -> int:
        """How many of them share."""
        return sum(bool(each.allowed) and each.provider != each.consumer for each in self.pairs.values())

    @property
    def islands(self) -> list[str]:
        """The titles of departments that offer something of which nobody used anything."""
        silent = [each for each in self.departments if each.datasets_offered and not each.datasets_used]
        return [self.title(each.department) for each in silent]

    def islands_word(self, most: int) -> Word:
        """Says who the islands are, the first `most` of them by their titles."""
        names, more = self.islands[:most], max(0, len(self.islands) - most)
        tail = MORE.filled(count=more)
        en = ", ".join(names) + (f" {tail.en}" if more else "")
        zh = "、".join(names) + (tail.zh if more else "")
        return Word(ISLANDS.en.replace("{names}", en), ISLANDS.zh.replace("{names}", zh))

    @property
    def idle(self) -> Mapping[str, Sequence[DatasetSharing]]:
        """The datasets that no other department used, by the department that offers them, in the order of rows."""
        found: dict[str, list[DatasetSharing]] = {each.department: [] for each in self.departments}
        for each in self.report.datasets:
            if not each.consumers_using:
                found.setdefault(each.dataset.partition("/datasets/")[0], []).append(each)
        return {department: datasets for department, datasets in found.items() if datasets}


def _shares(each: DepartmentSharing) -> int:
    return each.allowed + each.answers_received


def compact(number: int) -> str:
    """A number in a small space: `999`, `1.2k`, `35k`, `1.2M`."""
    if number < 1000:
        return str(number)
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if number < size * 1000 or unit == "T":
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return str(number)


def text_width(text: str, size: float) -> float:
    """About how many pixels a text takes at a font size of `size` pixels; rather too many than too few."""
    return size * sum(_em(char) for char in text)


def shortened(text: str, most: float, *, size: float = 1.0) -> str:
    """A text that fits: what is cut off ends in an ellipsis.

    Args:
        text: what is said.
        most: how wide it may be, in pixels.
        size: of the font, in pixels.
    """
    if text_width(text, size) <= most:
        return text
    kept, left = "", most - size
    for char in text:
        left -= size * _em(char)
        if left < 0:
            break
        kept += char
    return kept.rstrip() + "…"


def _em(char: str) -> float:
    if ord(char) >= _WIDE:
        return 1.0
    if char in _NARROW:
        return 0.33
    return 0.92 if char in _BROAD else 0.68 if char.isupper() else 0.57
