"""The terms of a contract in plain words, the Chinese term of art beside each. Pure.

Every function takes what the signed document holds (`isthmus.terms.terms_to_document`) and returns words for it, for
any content: a value that this program does not know is said to be unknown, never left out.
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.terms import instant, rfc3339
from isthmus.transforms import Transform, TransformKind

Words = Mapping[str, str]

LEGAL_BASES: Final[Words] = {
    "CONSENT": "the person's own consent (个人同意)",
    "LEGAL_OBLIGATION": "a duty that a law puts on the consumer (法定义务)",
    "PUBLIC_TASK": "a task under the consumer's statutory powers (法定职责)",
    "VITAL_INTEREST": "protecting somebody's life or health (紧急情况)",
    "CONTRACT": "performance of a contract with the person (合同所必需)",
}
MODES: Final[Words] = {
    "QUERY": "facts about one subject (查询)",
    "VERIFY": "a yes, no or unknown about one subject; no data leave the provider (核验)",
    "BATCH": "facts about many subjects in one call (批量)",
    "STREAM": "the whole dataset or a filtered part of it (批量交换)",
}
WINDOWS: Final[Words] = {
    "MINUTE": "in each minute (每分钟)",
    "HOUR": "in each hour (每小时)",
    "DAY": "in each day (每日)",
    "MONTH": "in each calendar month (每月)",
    "TOTAL": "in the life of this version (合同期内)",
}
SCOPES: Final[Words] = {
    "CONTRACT": "over all use of the contract (整个合同)",
    "SYSTEM": "for each system by itself (每个系统)",
    "SUBJECT": "for each data subject by itself (每个数据主体)",
}
SHARING_CLASSES: Final[Words] = {
    "UNCONDITIONAL": "无条件共享: any department may use it for its duties",
    "CONDITIONAL": "有条件共享: under the conditions that the catalogue publishes",
    "REFUSED": "不予共享: never shared",
}
STATES: Final[Words] = {
    "DRAFT": "being written (草拟)",
    "PROPOSED": "proposed, not yet signed by both (待签署)",
    "COUNTERED": "answered with other terms (已另提条款)",
    "AGREED": "signed by both, not yet in force (已签署待生效)",
    "ACTIVE": "in force (生效中)",
    "SUSPENDED": "stopped for a time (已中止)",
    "EXPIRED": "its period is over (已到期)",
    "TERMINATED": "ended by a party (已终止)",
    "SUPERSEDED": "replaced by a later version (已被取代)",
    "REJECTED": "refused (不同意)",
    "WITHDRAWN": "taken back by its proposer (已撤回)",
}
DEADLINES: Final[Words] = {
    "ANSWER": "Answer due (答复期限)",
    "PROVIDE": "First provision due (提供期限)",
    "RECTIFY": "Rectification due (整改期限)",
    "REVIEW": "Review of an emergency use due (复核期限)",
}
_OPERATORS: Final[Words] = {
    "EQ": "= (等于)",
    "NE": "≠ (不等于)",
    "LT": "< (小于)",
    "LE": "≤ (不大于)",
    "GT": "> (大于)",
    "GE": "≥ (不小于)",
    "IN": "one of (属于)",
}


def short_name(enum: Any, prefix: str, number: int) -> str:
    """Returns the name of an enum's value without its prefix; a number that this program does not know says so."""
    try:
        name: str = enum.Name(number)
    except ValueError:
        return f"UNKNOWN({number})"
    return name.removeprefix(prefix)


def explained(name: str, words: Words) -> str:
    """Returns a name with what it means."""
    return f"{name}: {words.get(name, 'not known to this program')}"


def transform_words(notation: str) -> str:
    """Returns what stays of a field under a transform."""
    try:
        transform = Transform.parse(notation)
    except ValueError:
        return "not known to this program"
    argument = transform.argument
    match transform.kind:
        case TransformKind.PLAIN:
            return "as it is (原值)"
        case TransformKind.HASH:
            return "only a keyed digest, the same throughout one contract (加密摘要)"
        case TransformKind.OMIT:
            return "never released (不提供)"
        case TransformKind.MASK:
            return _mask_words(int(argument))
    if argument == "year":
        return "only the year (仅年份)"
    if argument == "month":
        return "only the year and month (仅年月)"
    return f"rounded down to a multiple of {argument} (按{argument}取整)"


def _mask_words(kept: int) -> str:
    if not kept:
        return "wholly hidden (全部隐去)"
    characters = "character" if kept == 1 else f"{kept} characters"
    return f"all but the last {characters} hidden (仅保留末{kept}位)"


def field_words(field: Mapping[str, str]) -> str:
    """Returns one field with its transform, in the notation and in words."""
    return f"{field['name']} ({field['transform']}): {transform_words(field['transform'])}"


def filter_words(predicate: Mapping[str, Any]) -> str:
    """Returns one row filter."""
    operator = _OPERATORS.get(predicate["operator"], f"{predicate['operator']} (not known to this program)")
    return f"{predicate['field']} {operator} {', '.join(map(_value_words, predicate['values']))}"


def _value_words(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "NULL"
    kind, content = next(iter(value.items()))
    if kind == "bool":
        return "true" if content else "false"
    # Quotes, so that a text with commas is not read as several.
    return f'"{content}"' if kind == "string" else f"{content} ({kind})" if kind == "bytes" else content


def quota_words(quota: Mapping[str, Any]) -> str:
    """Returns one limit on use."""
    limits = [f"at most {quota[each]} {each}" for each in ("calls", "rows") if quota[each]]
    counted = f"{WINDOWS.get(quota['window'], quota['window'])}, {SCOPES.get(quota['scope'], quota['scope'])}"
    return f"{' and '.join(limits) or 'any number of calls and rows'} {counted}"


def moment(at: datetime, zone: tzinfo | None) -> str:
    """Returns a time in `zone` (None: the machine's own), and exactly as the signed text has it.

    Args:
        at: an aware time.
        zone: for people.
    """
    local = at.astimezone(zone).isoformat(timespec="minutes")
    return f"{local[:10]} {local[11:16]} UTC{local[16:]} ({rfc3339(at)})"


def exact(message: Timestamp) -> str:
    """Returns a message's time for other programs, RFC 3339 in UTC; one outside the calendar as its seconds."""
    try:
        return rfc3339(instant(message))
    except (ValueError, OverflowError):
        return f"{message.seconds} s"


def when(message: Timestamp, zone: tzinfo | None) -> str:
    """Returns a message's time as `moment` does; one outside the calendar is said to be unreadable."""
    try:
        return moment(instant(message), zone)
    except (ValueError, OverflowError):
        return f"a time that cannot be read ({message.seconds} s)"


def until(message: Timestamp, zone: tzinfo | None) -> str:
    """Returns the last moment before a time, as people say it: `the end of` a day where it is midnight in `zone`."""
    try:
        at = instant(message)
        local, before = at.astimezone(zone), instant(Timestamp(seconds=message.seconds - 1)).astimezone(zone)
    except (ValueError, OverflowError):
        return when(message, zone)
    if local.isoformat()[11:19] != "00:00:00" or at.microsecond:
        return f"before {moment(at, zone)}"
    return f"the end of {before:%Y-%m-%d} UTC{before.isoformat()[-6:]} (before {rfc3339(at)})"
