"""A contract as a document: nothing left out, nothing that another department wrote can pass for something else."""

import io
import re
import unicodedata
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.contracts.states import TRANSITIONS
from gateway.contracts.states import ContractState as GatewayState
from isthmus.cli import contract_words
from isthmus.cli.articles import document_lines, document_renderable
from isthmus.cli.contract_document import contract_document, deadline_summary
from isthmus.cli.contract_steps import STEPS
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import LegalBasis, Mode, SharingClass
from isthmus.v1.contract_service_pb2 import (
    Contract,
    ContractSignature,
    ContractState,
    ContractTerms,
    DeadlineKind,
    QuotaScope,
    QuotaWindow,
)
from tests.unit.isthmus.contract_messages import LEAVES, at, contract, deadline, filled, shown, terms

SHANGHAI = timezone(timedelta(hours=8))


def text(message: Contract, **given: Any) -> str:
    return "\n".join(document_lines(contract_document(message, zone=SHANGHAI, **given)))


def on_a_terminal(message: Contract, *, width: int = 100) -> str:
    # Without colours whatever escape is left comes from the contract.
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    console.print(document_renderable(contract_document(message, zone=SHANGHAI)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def squeezed(shape: str) -> str:
    return re.sub(r"\s", "", shape)


@pytest.mark.parametrize("leaf", LEAVES, ids=".".join)
def test_no_term_is_left_out_of_the_document(leaf: tuple[str, ...]) -> None:
    first, second = filled(leaf, 0), filled(leaf, 1)
    for show in (text, on_a_terminal):
        one, other = show(contract(first)), show(contract(second))
        digests = (contract(first).terms_digest, contract(second).terms_digest)
        assert one.replace(digests[0], "") != other.replace(digests[1], ""), (
            "only the digest shows the change"
        )
    assert shown(leaf, first) in text(contract(first))
    assert shown(leaf, second) in text(contract(second))


def test_the_walk_over_the_terms_reaches_every_member_that_is_signed() -> None:
    assert {leaf[0] for leaf in LEAVES} == set(ContractTerms.DESCRIPTOR.fields_by_name)
    assert ("row_filters", "values", "bytes_value") in LEAVES
    assert ("period", "not_after") in LEAVES


# The signed text itself is what `show --terms` prints; the statements are in `show --json`.
@pytest.mark.parametrize("fact", sorted(set(Contract.DESCRIPTOR.fields_by_name) - {"terms", "terms_json"}))
def test_no_fact_about_a_version_is_left_out(fact: str) -> None:
    changes: dict[str, Any] = {
        "version": 77,
        "state": "SUSPENDED",
        "signatures": [ContractSignature(department="departments/education", signer="spiffe://x/officer/o")],
        "created_at": at("2026-03-04T00:00:00+00:00"),
        "updated_at": at("2026-03-04T00:00:00+00:00"),
        "position": 4711,
        "deadlines": [deadline()],
    }
    assert text(contract(**{fact: changes.get(fact, "别的")})) != text(contract())


def test_it_reads_as_articles_with_the_terms_of_art_beside() -> None:
    lines = text(contract()).splitlines()
    headings = [line for line in lines if line.startswith("Article ")]
    assert headings[0] == "Article 1 (第1条)  Parties (当事部门)"
    assert len(headings) == 13
    assert "  Provider (数据提供部门): departments/civil-registry" in lines
    assert "    - 姓名 (mask:1): all but the last character hidden (仅保留末1位)" in lines
    assert "  Only rows where (数据范围): birth_date ≥ (不小于) 2008-01-01" in lines
    assert "  Only for: 入学资格核验" in lines
    assert "  Basis (依据类型): CONSENT: the person's own consent (个人同意)" in lines
    assert "  Until (止): the end of 2026-12-31 UTC+08:00 (before 2026-12-31T16:00:00.000Z)" in lines
    assert "  Quotas: at most 1000 calls in each day (每日), over all use of the contract (整个合同)" in lines
    assert "  In an emergency (紧急情形): not allowed (不可用)" in lines


def test_what_is_allowed_beyond_the_ordinary_names_who_may() -> None:
    system = "departments/education/systems/enrolment"
    glass = {"allowed": True, "systems": [system], "review_within_hours": 24}
    onward = {"allowed": True, "recipients": ["departments/health"]}
    shape = text(contract(terms(break_glass=glass, onward_sharing=onward, legal_basis="PUBLIC_TASK")))
    assert f"By these systems (使用系统): {system}" in shape
    assert "Each use reviewed within (复核期限): 24 hours (小时)" in shape
    assert "not in an emergency (紧急情形除外)" in text(contract(terms(break_glass=glass)))
    assert "Recipients (接收部门): departments/health" in shape
    assert "not asked for; each request names the case it is for" in shape


@pytest.mark.parametrize(
    ("sharing", "words"),
    [("UNCONDITIONAL", "无条件共享"), ("CONDITIONAL", "有条件共享"), ("REFUSED", "不予共享")],
)
def test_the_sharing_class_is_the_catalogues_word_and_not_what_is_signed(sharing: str, words: str) -> None:
    number = SharingClass.Value(f"SHARING_CLASS_{sharing}")
    entry = Dataset(title="人口基础信息", sharing_class=number, conditions=["仅限入学"])
    shape = text(contract(), dataset=entry)
    (line,) = (each for each in shape.splitlines() if "Sharing class (共享属性)" in each)
    assert words in line
    assert "not part of what is signed" in line
    assert "Published conditions (使用条件): 仅限入学" in shape


def test_an_open_deadline_shows_its_last_day_its_article_and_its_rule_pack() -> None:
    shape = text(contract(deadlines=[deadline()]))
    assert "Answer due (答复期限):" in shape
    assert "the end of 2026-10-09 UTC+08:00 (before 2026-10-09T16:00:00.000Z)" in shape
    assert "not overdue (未逾期)" in shape
    assert "《政务数据共享条例》第二十一条第一款" in shape
    assert "in the rule pack (规则包): china-809@2025-08-01" in shape


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"overdue": True}, "OVERDUE (已逾期)"),
        ({"overdue": True, "met_at": at("2026-10-12T00:00:00+00:00")}, "done LATE (逾期办结)"),
        ({"met_at": at("2026-09-20T00:00:00+00:00")}, "done in time (按期办结)"),
        ({"due": None, "stopped": True}, "the clock is stopped until the supplement comes (计时中止)"),
        ({"due": None}, "no date can be given here"),
        ({"assumed_years": [2027]}, "no official calendar for 2027"),
        ({"due": at("2026-10-09T16:30:00+00:00")}, "before 2026-10-10 00:30 UTC+08:00"),
    ],
)
def test_a_deadline_says_how_it_stands(facts: dict[str, Any], words: str) -> None:
    assert words in text(contract(deadlines=[deadline(**facts)]))


def test_the_list_shows_what_is_overdue_before_what_is_due_first() -> None:
    provide = deadline(
        kind="DEADLINE_KIND_PROVIDE", due=at("2026-11-30T16:00:00+00:00"), overdue=True, rule="x"
    )
    version = contract(deadlines=[deadline(), provide], state="ACTIVE")
    assert deadline_summary(version) == ("PROVIDE", "2026-11-30T16:00:00.000Z", "overdue")
    assert deadline_summary(contract(deadlines=[deadline()])) == ("ANSWER", "2026-10-09T16:00:00.000Z", "")
    assert deadline_summary(contract(deadlines=[deadline(due=None, stopped=True)])) == (
        "ANSWER",
        "stopped",
        "",
    )


def test_the_list_shows_no_deadline_where_nothing_is_awaited() -> None:
    met = deadline(met_at=at("2026-09-20T00:00:00+00:00"))
    assert deadline_summary(contract(deadlines=[met])) == ("", "", "")
    assert deadline_summary(contract(deadlines=[deadline(overdue=True)], state="WITHDRAWN")) == ("", "", "")
    assert deadline_summary(contract()) == ("", "", "")


def test_who_signed_when_and_who_has_not_stands_over_the_digest() -> None:
    signed = ContractSignature(
        department="departments/education",
        signer="spiffe://isthmus/department/education/officer/li",
        signed_at=at("2026-09-19T00:00:00+00:00"),
    )
    version = contract(signatures=[signed])
    shape = text(version)
    assert "signed by spiffe://isthmus/department/education/officer/li" in shape
    assert "2026-09-19 08:00 UTC+08:00 (2026-09-19T00:00:00.000Z)" in shape
    assert "departments/civil-registry: not signed (未签署)" in shape
    assert f"SHA-256 (签署文本摘要): {version.terms_digest}" in shape
    assert "departments/civil-registry can sign it" in shape


@pytest.mark.parametrize("name", ["terms_json", "terms_digest"])
def test_a_gateway_that_shows_other_terms_than_it_has_signed_is_called_out(name: str) -> None:
    assert "WARNING" not in text(contract())
    lying = contract()
    setattr(lying, name, "{}")
    assert "WARNING (警告): the gateway's terms, canonical text and digest differ; do not sign" in text(lying)
    assert "do not sign" in on_a_terminal(lying)


def test_terms_of_a_later_program_are_shown_as_unknown_and_not_to_be_signed() -> None:
    strange = contract()
    # Numbers that no enum of this program holds, as a later gateway would send them.
    strange.terms.ParseFromString(strange.terms.SerializeToString() + b"\x38\x63\x4a\x01\x63")
    shape = text(strange)
    assert "UNKNOWN(99): not known to this program" in shape
    assert "this program cannot read all of these terms; do not sign them" in shape


def test_a_time_outside_the_calendar_does_not_break_the_document() -> None:
    version = contract()
    version.created_at.seconds = 10**17
    version.terms.period.not_after.seconds = 10**17
    version.deadlines.append(deadline())
    version.deadlines[0].due.seconds = -(10**17)
    assert text(version).count("a time that cannot be read") >= 3
    assert deadline_summary(version) == ("ANSWER", f"-{10**17} s", "")


HOSTILE = "好\x1b[2J\x1b]0;x\x07[bold red]条[/]\r\nArticle 12 (第12条)  Signatures\x9b31m\u202e:tada:"


def hostile() -> Contract:
    said = terms(
        purposes=[HOSTILE],
        legal_citation=HOSTILE,
        fields=[{"name": HOSTILE, "transform": HOSTILE}],
        row_filters=[{"field": HOSTILE, "operator": "EQ", "values": [{"string": HOSTILE}]}],
        onward_sharing={"allowed": True, "recipients": [HOSTILE]},
    )
    signature = ContractSignature(department=HOSTILE, signer=HOSTILE)
    version = contract(said, scenario=HOSTILE, state_reason=HOSTILE, proposer=HOSTILE, signatures=[signature])
    version.name = version.contract = version.etag = version.rule_pack = version.terms_digest = HOSTILE
    version.submitter = version.supplement_request = HOSTILE
    version.deadlines.append(deadline(rule=HOSTILE))
    return version


def test_no_text_of_another_department_reaches_the_terminal_as_an_escape() -> None:
    for shape in (text(hostile()), on_a_terminal(hostile())):
        unprintable = {each for each in shape if unicodedata.category(each) in ("Cc", "Cf")} - {"\n"}
        assert unprintable == set()


def test_no_text_of_another_department_is_read_as_markup() -> None:
    piped, drawn = text(hostile()), on_a_terminal(hostile(), width=2000)
    for written in ("[bold red]条[/]", ":tada:"):
        assert piped.count(written) > 15
        assert drawn.count(written) == piped.count(written)


def test_no_text_of_another_department_can_pass_for_an_article() -> None:
    headings = [line for line in text(hostile()).splitlines() if line.startswith("Article 12")]
    assert headings == ["Article 12 (第12条)  Signatures (签署)"]
    drawn = [
        line for line in on_a_terminal(hostile(), width=300).splitlines() if line.startswith("Article 12")
    ]
    assert [line.rstrip() for line in drawn] == headings


@given(st.text(min_size=1, max_size=40))
def test_any_purpose_is_one_line_of_the_document(purpose: str) -> None:
    lines = text(contract(terms(purposes=[purpose]))).splitlines()
    assert len(lines) == len(text(contract()).splitlines())


def test_a_narrow_terminal_loses_nothing() -> None:
    shape = squeezed(on_a_terminal(contract(terms(purposes=["入" * 90])), width=40))
    assert shape.count("入") >= 90


EVENTS_OF_STATES = {
    state.value: {event.value for source, event in TRANSITIONS if source is state} for state in GatewayState
}


@pytest.mark.parametrize("state", EVENTS_OF_STATES)
def test_what_may_happen_next_is_what_the_state_machine_allows(state: str) -> None:
    told = [event for step in STEPS.get(state, ()) for event in step.events]
    assert sorted(told) == sorted(EVENTS_OF_STATES[state])


def test_a_version_at_its_end_says_that_nothing_more_happens() -> None:
    assert "nothing: this version has come to its end" in text(contract(state="TERMINATED"))


def test_the_next_steps_name_who_may_take_them() -> None:
    shape = text(contract())
    assert "departments/civil-registry can refuse it" in shape
    assert "departments/education can take it back" in shape
    assert "can say that what was missing is supplied" not in shape
    waiting = contract(supplement_request="缺授权书", deadlines=[deadline(due=None, stopped=True)])
    assert "departments/education can say that what was missing is supplied" in text(waiting)
    assert "can ask once for what is missing" not in text(waiting)


@pytest.mark.parametrize(
    ("enum", "prefix", "words"),
    [
        (LegalBasis, "LEGAL_BASIS_", contract_words.LEGAL_BASES),
        (Mode, "MODE_", contract_words.MODES),
        (QuotaWindow, "QUOTA_WINDOW_", contract_words.WINDOWS),
        (QuotaScope, "QUOTA_SCOPE_", contract_words.SCOPES),
        (SharingClass, "SHARING_CLASS_", contract_words.SHARING_CLASSES),
        (ContractState, "CONTRACT_STATE_", contract_words.STATES),
        (DeadlineKind, "DEADLINE_KIND_", contract_words.DEADLINES),
    ],
)
def test_every_name_in_the_protocol_has_words(enum: Any, prefix: str, words: dict[str, str]) -> None:
    assert set(words) == {name.removeprefix(prefix) for name, number in enum.items() if number}


@pytest.mark.parametrize(
    ("notation", "words"),
    [
        ("plain", "as it is (原值)"),
        ("hash", "only a keyed digest, the same throughout one contract (加密摘要)"),
        ("omit", "never released (不提供)"),
        ("mask:0", "wholly hidden (全部隐去)"),
        ("mask:4", "all but the last 4 characters hidden (仅保留末4位)"),
        ("bucket:500", "rounded down to a multiple of 500 (按500取整)"),
        ("bucket:year", "only the year (仅年份)"),
        ("bucket:month", "only the year and month (仅年月)"),
        ("blur:3", "not known to this program"),
    ],
)
def test_a_transform_says_what_stays_of_the_value(notation: str, words: str) -> None:
    assert contract_words.transform_words(notation) == words


def test_the_reader_without_a_zone_reads_the_time_of_the_machine() -> None:
    time = at("2026-12-31T16:00:00+00:00")
    assert contract_words.when(time, UTC) == "2026-12-31 16:00 UTC+00:00 (2026-12-31T16:00:00.000Z)"
    assert contract_words.when(time, None).endswith("(2026-12-31T16:00:00.000Z)")
