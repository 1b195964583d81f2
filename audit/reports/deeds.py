"""What was done under a contract, in words: how it came about and changed, and each exchange."""

from collections.abc import Mapping
from typing import Final

from audit.record import LOGGED, AccessRecord, Kind
from audit.reports.plain import because, counted, foretold, listed, who
from audit.reports.words import WHEN, alarm, circumstances, outcome

_ACTS: Final[Mapping[str, str]] = {
    "ProposeContract": "proposed it (提出共享申请)",
    "CounterContract": "answered with other terms (提出修改意见)",
    "SignContract": "signed it (签署)",
    "RejectContract": "rejected it (不予共享)",
    "WithdrawContract": "withdrew the proposal (撤回申请)",
    "SuspendContract": "suspended it (中止共享)",
    "ResumeContract": "resumed it (恢复共享)",
    "TerminateContract": "ended it (终止共享)",
    "RequestSupplement": "asked for what the application lacked (要求补正)",
    "SupplementContract": "supplied what the application lacked (补正)",
    "ExtendAnswer": "extended the time for an answer (延期答复)",
    "ReviewEmergencyUse": "reviewed an emergency use (紧急调用复核)",
    "DryRunContract": "tried other terms against what was asked in the past (试算)",
    "RequestConsent": "asked a person for consent (征求同意)",
    "GrantConsent": "recorded that a person consented (同意)",
    "RefuseConsent": "recorded that a person refused to consent (拒绝同意)",
    "PauseConsent": "recorded that a person paused their consent (暂停同意)",
    "ResumeConsent": "recorded that a person ended the pause of their consent (恢复同意)",
    "WithdrawConsent": "recorded that a person withdrew their consent (撤回同意)",
    "RevokeConsent": "revoked a person's consent (撤销同意)",
    "InvalidateConsent": "declared a person's consent invalid (同意无效)",
    "Explain": "asked how a request would be decided",
}

_CLOCK: Final = "Clock"
_EVENTS: Final[Mapping[str, str]] = {
    "ACTIVATED": "it came into force (生效)",
    "EXPIRED": "its time was over (到期)",
    "SUPERSEDED": "a later version took its place (被新版本取代)",
    "LAPSED": "a request went unanswered for too long and lapsed (逾期失效)",
    "ANSWER_OVERDUE": "THE ANSWER WAS OVERDUE (答复逾期)",
    "PROVIDE_OVERDUE": "THE DATA WERE NOT PROVIDED IN TIME (提供逾期)",
    "RECTIFY_OVERDUE": "WHAT WAS TO BE RECTIFIED WAS NOT, IN TIME (整改逾期)",
    "EMERGENCY_REVIEW_OVERDUE": "THE REVIEW OF AN EMERGENCY USE WAS OVERDUE (紧急调用复核逾期)",
    "EXHAUSTED": "a consent was used up (同意次数用尽)",
}
_AGREED: Final = frozenset({"AGREED", "ACTIVATED"})


def deed_in_words(record: AccessRecord) -> str:
    """What a record says was done, for an official: the time in UTC, a colon and a space, and the story."""
    when = record.at[LOGGED].strftime(WHEN) if LOGGED in record.at else "at an unknown time"
    return f"{when}: {_story(record)}"


def _story(record: AccessRecord) -> str:
    if record.kind is Kind.DECISION:
        told = f"{outcome(record)}{_persons(record)}"
        return f"{alarm(record)}{who(record.caller)} {told}.{circumstances(record)}"
    if record.kind is Kind.STREAM_END:
        gone = f"{counted(record.row_count, 'row')} had gone to {who(record.caller)}"
        return f"a stream ended as {record.action.lower()}{because(record.reasons)}; {gone}."
    if record.action == _CLOCK:
        events = str(record.change.get("event", "")).split()
        return f"by time alone: {listed(_EVENTS.get(each, each) for each in events)}.{_about(record)}"
    if record.reasons and record.kind is Kind.CONTROL:
        tried = f"called {record.action} and was refused{because(record.reasons)}; nothing was changed"
        return f"{who(record.caller)} {tried}.{_about(record)}"
    act = _ACTS.get(record.action, f"called {record.action}")
    return f"{who(record.caller)} {act}{_more(record)}.{_about(record)}"


def _persons(record: AccessRecord) -> str:
    if record.mode != "BATCH" or not record.subject_count:
        return ""
    allowed = record.outcomes.get("ALLOW", 0)
    return f", in a batch of {counted(record.subject_count, 'person')} of whom {allowed:,} were answered"


def _more(record: AccessRecord) -> str:
    told = record.change
    if record.action == "SignContract" and told.get("event") in _AGREED:
        return "; both departments have now signed"
    if record.action == "RejectContract":
        return f": {str(told.get('rejection_reason', '')).replace('_', ' ').lower()}"
    if record.action == "SuspendContract" and "rectify_by" in told:
        return f", to be rectified by {told['rectify_by']}"
    if record.action == "ReviewEmergencyUse":
        return " and found it justified" if told.get("justified") == "yes" else " and found it NOT JUSTIFIED"
    if record.action == "Explain":
        return f" and was told {foretold(told.get('verdict'))}; nothing was released"
    return ""


def _about(record: AccessRecord) -> str:
    """What it was about, where that is not the contract itself."""
    if record.contract and record.resource not in ("", record.contract):
        return f" About: {record.resource}. Contract (共享协议): {record.contract}."
    return f" Contract (共享协议): {record.contract or record.resource}."
