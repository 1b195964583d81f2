"""The story: what is asked, what changes meanwhile, and the decision that each question must get.

It is data: a list of steps made from a cast. Contracts of its own (unsigned, short-lived, with a quota) are
variants of the cast's statutory contract.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from isthmus.demo.actions import (
    HANDSHAKE_REFUSED,
    Ask,
    AwaitExpiry,
    AwaitOverdue,
    ChangeConsent,
    Counter,
    DenyCertificate,
    Expected,
    Propose,
    Resume,
    ReviewEmergency,
    Sign,
    Step,
    Suspend,
    denied,
)
from isthmus.demo.parties import HEAD
from isthmus.demo.scenario import Cast, Contract, People, Scenario

CASE: Final = "办件-2026-000117"
_SHORT: Final = timedelta(seconds=4)


def own_contracts(cast: Cast) -> tuple[Contract, ...]:
    """The contracts that only the story needs; they are proposed and signed before it begins."""
    emergency = (_emergency(cast),) if cast.people else ()
    return (_unsigned(cast), _offered(cast), _quota(cast), _short(cast), *emergency)


def unanswered(cast: Cast) -> Contract:
    """The contract that was proposed weeks before the story begins, and never answered."""
    return cast.statutory.variant("unanswered", signers=())


def _unsigned(cast: Cast) -> Contract:
    return cast.statutory.variant("unsigned", signers=(cast.statutory.consumer,))


def _emergency(cast: Cast) -> Contract:
    return cast.main.variant("emergency", emergency=True)


def _offered(cast: Cast) -> Contract:
    return cast.statutory.variant("offer", signers=())


def _counter_offer(cast: Cast) -> Contract:
    """The offer with its first field only."""
    offer = _offered(cast)
    return replace(offer, fields=dict([next(iter(offer.fields.items()))]))


def _quota(cast: Cast) -> Contract:
    return cast.statutory.variant("quota", quota=2)


def _short(cast: Cast) -> Contract:
    return cast.statutory.variant("short", lasts=_SHORT)


def story(scenario: Scenario) -> tuple[Step, ...]:
    """The whole story of a scenario."""
    cast = scenario.cast
    steps = [*_questions(cast), *_wrong_questions(cast), *_wrong_callers(cast)]
    steps += (
        [*_consents(cast, cast.people), *_break_glass(cast, cast.people)] if cast.people else _evidence(cast)
    )
    steps += [
        *_signatures(cast),
        *_negotiation(cast),
        *_overdue(cast),
        *_suspension(cast),
        *_use(cast),
        *_further(scenario),
        *_expiry(cast),
    ]
    return tuple(steps)


def system(contract: Contract, slug: str = "") -> str:
    """The identity path of one of a contract's consumer systems, the first unless named."""
    return f"/department/{contract.consumer}/system/{slug or contract.systems[0]}"


def _ask(contract: Contract, /, **changes: Any) -> Ask:
    members: dict[str, Any] = {
        "who": system(contract),
        "contract": contract.id,
        "purpose": contract.purposes[0],
        "fields": tuple(contract.fields),
        "case": "" if contract.needs_consent else CASE,
    }
    return Ask(**{**members, **changes})


def _main(cast: Cast, **changes: Any) -> Ask:
    return _ask(cast.main, **{"subject": cast.subject, **changes})


def _with_consent(cast: Cast, reason: str, consent_reason: str) -> Expected:
    return denied(reason, consent_reason) if cast.main.needs_consent else denied(reason)


def _questions(cast: Cast) -> Iterator[Step]:
    allowed = Expected(known=True, shows=cast.shows)
    yield Step("allowed: what the contract grants, masked as it says 按合同脱敏提供", _main(cast), allowed)
    yield Step("verify: yes 核验为是", _main(cast, fields=(), test=cast.yes), Expected(verdict="YES"))
    yield Step("verify: no 核验为否", _main(cast, fields=(), test=cast.no), Expected(verdict="NO"))
    yield Step(
        "the provider does not know the subject", _main(cast, subject=cast.unknown), Expected(known=False)
    )
    if cast.people:
        others, each = (cast.people.silent, cast.people.minor), ("ALLOW", "CONSENT_MISSING", "ALLOW")
    else:
        others, each = (cast.unknown, cast.subject), ("ALLOW", "ALLOW", "ALLOW")
    yield Step(
        "three at once, each with an outcome 批量查询", _main(cast, others=others), Expected(each=each)
    )


def _wrong_questions(cast: Cast) -> Iterator[Step]:
    yield Step(
        "a field outside the contract 超出合同的数据项",
        _main(cast, fields=(*cast.main.fields, cast.hidden_field)),
        _with_consent(cast, "FIELDS_OUTSIDE_CONTRACT", "CONSENT_FIELDS"),
    )
    yield Step(
        "another purpose 目的不符",
        _main(cast, purpose=cast.other_purpose),
        _with_consent(cast, "PURPOSE_NOT_ALLOWED", "CONSENT_PURPOSE"),
    )
    yield Step(
        "no contract of this name 没有合同",
        _main(cast, contract=f"{cast.main.id}-none"),
        denied("NO_CONTRACT"),
    )
    yield Step(
        "a contract over data that may not be shared 不予共享",
        Propose(cast.refused),
        denied("TERMS_INVALID", says="不予共享"),
    )


def _wrong_callers(cast: Cast) -> Iterator[Step]:
    department, slug = cast.third
    yield Step(
        "a system that the contract does not list",
        _main(cast, who=system(cast.main, cast.unlisted_system)),
        denied("SYSTEM_NOT_LISTED"),
    )
    yield Step(
        "a third department with somebody else's contract 冒用他人合同",
        _main(cast, who=f"/department/{department}/system/{slug}"),
        denied("NO_CONTRACT"),
    )
    for who, name in (
        ("/operator/duty", "an operator's certificate 运维证书"),
        (f"/department/{cast.main.provider}/node/main", "a node's stolen certificate 被盗的节点证书"),
    ):
        yield Step(name, _main(cast, who=who), denied("ROLE_NOT_ALLOWED"))
    stolen = system(cast.main, cast.unlisted_system)
    yield Step("the operator denies a stolen certificate", DenyCertificate(stolen, "私钥泄露 key leaked"))
    yield Step(
        "a certificate denied a moment ago 刚刚吊销的证书",
        _main(cast, who=stolen),
        denied("CREDENTIAL_DENIED", "SYSTEM_NOT_LISTED"),
    )
    yield Step(
        "a certificate of another authority 其他机构签发的证书",
        _main(cast, foreign=True),
        denied(HANDSHAKE_REFUSED),
    )


def _consents(cast: Cast, people: People) -> Iterator[Step]:
    pausing, withdrawing = _main(cast, subject=people.pausing), _main(cast, subject=people.withdrawing)
    yield Step("no consent 未取得同意", _main(cast, subject=people.silent), denied("CONSENT_MISSING"))
    yield Step(
        "consent for another purpose 同意的目的不同",
        _main(cast, purpose=cast.main.purposes[1]),
        denied("CONSENT_PURPOSE"),
    )
    yield Step(
        "a minor, by a guardian's consent 监护人同意", _main(cast, subject=people.minor), Expected(known=True)
    )
    yield Step("the person pauses the consent", ChangeConsent("Pause", "pausing", "暂停使用"))
    yield Step("paused a moment ago 刚刚暂停", pausing, denied("CONSENT_PAUSED"))
    yield Step("the person resumes it", ChangeConsent("Resume", "pausing", "恢复使用"))
    yield Step("resumed 恢复同意", pausing, Expected(known=True))
    yield Step("before the withdrawal 撤回之前", withdrawing, Expected(known=True))
    yield Step("the person withdraws the consent", ChangeConsent("Withdraw", "withdrawing", "不再同意"))
    yield Step("withdrawn a moment ago 刚刚撤回", withdrawing, denied("CONSENT_WITHDRAWN"))


def _break_glass(cast: Cast, people: People) -> Iterator[Step]:
    why, contract = "昏迷,联系不到家属 unconscious, no relative to be found", _emergency(cast)
    ask = _ask(contract, subject=people.silent)
    yield Step("no consent, and no emergency stated", ask, denied("CONSENT_MISSING"))
    yield Step(
        "an emergency, which the contract allows 紧急情况", replace(ask, emergency=why), Expected(known=True)
    )
    yield Step(
        "an emergency that the contract does not allow",
        _main(cast, subject=people.silent, emergency=why),
        denied("BREAK_GLASS_NOT_ALLOWED", "CONSENT_MISSING"),
    )
    yield Step("the provider reviews the emergency use 事后审查", ReviewEmergency(contract, "属实 justified"))


def _evidence(cast: Cast) -> Iterator[Step]:
    yield Step("no case number 缺少办件编号", _main(cast, case=""), denied("EVIDENCE_MISSING"))


def _statutory(cast: Cast, contract: Contract) -> Ask:
    return _ask(contract, subject=cast.statutory_subject)


def _signatures(cast: Cast) -> Iterator[Step]:
    contract = _unsigned(cast)
    ask = _statutory(cast, contract)
    yield Step("signed by one side only 仅一方签署", ask, denied("CONTRACT_NOT_SIGNED"))
    yield Step("the provider signs too", Sign(contract, contract.provider))
    yield Step("signed by both 双方签署", ask, Expected(known=True))


def _negotiation(cast: Cast) -> Iterator[Step]:
    asked, granted = _statutory(cast, _offered(cast)), _counter_offer(cast)
    ask = _statutory(cast, granted)
    yield Step(
        "the provider answers with fewer fields 反要约",
        Counter(granted, "最小必要 only what the purpose needs"),
    )
    yield Step("a counter-offer that nobody signed 尚未签署", ask, denied("CONTRACT_NOT_SIGNED"))
    for department in (granted.consumer, granted.provider):
        yield Step(f"{department} signs the counter-offer", Sign(granted, department))
    yield Step("what was first asked for 超出反要约", asked, denied("FIELDS_OUTSIDE_CONTRACT"))
    yield Step("what both agreed on 按约提供", ask, Expected(known=True))


def _overdue(cast: Cast) -> Iterator[Step]:
    contract = unanswered(cast)
    yield Step("a proposal of 45 days ago, never answered 逾期未答复", AwaitOverdue(contract))
    yield Step("it allows nothing 尚未签署", _statutory(cast, contract), denied("CONTRACT_NOT_SIGNED"))
    yield Step(f"{contract.provider} answers at last: it agrees 同意共享", Sign(contract, contract.provider))
    yield Step(
        f"{contract.consumer} signs too, by another officer than submitted it 双人复核",
        Sign(contract, contract.consumer, HEAD),
    )
    yield Step("agreed at last 按约提供", _statutory(cast, contract), Expected(known=True))


def _suspension(cast: Cast) -> Iterator[Step]:
    yield Step("the provider suspends the contract", Suspend(cast.main, "数据质量核查 data quality check"))
    yield Step("suspended a moment ago 合同中止", _main(cast), denied("CONTRACT_SUSPENDED"))
    yield Step("the provider resumes it", Resume(cast.main, "核查完成 check completed"))
    yield Step("resumed 合同恢复", _main(cast), Expected(known=True, shows=cast.shows))


def _use(cast: Cast) -> Iterator[Step]:
    ask = _statutory(cast, _quota(cast))
    yield Step("first of two under a quota 配额内第一次", ask, Expected(known=True))
    yield Step("second of two under a quota 配额内第二次", ask, Expected(known=True))
    yield Step("the quota is used up 配额用尽", ask, denied("QUOTA_EXHAUSTED"))


def _further(scenario: Scenario) -> Iterator[Step]:
    for each in scenario.extras:
        changes = {"purpose": each.purpose} if each.purpose else {}
        ask = _ask(each.contract, subject=each.subject, **changes)
        yield Step(each.name, ask, Expected(known=True, shows=each.shows))


def _expiry(cast: Cast) -> Iterator[Step]:
    contract = _short(cast)
    yield Step("the short contract's period ends", AwaitExpiry(contract))
    yield Step("the period is over 合同到期", _statutory(cast, contract), denied("CONTRACT_EXPIRED"))
