"""A contract as the document that an official reads before signing it. Pure: no clock, no connection, no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from isthmus.cli.articles import NOTHING, Article, Clause, Document, clause
from isthmus.cli.contract_steps import next_steps, unsigned
from isthmus.cli.contract_words import (
    DEADLINES,
    LEGAL_BASES,
    MODES,
    SHARING_CLASSES,
    STATES,
    exact,
    explained,
    field_words,
    filter_words,
    quota_words,
    short_name,
    until,
    when,
)
from isthmus.cli.output import clean
from isthmus.terms import terms_digest, terms_json, value_to_json
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import LegalBasis, Mode, Operator, Predicate, SharingClass
from isthmus.v1.contract_service_pb2 import (
    Contract,
    ContractState,
    ContractTerms,
    Deadline,
    DeadlineKind,
    Quota,
    QuotaScope,
    QuotaWindow,
)

TITLE: Final = "Contract on sharing government data 政务数据共享合同"


def contract_document(
    contract: Contract, *, dataset: Dataset | None = None, zone: tzinfo | None = None
) -> Document:
    """Returns a contract as a document. None of its terms is left out.

    Args:
        contract: as the gateway returned it.
        dataset: the catalogue entry of its dataset, if it is known; no part of what is signed.
        zone: the time zone for people; None for the machine's own.
    """
    terms = contract.terms
    articles = (
        ("Parties (当事部门)", _parties(terms)),
        ("Proposal (共享申请)", _proposal(contract, zone)),
        ("Data (共享数据)", _data(terms, dataset)),
        ("Purposes (使用目的)", [clause("Only for", terms.purposes)]),
        ("Legal basis (法律依据)", _basis(terms)),
        ("Modes of use (共享方式)", [clause("Allowed", map(_mode, terms.modes))]),
        ("Validity (有效期限)", _validity(terms, zone)),
        ("Limits on use (使用限额)", [clause("Quotas", map(_quota, terms.quotas), empty="no limit (不限)")]),
        ("Retention and onward sharing (留存与转供)", _afterwards(terms)),
        ("Emergency use (紧急使用)", _emergency(terms)),
        ("Deadlines (办理期限)", _deadlines(contract, zone)),
        ("Signatures (签署)", _signatures(contract, zone)),
        ("State (状态)", _state(contract, zone)),
    )
    return Document(
        TITLE,
        clean(contract.name),
        _warning(contract),
        tuple(Article(title, tuple(clauses)) for title, clauses in articles),
    )


def deadline_summary(contract: Contract) -> tuple[str, str, str]:
    """Returns the next open deadline as kind, due time and `overdue`; three empty texts where none is open.

    What is overdue goes first, then the earliest; a stopped clock has no time.
    """
    waiting = [each for each in contract.deadlines if not each.HasField("met_at") and _open(contract.state)]
    if not waiting:
        return "", "", ""
    first = min(waiting, key=lambda each: (not each.overdue, not each.HasField("due"), each.due.seconds))
    kind = short_name(DeadlineKind, "DEADLINE_KIND_", first.kind)
    due = exact(first.due) if first.HasField("due") else "stopped" if first.stopped else "not known"
    return kind, due, "overdue" if first.overdue else ""


def _parties(terms: ContractTerms) -> list[Clause]:
    return [
        clause("Provider (数据提供部门)", [terms.provider]),
        clause("Consumer (数据需求部门)", [terms.consumer]),
        clause("Systems that may ask (使用系统)", terms.systems),
    ]


def _proposal(contract: Contract, zone: tzinfo | None) -> list[Clause]:
    return [
        clause("Proposed by (提出部门)", [contract.proposer]),
        clause("Submitted by (经办人)", [contract.submitter or NOTHING]),
        clause("On (提出时间)", [when(contract.created_at, zone)]),
        clause("Scenario (使用场景)", [contract.scenario or NOTHING]),
        clause("Missing material asked for (补正告知)", [contract.supplement_request or NOTHING]),
    ]


def _data(terms: ContractTerms, dataset: Dataset | None) -> Iterator[Clause]:
    yield clause("Dataset (数据目录)", [terms.dataset])
    if dataset is not None:
        name = short_name(SharingClass, "SHARING_CLASS_", dataset.sharing_class)
        sharing = SHARING_CLASSES.get(name, name) + (" (retired, 已下架)" if dataset.retired else "")
        today = "in the catalogue today; not part of what is signed"
        yield clause("Title (目录名称)", [dataset.title])
        yield clause("Sharing class (共享属性)", [f"{sharing}; {today}"])
        yield clause("Published conditions (使用条件)", dataset.conditions)
    fields = [field_words({"name": each.name, "transform": each.transform}) for each in terms.fields]
    yield clause("Fields (共享字段)", fields)
    yield clause("Only rows where (数据范围)", map(_filter, terms.row_filters), empty="all rows (全部)")


def _basis(terms: ContractTerms) -> list[Clause]:
    basis = short_name(LegalBasis, "LEGAL_BASIS_", terms.legal_basis)
    if basis == "CONSENT":
        consent = (
            "each person must have consented; a withdrawal stops what is released after it (逐人同意，可撤回)"
        )
        if terms.break_glass.allowed:
            consent += "; not in an emergency (紧急情形除外)"
    else:
        consent = "not asked for; each request names the case it is for (不需要；每次请求注明办件编号)"
    signed = "demanded on each (须签名)" if terms.evidence.signed_requests else "not demanded (不要求)"
    return [
        clause("Basis (依据类型)", [explained(basis, LEGAL_BASES)]),
        clause("Law and article (法律条文)", [terms.legal_citation]),
        clause("Consent (个人同意)", [consent]),
        clause("Signature on requests (请求签名)", [signed]),
    ]


def _validity(terms: ContractTerms, zone: tzinfo | None) -> list[Clause]:
    return [
        clause("From (起)", [when(terms.period.not_before, zone)]),
        clause("Until (止)", [until(terms.period.not_after, zone)]),
    ]


def _afterwards(terms: ContractTerms) -> Iterator[Clause]:
    onward = terms.onward_sharing
    yield clause("Kept for at most (留存期限)", [f"{terms.retention_days} days (日)"])
    allowed = "allowed to these departments only (可提供)" if onward.allowed else "not allowed (不得提供)"
    yield clause("Passing it on (向第三方提供)", [allowed])
    if onward.allowed or onward.recipients:
        yield clause("Recipients (接收部门)", onward.recipients)


def _emergency(terms: ContractTerms) -> Iterator[Clause]:
    glass = terms.break_glass
    allowed = (
        "allowed without the consent otherwise needed (可用)" if glass.allowed else "not allowed (不可用)"
    )
    yield clause("In an emergency (紧急情形)", [allowed])
    if glass.allowed or glass.systems or glass.review_within_hours:
        yield clause("By these systems (使用系统)", glass.systems)
        yield clause("Each use reviewed within (复核期限)", [f"{glass.review_within_hours} hours (小时)"])


def _deadlines(contract: Contract, zone: tzinfo | None) -> list[Clause]:
    pack = clause("Rule pack (规则包)", [contract.rule_pack or NOTHING])
    if not contract.deadlines:
        return [pack, clause("Deadlines (期限)", [])]
    return [pack, *(_deadline(each, contract, zone) for each in contract.deadlines)]


def _deadline(deadline: Deadline, contract: Contract, zone: tzinfo | None) -> Clause:
    kind = short_name(DeadlineKind, "DEADLINE_KIND_", deadline.kind)
    values = [_due(deadline, zone), _progress(deadline, zone), f"by the rule (依据): {deadline.rule}"]
    values.append(f"in the rule pack (规则包): {contract.rule_pack or NOTHING}")
    if deadline.assumed_years:
        years = ", ".join(map(str, deadline.assumed_years))
        values.append(f"no official calendar for {years}; Monday to Friday was assumed (工作日为推定)")
    return clause(DEADLINES.get(kind, kind), values)


def _due(deadline: Deadline, zone: tzinfo | None) -> str:
    if deadline.HasField("due"):
        return until(deadline.due, zone)
    if deadline.stopped:
        return "the clock is stopped until the supplement comes (计时中止)"
    return "no date can be given here"


def _progress(deadline: Deadline, zone: tzinfo | None) -> str:
    if deadline.HasField("met_at"):
        late = "LATE (逾期办结)" if deadline.overdue else "in time (按期办结)"
        return f"done {late}, {when(deadline.met_at, zone)}"
    return "OVERDUE (已逾期)" if deadline.overdue else "not overdue (未逾期)"


def _signatures(contract: Contract, zone: tzinfo | None) -> list[Clause]:
    return [
        *(
            clause(each.department, [f"signed by {each.signer}", when(each.signed_at, zone)])
            for each in contract.signatures
        ),
        *(clause(each, ["not signed (未签署)"]) for each in unsigned(contract)),
        clause("SHA-256 (签署文本摘要)", [contract.terms_digest]),
    ]


def _state(contract: Contract, zone: tzinfo | None) -> list[Clause]:
    state = short_name(ContractState, "CONTRACT_STATE_", contract.state)
    record = f"{when(contract.updated_at, zone)}, ledger position {contract.position}, etag {contract.etag}"
    return [
        clause("Version (版本)", [f"{contract.version} of {contract.contract}"]),
        clause("Now (当前)", [explained(state, STATES)]),
        clause("Reason given (理由)", [contract.state_reason or NOTHING]),
        clause("Last change (最近变更)", [record]),
        clause("What may happen next (后续事项)", next_steps(contract, state, zone)),
    ]


def _mode(mode: Mode.ValueType) -> str:
    return explained(short_name(Mode, "MODE_", mode), MODES)


def _filter(predicate: Predicate) -> str:
    operator = short_name(Operator, "OPERATOR_", predicate.operator)
    values = [value_to_json(each) for each in predicate.values]
    return filter_words({"field": predicate.field, "operator": operator, "values": values})


def _quota(quota: Quota) -> str:
    window = short_name(QuotaWindow, "QUOTA_WINDOW_", quota.window)
    scope = short_name(QuotaScope, "QUOTA_SCOPE_", quota.scope)
    return quota_words({"window": window, "scope": scope, "calls": quota.calls, "rows": quota.rows})


def _open(state: ContractState.ValueType) -> bool:
    return short_name(ContractState, "CONTRACT_STATE_", state) in (
        "PROPOSED",
        "AGREED",
        "ACTIVE",
        "SUSPENDED",
    )


def _warning(contract: Contract) -> str:
    """What was signed is the canonical text; a document about anything else must not be trusted."""
    try:
        canonical, digest = terms_json(contract.terms).decode(), terms_digest(contract.terms)
    except (ValueError, OverflowError):
        return "this program cannot read all of these terms; do not sign them with it."
    if (canonical, digest) != (contract.terms_json, contract.terms_digest):
        return "the gateway's terms, canonical text and digest differ; do not sign them."
    return ""
