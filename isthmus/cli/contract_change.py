"""A difference between two contracts, and what it does to sharing. Pure.

`WIDER` and `NARROWER` are said of a single difference, all else being equal, and only where a rule decides it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Json = Any


class Effect(StrEnum):
    """What a difference does to sharing; MIXED is said of several together."""

    EQUAL = "EQUAL"
    WIDER = "WIDER"
    NARROWER = "NARROWER"
    NEITHER = "NEITHER"
    UNDECIDED = "UNDECIDED"
    MIXED = "MIXED"


EFFECTS: Final[Mapping[Effect, str]] = {
    Effect.WIDER: "wider (更宽)",
    Effect.NARROWER: "narrower (更窄)",
    Effect.NEITHER: "neither (不变)",
    Effect.UNDECIDED: "for a person to judge (须由人判断)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    Args:
        term: the member of the signed document, dotted, for example `onward_sharing.recipients`.
        item: which part of the term, for example a field's name; empty for all of it.
        a, b: what each document holds there; None for nothing.
        a_says, b_says: the same in plain words.
        effect: what going from A to B does to sharing.
        why: the reason, where the effect alone does not say it.
    """

    term: str
    item: str = ""
    a: Json
    b: Json
    a_says: str
    b_says: str
    effect: Effect
    why: str = ""


LABELS: Final[Mapping[str, str]] = {
    "provider": "Provider (数据提供部门)",
    "consumer": "Consumer (数据需求部门)",
    "systems": "Systems that may ask (使用系统)",
    "dataset": "Dataset (数据目录)",
    "fields": "Fields (共享字段)",
    "purposes": "Purposes (使用目的)",
    "legal_basis": "Legal basis (法律依据)",
    "legal_citation": "Law and article (法律条文)",
    "modes": "Modes of use (共享方式)",
    "quotas": "Limits on use (使用限额)",
    "row_filters": "Only rows where (数据范围)",
    "not_before": "In force from (有效期起)",
    "not_after": "In force until (有效期止)",
    "retention_days": "Kept for at most (留存期限)",
    "onward_sharing": "Passing it on (向第三方提供)",
    "onward_sharing.allowed": "Passing it on (向第三方提供)",
    "onward_sharing.recipients": "Recipients (接收部门)",
    "break_glass": "Emergency use (紧急使用)",
    "break_glass.allowed": "Emergency use (紧急使用)",
    "break_glass.systems": "In an emergency by (紧急使用系统)",
    "break_glass.review_within_hours": "Each use reviewed within (复核期限)",
    "evidence.signed_requests": "Signature on requests (请求签名)",
}
"""By term, dotted where a part of it changed."""


def verdict(changes: Sequence[Change]) -> Effect:
    """Returns what all differences together do to sharing."""
    effects = {change.effect for change in changes} - {Effect.NEITHER}
    if Effect.UNDECIDED in effects:
        return Effect.UNDECIDED
    if len(effects) > 1:
        return Effect.MIXED
    return next(iter(effects), Effect.NEITHER if changes else Effect.EQUAL)


def summary(changes: Sequence[Change]) -> str:
    """Returns one sentence about all differences."""
    if not changes:
        return "The terms are equal; no term differs (条款相同)."
    counts = [
        f"{count} {EFFECTS[effect]}"
        for effect in EFFECTS
        if (count := sum(each.effect is effect for each in changes))
    ]
    noun = "difference makes" if len(changes) == 1 else "differences make"
    return f"{len(changes)} {noun} sharing under B, against A: {', '.join(counts)}."


def rows(changes: Sequence[Change]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yields a row a difference: the term, the part of it, what A says, what B says, what that makes of sharing."""
    for each in changes:
        effect = EFFECTS[each.effect] + (f": {each.why}" if each.why else "")
        yield LABELS[each.term], each.item, each.a_says, each.b_says, effect
