"""Every rule pack of a deployment, each version of a pack put on the version of the pack it extends.

A local pack holds on top of every version of the other as they follow each other: when the law changes on a day,
so does the local pack, under a ref of that day, and what the local pack lengthens by then is refused.
"""

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Final

from gateway.clocks.pack import Pack, RulePacks
from gateway.clocks.pack_file import PackSource, build, choices
from isthmus.config import ConfigError

MAX_FILES: Final = 100
MAX_BASES: Final = 4


def load_packs(folder: Path | None = None) -> RulePacks:
    """The packs that come with the software, and those in the `*.toml` of a deployment's folder, at most 100.

    Raises:
        ConfigError: the folder or a file cannot be read, a file does not fit, two are for the same version, or
            one that extends another is laxer than it; names the file, the key and what is wrong.
    """
    paths = _files(Path(__file__).parents[1] / "rules")
    if folder is not None:
        paths += _files(folder)
    return RulePacks(_Resolver(paths).packs())


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(str(folder), "", "is no folder; name the folder of the rule packs")
    paths = sorted(folder.glob("*.toml"))
    if len(paths) > MAX_FILES:
        raise ConfigError(str(folder), "", f"has {len(paths)} files; at most {MAX_FILES} are read")
    return paths


class _Resolver:
    """Puts every pack on the versions of the one it extends."""

    def __init__(self, paths: list[Path]) -> None:
        self._sources: dict[str, list[PackSource]] = {}
        for path in paths:
            self._add(PackSource(path))
        self._packs: dict[str, list[Pack]] = {}

    def packs(self) -> list[Pack]:
        return [pack for name in self._sources for pack in self._versions(name, ())]

    def _add(self, source: PackSource) -> None:
        others = self._sources.setdefault(source.name, [])
        for other in others:
            if other.effective == source.effective:
                raise source.error(
                    "effective",
                    f"{source.effective} is that of {other.path} too; keep one, or change the day",
                )
        others.append(source)

    def _versions(self, name: str, below: tuple[str, ...]) -> list[Pack]:
        if name not in self._packs:
            sources = sorted(self._sources[name], key=lambda each: each.effective)
            ends = [later.effective for _, later in pairwise(sources)] + [date.max]
            found: list[Pack] = []
            for source, end in zip(sources, ends, strict=True):
                found += self._of_one(source, end, (*below, name))
            self._packs[name] = found
        return self._packs[name]

    def _of_one(self, source: PackSource, end: date, below: tuple[str, ...]) -> list[Pack]:
        base = source.extends
        if base is None:
            return [build(source, None, source.effective)]
        if base in below:
            raise source.error("extends", f"{' extends '.join((*below, base))}: a circle; end it somewhere")
        if base not in self._sources:
            raise source.error("extends", f"there is no pack of that name; {choices(base, self._sources)}")
        versions = [each for each in self._versions(base, below) if each.effective < end]
        before = [each for each in versions if each.effective <= source.effective]
        if not before:
            raise source.error("effective", f"{base} is not yet in force on {source.effective}; begin later")
        if len(before[-1].bases) >= MAX_BASES:
            raise source.error(
                "extends", f"makes more than {MAX_BASES} packs upon each other; extend a lower one"
            )
        after = versions[len(before) :]
        return [build(source, each, max(each.effective, source.effective)) for each in (before[-1], *after)]
