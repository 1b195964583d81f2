"""The words that reports share: who called, which facts, why it was refused. Chinese stands beside a term of the law."""

from collections.abc import Iterable, Mapping
from typing import Final

_ROLES: Final = {"system": "the system", "officer": "the officer", "node": "the node"}

LEGAL_BASES: Final[Mapping[str, str]] = {
    "CONSENT": "the person's consent (个人同意)",
    "LEGAL_OBLIGATION": "a legal obligation (法定义务)",
    "PUBLIC_TASK": "a public task (法定职责)",
    "VITAL_INTEREST": "the protection of life and health (保护生命健康)",
    "CONTRACT": "a contract with the person (订立或履行合同)",
}

REFUSALS: Final[Mapping[str, str]] = {
    "IDENTITY_INVALID": "nobody could say who was asking (身份无效)",
    "CREDENTIAL_DENIED": "its certificate had been blocked (证书已停用)",
    "ROLE_NOT_ALLOWED": "it has no right to ask such a thing (无此权限)",
    "NOT_A_PARTY": "it is no party to the contract (非协议当事部门)",
    "NO_CONTRACT": "no contract between the departments allows it (无共享协议)",
    "CONTRACT_NOT_SIGNED": "the contract was not signed by both departments (协议未生效)",
    "CONTRACT_NOT_YET_VALID": "the contract was not yet in force (协议未到期始)",
    "CONTRACT_EXPIRED": "the contract had expired (协议已到期)",
    "CONTRACT_SUSPENDED": "the contract was suspended (协议已中止)",
    "CONTRACT_ENDED": "the contract had been ended (协议已终止)",
    "SYSTEM_NOT_LISTED": "the contract does not name this system (系统未列入协议)",
    "PURPOSE_NOT_ALLOWED": "the contract does not allow this purpose (用途不符)",
    "FIELDS_OUTSIDE_CONTRACT": "it asked for more than the contract allows (超出约定范围)",
    "MODE_NOT_ALLOWED": "the contract does not allow this way of asking (方式不符)",
    "EVIDENCE_MISSING": "it named no case (未提供办件依据)",
    "SCHEME_NOT_ALLOWED": "the data are not found by this kind of number (标识类型不符)",
    "DATASET_UNAVAILABLE": "the dataset is no longer offered (数据集已下线)",
    "DATASET_REFUSED": "the dataset is not shared with anybody (不予共享)",
    "CONSENT_MISSING": "there was no consent (未取得同意)",
    "CONSENT_WITHDRAWN": "the consent had been withdrawn (同意已撤回)",
    "CONSENT_PAUSED": "the consent was paused (同意已暂停)",
    "CONSENT_EXPIRED": "the consent had expired (同意已过期)",
    "CONSENT_PURPOSE": "the consent is for another purpose (超出同意的用途)",
    "CONSENT_FIELDS": "the consent does not cover all that was asked for (超出同意的范围)",
    "CONSENT_MODE": "the consent does not cover this way of asking (超出同意的方式)",
    "CONSENT_TERMS_CHANGED": "the consent was given to other terms (同意后条款已变更)",
    "QUOTA_EXHAUSTED": "it had asked as often as the contract allows (超出调用额度)",
    "RATE_LIMITED": "it asked too fast (请求过于频繁)",
    "BREAK_GLASS_NOT_ALLOWED": "the contract allows it no emergency use (不允许紧急调用)",
    "POLICY_ERROR": "the rules could not be checked, and what is not checked is refused (规则校验失败)",
    "PROVIDER_VETO": "the department that holds the data refused (提供部门拒绝)",
    "GRANT_INVALID": "the department that holds the data did not accept the order (授权无效)",
    "DEPARTMENT_UNAVAILABLE": "the department that holds the data could not be reached (提供部门不可用)",
    "DEPARTMENT_TIMEOUT": "the department that holds the data did not answer in time (提供部门超时)",
    "DEPARTMENT_MISBEHAVED": "the department that holds the data answered wrongly (提供部门应答异常)",
    "LEDGER_UNAVAILABLE": "it could not be put on record (无法留痕)",
    "OVERLOADED": "too much was asked at once (系统繁忙)",
    "DEADLINE_EXCEEDED": "it took too long (超时)",
    "CANCELLED": "whoever asked had gone (请求已取消)",
    "GATEWAY_DENIED": "the gateway's own certificate had been blocked (网关证书已停用)",
    "NOT_FOUND": "there is no such thing (不存在)",
    "TWO_PERSON_RULE": "the same officer may not do both steps (双人复核)",
    "STATEMENT_INVALID": "the signature does not fit (签名无效)",
    "INTERNAL": "of a technical fault (内部错误)",
}
"""Why something was refused, behind "because"; a reason that is not here is told by its name."""


def who(uri: str) -> str:
    """A caller, by its SPIFFE URI: `the system enrolment of departments/education`."""
    parts = uri.split("/")[3:]
    if len(parts) == 4 and parts[0] == "department":
        return f"{_ROLES.get(parts[2], parts[2])} {parts[3]} of departments/{parts[1]}"
    return f"the {' '.join(parts)}" if len(parts) == 2 else "somebody"


def resource_of(uri: str) -> str:
    """A caller by its resource name, `departments/education/systems/enrolment`; what has none is returned as it is."""
    if not uri.startswith("spiffe://"):
        return uri
    parts = uri.split("/")[3:]
    if len(parts) == 4 and parts[0] == "department":
        return f"departments/{parts[1]}/{parts[2]}s/{parts[3]}"
    return f"{parts[0]}s/{parts[1]}" if len(parts) == 2 else uri


def basis(name: str) -> str:
    """A legal basis, by its name without `LEGAL_BASIS_`."""
    return LEGAL_BASES.get(name, name.replace("_", " ").lower())


def foretold(verdict: object) -> str:
    """What somebody was told who asked how a request would be decided; the verdict is ALLOW, DENY, or there is none."""
    words = {"ALLOW": "that it would be answered", "DENY": "that it would be refused"}
    return words.get(str(verdict), "nothing")


def because(reasons: Iterable[str]) -> str:
    """Why something was refused: `because …`, every rule that failed; empty where none is named."""
    told = [REFUSALS.get(each, each.replace("_", " ").lower()) for each in reasons]
    return f" because {listed(told)}" if told else ""


def fact(grant: Mapping[str, str]) -> str:
    """A field that was released, and what was left of it: `birth_date (only the year)`."""
    kind, _, argument = grant.get("transform", "plain").partition(":")
    left = {
        "plain": "",
        "omit": "left out",
        "hash": "scrambled",
        "mask": f"masked but for {counted(int(argument), 'character')}" if argument.isdecimal() else "masked",
        "bucket": f"only the {argument}" if argument in ("year", "month") else f"rounded to {argument}",
    }.get(kind, f"{kind}:{argument}")
    return f"{grant['name']} ({left})" if left else str(grant["name"])


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`, `1,234 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    found = list(items)
    return f"{', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else "".join(found)
