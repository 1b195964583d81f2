"""What the reasons for a refusal are called on the picture: those of `isthmus.v1.RejectionReason` and `isthmus.v1.Reason`."""

from typing import Final

from isthmus.picture.words import Word

_WORDS: Final = {
    "OUTSIDE_DUTIES": Word("Outside the consumer's duties", "超出使用方职责"),
    "CONDITION_NOT_MET": Word("A published condition not met", "不符合目录公布的条件"),
    "PURPOSE_NOT_COVERED": Word("Purpose not covered", "用途不在目录范围内"),
    "EXCESSIVE": Word("More than the purpose needs", "超出用途所需"),
    "FORBIDDEN_BY_LAW": Word("Forbidden by law", "法律禁止"),
    "DATA_NOT_HELD": Word("Data not held", "提供方不掌握该数据"),
    "CREDENTIAL_DENIED": Word("Certificate denied", "证书已被禁用"),
    "NOT_A_PARTY": Word("Not a party", "非合约当事方"),
    "NO_CONTRACT": Word("No contract", "没有合约"),
    "CONTRACT_NOT_SIGNED": Word("Contract not signed", "合约未签署"),
    "CONTRACT_NOT_YET_VALID": Word("Contract not in force yet", "合约尚未生效"),
    "CONTRACT_EXPIRED": Word("Contract expired", "合约已到期"),
    "CONTRACT_SUSPENDED": Word("Contract suspended", "合约已中止"),
    "CONTRACT_ENDED": Word("Contract ended", "合约已终止"),
    "SYSTEM_NOT_LISTED": Word("System not named in the contract", "系统未列入合约"),
    "PURPOSE_NOT_ALLOWED": Word("Purpose not in the contract", "用途不在合约内"),
    "FIELDS_OUTSIDE_CONTRACT": Word("Fields not in the contract", "字段不在合约内"),
    "MODE_NOT_ALLOWED": Word("Mode of use not in the contract", "使用方式不在合约内"),
    "EVIDENCE_MISSING": Word("Evidence of the legal basis missing", "缺少法律依据材料"),
    "SCHEME_NOT_ALLOWED": Word("Wrong kind of identifier", "标识类型不符"),
    "DATASET_UNAVAILABLE": Word("Dataset not published", "数据集未发布"),
    "DATASET_REFUSED": Word("Dataset not to be shared", "数据集不予共享"),
    "CONSENT_MISSING": Word("No consent", "未取得同意"),
    "CONSENT_WITHDRAWN": Word("Consent withdrawn", "同意已撤回"),
    "CONSENT_PAUSED": Word("Consent paused", "同意已暂停"),
    "CONSENT_EXPIRED": Word("Consent not valid at this time", "同意不在有效期"),
    "CONSENT_PURPOSE": Word("Purpose without consent", "同意不含该用途"),
    "CONSENT_FIELDS": Word("Fields without consent", "同意不含所请求字段"),
    "CONSENT_MODE": Word("Mode of use without consent", "同意不含该使用方式"),
    "CONSENT_TERMS_CHANGED": Word("Consent to another version of the terms", "同意所依条款已变更"),
    "QUOTA_EXHAUSTED": Word("Quota used up", "配额用尽"),
    "RATE_LIMITED": Word("Too many calls at once", "调用过快"),
    "BREAK_GLASS_NOT_ALLOWED": Word("Emergency use not allowed", "不允许紧急调取"),
    "POLICY_ERROR": Word("Fault of the policy", "策略故障"),
    "PROVIDER_VETO": Word("Refused by the provider's node", "提供方节点拒绝"),
    "GRANT_INVALID": Word("Grant not accepted", "授权凭证无效"),
    "DEPARTMENT_UNAVAILABLE": Word("Provider not reachable", "提供方无法连接"),
    "DEPARTMENT_TIMEOUT": Word("Provider too slow", "提供方响应超时"),
    "DEPARTMENT_MISBEHAVED": Word("Provider's answer not covered by the grant", "提供方响应超出授权"),
    "LEDGER_UNWITNESSED": Word("Nobody vouches for the log", "日志无人见证"),
}


def reason_word(reason: str) -> Word:
    """What a reason is called; one that the picture has no words for is called as the log spells it."""
    spelled = reason.replace("_", " ").capitalize()
    return _WORDS.get(reason) or Word(spelled, spelled)
