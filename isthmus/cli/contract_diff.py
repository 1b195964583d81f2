"""Two versions of contract terms side by side: what differs, and whether that makes sharing wider or narrower. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from isthmus.cli.contract_change import Change, Effect, Json
from isthmus.cli.contract_filters import filter_effect
from isthmus.cli.contract_words import (
    LEGAL_BASES,
    MODES,
    SCOPES,
    WINDOWS,
    explained,
    filter_words,
    transform_words,
)
from isthmus.errors import TermsInvalid
from isthmus.terms import terms_to_document
from isthmus.transforms import Transform
from isthmus.v1.contract_service_pb2 import ContractTerms

Comparison = Callable[[str, Json, Json], Iterator[Change]]


def compare(a: ContractTerms, b: ContractTerms) -> tuple[Change, ...]:
    """Returns every difference from `a` to `b`, in the order of the document; empty when they say the same.

    Raises:
        TermsInvalid: they hold a value that this program does not know, so nobody should trust what it says of them.
    """
    try:
        first, second = terms_to_document(a), terms_to_document(b)
    except (ValueError, OverflowError):
        raise TermsInvalid("terms", "hold a value that this version of the program cannot read") from None
    found = [change for term in first for change in _of_term(term, first[term], second[term])]
    if any(change.term in _SUBJECTS for change in found):
        why = "the two are not about the same parties and data"
        return tuple(replace(each, effect=Effect.UNDECIDED, why=each.why or why) for each in found)
    return tuple(found)


def _of_term(term: str, a: Json, b: Json) -> Iterator[Change]:
    if a == b:
        return
    found = list(_COMPARISONS[term](term, a, b))
    yield from found
    if not found:
        words = "the same, in another order or repeated (次序不同)"
        yield Change(term=term, a=a, b=b, a_says=words, b_says=words, effect=Effect.NEITHER)


def _replaced(term: str, a: Json, b: Json) -> Iterator[Change]:
    if a != b:
        yield Change(term=term, a=a, b=b, a_says=str(a), b_says=str(b), effect=Effect.UNDECIDED)


def _members(term: str, a: Json, b: Json, *, words: Mapping[str, str] | None = None) -> Iterator[Change]:
    """Each member more lets more happen."""

    def says(each: str) -> str:
        return each if words is None else explained(each, words)

    for each in dict.fromkeys((*a, *b)):
        if each not in b:
            yield Change(term=term, a=each, b=None, a_says=says(each), b_says=_ABSENT, effect=Effect.NARROWER)
        elif each not in a:
            yield Change(term=term, a=None, b=each, a_says=_ABSENT, b_says=says(each), effect=Effect.WIDER)


def _amount(
    term: str, a: Json, b: Json, *, more: Effect = Effect.WIDER, unit: str = "", zero: Effect | None = None
) -> Iterator[Change]:
    """`more` is what a larger amount does; `zero` what a change from or to none does, if that is no amount."""
    if a == b:
        return
    less = Effect.NARROWER if more is Effect.WIDER else Effect.WIDER
    effect = zero if zero is not None and not (a and b) else more if b > a else less
    yield Change(term=term, a=a, b=b, a_says=f"{a}{unit}", b_says=f"{b}{unit}", effect=effect)


def _flag(
    term: str, a: Json, b: Json, *, words: tuple[str, str], on: Effect = Effect.WIDER
) -> Iterator[Change]:
    if a != b:
        off = Effect.NARROWER if on is Effect.WIDER else Effect.WIDER
        yield Change(term=term, a=a, b=b, a_says=words[a], b_says=words[b], effect=on if b else off)


def _fields(term: str, a: Json, b: Json) -> Iterator[Change]:
    first, second = (_transforms(fields) for fields in (a, b))
    for name in dict.fromkeys((*first, *second)):
        old, new = first.get(name, ()), second.get(name, ())
        if old != new:
            effect, why = _field_effect(old, new)
            yield Change(
                term=term,
                item=name,
                a=" / ".join(old) or None,
                b=" / ".join(new) or None,
                a_says=_field_says(old),
                b_says=_field_says(new),
                effect=effect,
                why=why,
            )


def _transforms(fields: Json) -> dict[str, tuple[str, ...]]:
    """A field that is named twice has several; which one counts is not for this program to say."""
    found: dict[str, tuple[str, ...]] = {}
    for each in fields:
        found[each["name"]] = (*found.get(each["name"], ()), each["transform"])
    return found


def _field_says(transforms: tuple[str, ...]) -> str:
    return "; ".join(f"{each}: {transform_words(each)}" for each in transforms) or _ABSENT


def _field_effect(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[Effect, str]:
    if len(a) > 1 or len(b) > 1:
        return Effect.UNDECIDED, "the field is named more than once"
    try:
        # A field under `omit` is not released, just as one that is not there.
        old, new = Transform.parse(a[0] if a else "omit"), Transform.parse(b[0] if b else "omit")
    except ValueError:
        return Effect.UNDECIDED, "a transform is not known to this program"
    stronger, milder = new.hides_at_least(old), old.hides_at_least(new)
    if stronger and milder:
        return Effect.NEITHER, ""
    if not (stronger or milder):
        return Effect.UNDECIDED, "neither transform hides all that the other hides"
    what = "the transform is stronger" if stronger else "the transform is milder"
    return Effect.NARROWER if stronger else Effect.WIDER, what if a and b else ""


def _basis(term: str, a: Json, b: Json) -> Iterator[Change]:
    effect, why = Effect.UNDECIDED, ""
    if a == "CONSENT":
        effect, why = Effect.WIDER, "the person's consent is no longer asked for"
    elif b == "CONSENT":
        effect, why = Effect.NARROWER, "the person's consent is asked for"
    says = partial(explained, words=LEGAL_BASES)
    yield Change(term=term, a=a, b=b, a_says=says(a), b_says=says(b), effect=effect, why=why)


def _quotas(term: str, a: Json, b: Json) -> Iterator[Change]:
    first, second = (_limits(quotas) for quotas in (a, b))
    for key in dict.fromkeys((*first, *second)):
        old, new = first.get(key), second.get(key)
        if old != new:
            wider = old is not None and (new is None or new > old)
            measure, window, scope = key
            yield Change(
                term=term,
                item=f"{measure} {WINDOWS.get(window, window)}, {SCOPES.get(scope, scope)}",
                a=old,
                b=new,
                a_says="no limit (不限)" if old is None else f"at most {old}",
                b_says="no limit (不限)" if new is None else f"at most {new}",
                effect=Effect.WIDER if wider else Effect.NARROWER,
            )


def _limits(quotas: Json) -> dict[tuple[str, str, str], int]:
    """The strictest limit by measure, window and scope; 0 is none."""
    found: dict[tuple[str, str, str], int] = {}
    for quota in quotas:
        for measure in ("calls", "rows"):
            if limit := quota[measure]:
                key = (measure, quota["window"], quota["scope"])
                found[key] = min(limit, found.get(key, limit))
    return found


def _filters(term: str, a: Json, b: Json) -> Iterator[Change]:
    """Rows must satisfy all filters, so each one more lets less through."""
    gone, come = [each for each in a if each not in b], [each for each in b if each not in a]
    for old in gone:
        # The filter that takes the place of another: the only one on each side about the same field.
        same = [each for each in come if each["field"] == old["field"]]
        new = same[0] if len(same) == 1 and _only(old, gone) else None
        if new is not None:
            come.remove(new)
        yield _filter_change(term, old, new)
    for each in come:
        yield _filter_change(term, None, each)


def _only(filter_: Json, filters: Sequence[Json]) -> bool:
    return [each["field"] for each in filters].count(filter_["field"]) == 1


def _filter_change(term: str, a: Json | None, b: Json | None) -> Change:
    effect = Effect.UNDECIDED
    if a is None or b is None:
        effect = Effect.NARROWER if a is None else Effect.WIDER
    elif (narrows := filter_effect(a, b)) is not None:
        effect = Effect.NARROWER if narrows else Effect.WIDER
    return Change(
        term=term,
        item=(a or b or {})["field"],
        a=a,
        b=b,
        a_says=_ABSENT if a is None else filter_words(a),
        b_says=_ABSENT if b is None else filter_words(b),
        effect=effect,
    )


def _onward(term: str, a: Json, b: Json) -> Iterator[Change]:
    yield from _flag(f"{term}.allowed", a["allowed"], b["allowed"], words=_ALLOWED)
    yield from _members(f"{term}.recipients", a["recipients"], b["recipients"])


def _emergency(term: str, a: Json, b: Json) -> Iterator[Change]:
    hours = f"{term}.review_within_hours"
    yield from _flag(f"{term}.allowed", a["allowed"], b["allowed"], words=_ALLOWED)
    yield from _members(f"{term}.systems", a["systems"], b["systems"])
    # Where emergency use itself is new or gone, so is its review, which adds nothing to that.
    zero = Effect.NEITHER if a["allowed"] != b["allowed"] else Effect.UNDECIDED
    key = "review_within_hours"
    yield from _amount(hours, a[key], b[key], unit=" hours (小时)", zero=zero)


def _evidence(term: str, a: Json, b: Json) -> Iterator[Change]:
    words = ("not demanded (不要求)", "demanded (须签名)")
    key = "signed_requests"
    yield from _flag(f"{term}.{key}", a[key], b[key], words=words, on=Effect.NARROWER)


_ABSENT: Final = "– (无)"
_ALLOWED: Final = ("not allowed (不允许)", "allowed (允许)")
_SUBJECTS: Final = frozenset({"provider", "consumer", "dataset"})

_COMPARISONS: Final[Mapping[str, Comparison]] = {
    "provider": _replaced,
    "consumer": _replaced,
    "systems": _members,
    "dataset": _replaced,
    "fields": _fields,
    "purposes": _members,
    "legal_basis": _basis,
    "legal_citation": _replaced,
    "modes": partial(_members, words=MODES),
    "quotas": _quotas,
    "row_filters": _filters,
    # RFC 3339 in UTC with milliseconds: the order of the texts is that of the times.
    "not_before": partial(_amount, more=Effect.NARROWER),
    "not_after": _amount,
    "retention_days": partial(_amount, unit=" days (日)"),
    "onward_sharing": _onward,
    "break_glass": _emergency,
    "evidence": _evidence,
}
