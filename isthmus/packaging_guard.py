"""Refuses to start beside a distribution that brings a top-level package of the same name as one of ours.

`audit`, `gateway` and `services` are generic names. pip installs another distribution's `audit` without a
word: over a wheel it overwrites our files, and beside an editable install it wins over our source. Code that
decides who may see what must not be replaced that quietly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import packages_distributions

DISTRIBUTION = "isthmus"
TOP_LEVEL_PACKAGES = ("isthmus", "audit", "gateway", "services")

Owners = Mapping[str, Sequence[str | None]]


class ForeignPackageError(RuntimeError):
    """Another installed distribution owns a top-level package that must be ours alone."""


def ensure_sole_owner(*, owners: Callable[[], Owners] = packages_distributions) -> None:
    """Returns only when no other installed distribution owns a top-level package of Isthmus.

    Every process calls it once, before it opens a port. It reads the metadata of what is installed (some tens
    of milliseconds) and imports nothing. A package that nobody claims passes: it is a source tree or an
    editable install, whose metadata lists no packages.

    Args:
        owners: the distributions that install each top-level import name, as `packages_distributions` gives it.

    Raises:
        ForeignPackageError: naming each package, its other owners and what to uninstall.
    """
    claimed = owners()
    foreign = {package: _others(claimed.get(package, ())) for package in TOP_LEVEL_PACKAGES}
    conflicts = [f"{package} (from {', '.join(names)})" for package, names in foreign.items() if names]
    if conflicts:
        intruders = sorted({name for names in foreign.values() for name in names})
        raise ForeignPackageError(
            f"refusing to start: another installed distribution brings {'; '.join(conflicts)}, so this process "
            f"may be running code that is not Isthmus. Uninstall {', '.join(intruders)}, then install Isthmus "
            "again, in an environment of its own."
        )


def _others(names: Sequence[str | None]) -> list[str]:
    """The owners that are not us, each once; metadata without a name counts as a stranger."""
    return sorted(
        {name or "(unnamed)" for name in names if name is None or _normalised(name) != DISTRIBUTION}
    )


def _normalised(name: str) -> str:
    """A distribution name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
