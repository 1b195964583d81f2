"""A local pack may only be stricter than the one it extends.

《政务数据共享条例》 art. 23 encourages shorter limits; nothing lets a local rule lengthen one of the State Council.
"""

from typing import Final

from gateway.clocks.limits import Limit, LimitKind, SupplementClock
from gateway.clocks.pack import Pack
from isthmus.config import ConfigError

_STRICTNESS: Final = {SupplementClock.RESTARTS: 0, SupplementClock.PAUSES: 1, SupplementClock.CONTINUES: 2}


def require_tighter(local: Pack, base: Pack, *, file: str) -> None:
    """Compares a pack with the one it extends.

    Args:
        local: everything that holds under the local pack, what it inherits included.
        base: the pack it extends.
        file: where `local` was read, for the error.

    Raises:
        ConfigError: something is laxer; names the key, the base's value and the article it is from.
    """
    comparison = _Comparison(local, base, file)
    comparison.limits()
    comparison.rules()
    comparison.forms()
    comparison.supplement()


class _Comparison:
    def __init__(self, local: Pack, base: Pack, file: str) -> None:
        self._local = local
        self._base = base
        self._file = file

    def limits(self) -> None:
        for kind, base in self._base.limits.items():
            local = self._local.limits[kind]
            key = f"limits.{kind.value}"
            if local.unit is not base.unit:
                raise self._laxer(f"{key}.unit", f"cannot be compared with {_said(base)}", base.article)
            if kind.at_least and local.amount < base.amount:
                raise self._laxer(
                    f"{key}.amount", f"{local.amount} is shorter than {_said(base)}", base.article
                )
            if not kind.at_least and local.amount > base.amount:
                raise self._laxer(
                    f"{key}.amount", f"{local.amount} is longer than {_said(base)}", base.article
                )
            self._extension(kind, local, base)

    def _extension(self, kind: LimitKind, local: Limit, base: Limit) -> None:
        key = f"limits.{kind.value}.extension"
        own, inherited = local.extension, base.extension
        if own is None:
            return
        if inherited is None:
            raise self._laxer(key, "there is none", base.article)
        if own.amount > inherited.amount:
            what = f"{own.amount} is longer than {inherited.amount} {base.unit.value}"
            raise self._laxer(f"{key}.amount", what, inherited.article)
        for name in ("authority_consents", "requester_told"):
            if getattr(inherited, name) and not getattr(own, name):
                raise self._laxer(f"{key}.{name}", "cannot be waived", inherited.article)

    def rules(self) -> None:
        for kind, base in self._base.rules.items():
            if base.required and not self._local.rules[kind].required:
                raise self._laxer(f"rules.{kind.value}.required", "cannot be waived", base.article)

    def forms(self) -> None:
        for kind, base in self._base.forms.items():
            missing = [name for name in base.fields if name not in self._local.forms[kind].fields]
            if missing:
                what = f"must keep {', '.join(missing)}"
                raise self._laxer(f"forms.{kind.value}.fields", what, base.article)

    def supplement(self) -> None:
        local, base = self._local.supplement, self._base.supplement
        if _STRICTNESS[local.clock] < _STRICTNESS[base.clock]:
            what = f"{local.clock.value} gives more time than {base.clock.value}"
            raise self._laxer("supplement.clock", what, base.article)
        if local.notices > base.notices:
            what = f"{local.notices} are more than {base.notices}"
            raise self._laxer("supplement.notices", what, base.article)

    def _laxer(self, key: str, what: str, article: str) -> ConfigError:
        return ConfigError(
            self._file,
            key,
            f"{what}, by {self._base.ref} ({article}); a pack that extends it may only be stricter",
        )


def _said(limit: Limit) -> str:
    return f"{limit.amount} {limit.unit.value}"
