"""One rule pack's TOML file: read exactly, or refused with the file, the key and what is wrong.

`gateway/rules/` holds the packs that come with the software and shows every key. A pack that `extends` another
states only what it tightens, each time citing its own rule.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from re import fullmatch
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from gateway.clocks.limits import (
    CalendarKind,
    Extension,
    Form,
    FormKind,
    Limit,
    LimitKind,
    Rule,
    RuleKind,
    Supplement,
    SupplementClock,
    Unit,
)
from gateway.clocks.pack import Pack
from gateway.clocks.tighten import require_tighter
from isthmus.config import ConfigError, load
from isthmus.names import SLUG

MAX_TEXT_CHARS: Final = 500
MAX_FIELDS: Final = 64
_FIELD: Final = r"[a-z][a-z0-9_]{0,62}"

_KindT = TypeVar("_KindT", bound=Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extension:
    amount: int | None = None
    authority_consents: bool | None = None
    requester_told: bool | None = None
    article: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    article: str | None = None
    title_en: str | None = None
    title_zh: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit(_Item):
    amount: int | None = None
    unit: Unit | None = None
    extension: _Extension | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule(_Item):
    required: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form(_Item):
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Supplement:
    clock: SupplementClock | None = None
    notices: int | None = None
    article: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    name: str | None = None
    effective: date | None = None
    title_en: str | None = None
    title_zh: str | None = None
    source: str | None = None
    extends: str | None = None
    calendar: CalendarKind | None = None
    zone: str | None = None
    supplement: _Supplement | None = None
    limits: dict[str, _Limit] = field(default_factory=dict)
    rules: dict[str, _Rule] = field(default_factory=dict)
    forms: dict[str, _Form] = field(default_factory=dict)


class PackSource:
    """One file, and what identifies it: `path`, `name` and `effective`.

    Raises:
        ConfigError: the file cannot be read, has an unknown key, or lacks a name or its day.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = load(path, _File)
        self.name: str = self.need("name", self.file)
        self.effective: date = self.need("effective", self.file)
        if not fullmatch(SLUG, self.name):
            raise self.error("name", "must be 1 to 63 of a-z, 0-9 and '-', with no '-' at either end")

    @property
    def extends(self) -> str | None:
        """The name of the pack it tightens."""
        return self.file.extends

    def error(self, key: str, problem: str) -> ConfigError:
        """An error about this file."""
        return ConfigError(str(self.path), key, problem)

    def need(self, key: str, section: object, inherited: object = None) -> Any:
        """The value of the last part of `key` in a section, or the one inherited."""
        name = key.rpartition(".")[2]
        value = getattr(section, name)
        if value is None:
            value = getattr(inherited, name, None)
        if value is None:
            raise self.error(key, "is missing; write it")
        if isinstance(value, str) and not 1 <= len(value.strip()) <= MAX_TEXT_CHARS:
            raise self.error(key, f"must be 1 to {MAX_TEXT_CHARS} characters")
        return value


def build(source: PackSource, base: Pack | None, effective: date) -> Pack:
    """Makes a pack of a file.

    Args:
        source: the file.
        base: the version it extends; None when it stands alone.
        effective: from when the result is in force.

    Raises:
        ConfigError: the file does not fit, or is laxer than `base`.
    """
    return _Builder(source, base, effective).pack()


class _Builder:
    """Makes a pack of a file, on the pack it extends if any."""

    def __init__(self, source: PackSource, base: Pack | None, effective: date) -> None:
        self._source = source
        self._file = source.file
        self._base = base
        self._effective = effective

    def pack(self) -> Pack:
        base = self._base
        if base is not None:
            self._refuse_own("calendar", "zone")
        pack = Pack(
            name=self._source.name,
            effective=self._effective,
            title_en=self._source.need("title_en", self._file),
            title_zh=self._source.need("title_zh", self._file),
            source=self._source.need("source", self._file),
            calendar=self._source.need("calendar", self._file, base),
            zone=self._zone(),
            supplement=self._supplement(),
            limits={**(base.limits if base else {}), **self._limits()},
            rules={**(base.rules if base else {}), **self._rules()},
            forms={**(base.forms if base else {}), **self._forms()},
            bases=(base.ref, *base.bases) if base else (),
        )
        if base is not None:
            require_tighter(pack, base, file=str(self._source.path))
        return pack

    def _refuse_own(self, *keys: str) -> None:
        for key in keys:
            if getattr(self._file, key) is not None:
                raise self._source.error(key, f"is that of {self._file.extends}; leave it out")

    def _zone(self) -> str:
        zone: str = self._source.need("zone", self._file, self._base)
        try:
            ZoneInfo(zone)
        except (LookupError, ValueError, OSError):
            raise self._source.error("zone", "is no time zone; write an IANA name: Asia/Shanghai") from None
        return zone

    def _supplement(self) -> Supplement:
        section, base = self._file.supplement, self._base.supplement if self._base else None
        if section is None and base is not None:
            return base
        section = section or _Supplement()
        try:
            return Supplement(
                clock=self._source.need("supplement.clock", section, base),
                notices=self._source.need("supplement.notices", section, base),
                article=self._source.need("supplement.article", section),
            )
        except ConfigError:
            raise
        except ValueError as error:
            raise self._source.error("supplement", str(error)) from None

    def _limits(self) -> dict[LimitKind, Limit]:
        found = {}
        for name, section in self._file.limits.items():
            kind = self._kind(LimitKind, f"limits.{name}")
            try:
                found[kind] = self._limit(kind, section, self._base.limits.get(kind) if self._base else None)
            except ConfigError:
                raise
            except ValueError as error:
                raise self._source.error(f"limits.{name}", str(error)) from None
        return found

    def _limit(self, kind: LimitKind, section: _Limit, base: Limit | None) -> Limit:
        key = f"limits.{kind.value}"
        return Limit(
            kind=kind,
            amount=self._source.need(f"{key}.amount", section, base),
            unit=self._source.need(f"{key}.unit", section, base),
            extension=self._extension(f"{key}.extension", section, base),
            **self._words(key, section, base),
        )

    def _extension(self, key: str, section: _Limit, base: Limit | None) -> Extension | None:
        own, inherited = section.extension, base.extension if base else None
        if own is None:
            return inherited
        if own.amount == 0 and self._base is not None:
            return None
        return Extension(
            amount=self._source.need(f"{key}.amount", own, inherited),
            authority_consents=self._source.need(f"{key}.authority_consents", own, inherited),
            requester_told=self._source.need(f"{key}.requester_told", own, inherited),
            article=self._source.need(f"{key}.article", own, section),
        )

    def _rules(self) -> dict[RuleKind, Rule]:
        found = {}
        for name, section in self._file.rules.items():
            key = f"rules.{name}"
            kind = self._kind(RuleKind, key)
            base = self._base.rules.get(kind) if self._base else None
            required = self._source.need(f"{key}.required", section, base)
            found[kind] = Rule(kind=kind, required=required, **self._words(key, section, base))
        return found

    def _forms(self) -> dict[FormKind, Form]:
        found = {}
        for name, section in self._file.forms.items():
            key = f"forms.{name}"
            kind = self._kind(FormKind, key)
            base = self._base.forms.get(kind) if self._base else None
            fields = self._source.need(f"{key}.fields", section, base)
            self._require_fields(f"{key}.fields", fields)
            found[kind] = Form(kind=kind, fields=fields, **self._words(key, section, base))
        return found

    def _require_fields(self, key: str, fields: tuple[str, ...]) -> None:
        if not 1 <= len(fields) <= MAX_FIELDS or len(set(fields)) < len(fields):
            raise self._source.error(key, f"must be 1 to {MAX_FIELDS} names, each once")
        for index, name in enumerate(fields):
            if not fullmatch(_FIELD, name):
                raise self._source.error(
                    f"{key}.{index}", "must be a name of a-z, 0-9 and '_': update_frequency"
                )

    def _words(self, key: str, section: _Item, base: object) -> Mapping[str, str]:
        # The article is never inherited: who tightens a rule cites the rule that does so.
        return {
            "article": self._source.need(f"{key}.article", section),
            "title_en": self._source.need(f"{key}.title_en", section, base),
            "title_zh": self._source.need(f"{key}.title_zh", section, base),
        }

    def _kind(self, kinds: type[_KindT], key: str) -> _KindT:
        name = key.rpartition(".")[2]
        for kind in kinds:
            if kind.value == name:
                return kind
        known = [str(kind.value) for kind in kinds]
        raise self._source.error(key, f"is not known; {choices(name, known)}")


def choices(name: str, known: Collection[str]) -> str:
    """A hint for an unknown name: the closest known one, or all."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
