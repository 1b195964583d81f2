"""What each department offered when, as the log tells it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

RETIRED: Final = ""
"""The sharing class of a dataset that is no longer offered."""
UNSTATED: Final = "UNSPECIFIED"


@dataclass(slots=True)
class _Entry:
    """A dataset: since when it has which sharing class, and when it was published last, milliseconds since 1970."""

    classes: list[tuple[int, str]] = field(default_factory=list)
    published: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Offer:
    """A dataset that is offered: its name, its sharing class, and when it was published last, milliseconds since 1970."""

    dataset: str
    sharing_class: str
    published: int

    @property
    def department(self) -> str:
        """Who offers it."""
        return self.dataset.partition("/datasets/")[0]


class Catalogue:
    """Every dataset that the log tells of, as far as it still matters."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def learn(self, dataset: str, change: Mapping[str, Any], at: int) -> None:
        """Take in a control record about a dataset, appended at a moment."""
        entry = self._entries.setdefault(dataset, _Entry())
        if "retired_revision" in change:
            entry.classes.append((at, RETIRED))
        elif "revision" in change:
            entry.classes.append((at, change.get("sharing_class", UNSTATED)))
            entry.published.append(at)

    def offers(self, at: int) -> Iterator[Offer]:
        """What is offered at a moment, by name."""
        for dataset, entry in sorted(self._entries.items()):
            said = [sharing for since, sharing in entry.classes if since <= at]
            published = [each for each in entry.published if each <= at]
            if said and said[-1] != RETIRED and published:
                yield Offer(dataset, said[-1], published[-1])

    def forget(self, before: int) -> None:
        """Let go of what was replaced before a moment."""
        for dataset, entry in list(self._entries.items()):
            old = [since for since, _ in entry.classes if since < before]
            entry.classes = entry.classes[max(0, len(old) - 1) :]
            old = [each for each in entry.published if each < before]
            entry.published = entry.published[max(0, len(old) - 1) :]
            if len(entry.classes) == 1 and entry.classes[0][1] == RETIRED and entry.classes[0][0] < before:
                del self._entries[dataset]
