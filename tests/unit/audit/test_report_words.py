"""What a record says in words, for the person it is about and for officials."""

from __future__ import annotations

from audit.record import Kind
from audit.reports.deeds import deed_in_words
from audit.reports.plain import REFUSALS, because, counted, fact, listed, resource_of, who
from audit.reports.words import in_words
from isthmus.reasons import Reason
from tests.unit.audit.ledger_world import START, control, decision, denial, failure

LOGGED = {"at": {"logged": START}}


def test_a_person_reads_who_got_what_for_what_and_on_which_ground() -> None:
    assert in_words(decision(**LOGGED)) == (
        "2026-11-02 08:00 UTC: the system enrolment of departments/education was given full_name and birth_date (only the "
        "year) from departments/civil-registry/datasets/person (1 row). Purpose (用途): 义务教育入学资格核验. "
        "Legal basis (法律依据): a public task (法定职责). Case (办件): 案件-2026-001. "
        "Contract (共享协议): contracts/edu-person-2026@2."
    )


def test_an_emergency_cannot_be_overlooked_and_a_refused_one_does_not_cry() -> None:
    given = in_words(decision(emergency="心脏骤停", **LOGGED))
    assert "EMERGENCY ACCESS (紧急调用), WITHOUT THE CONSENT" in given.partition(": ")[2][:80]
    assert "Reason given for the emergency: 心脏骤停." in given
    refused = in_words(denial("BREAK_GLASS_NOT_ALLOWED", emergency="心脏骤停", **LOGGED))
    assert "EMERGENCY ACCESS" not in refused and "Claimed emergency: 心脏骤停." in refused


def test_every_rule_that_refused_is_told_in_words() -> None:
    told = in_words(denial("CONSENT_WITHDRAWN", "QUOTA_EXHAUSTED", **LOGGED))
    assert "because the consent had been withdrawn (同意已撤回) and it had asked as often as" in told
    assert "nothing was released" in told and "failed for a technical reason" in in_words(failure(**LOGGED))
    assert because(["SOMETHING_NEW"]) == " because something new"
    assert set(REFUSALS) <= {each.name for each in Reason}


def test_small_words() -> None:
    assert fact({"name": "id", "transform": "mask:4"}) == "id (masked but for 4 characters)"
    assert fact({"name": "income", "transform": "bucket:10000"}) == "income (rounded to 10000)"
    assert fact({"name": "id", "transform": "hash"}) == "id (scrambled)"
    assert fact({"name": "x", "transform": "new:9"}) == "x (new:9)"
    assert (counted(1, "row"), counted(1234, "row"), counted(0, "person")) == (
        "1 row",
        "1,234 rows",
        "0 persons",
    )
    assert (listed([]), listed("a"), listed("abc")) == ("", "a", "a, b and c")
    assert who("spiffe://x/auditor/wang") == "the auditor wang" and who("") == "somebody"
    assert resource_of("spiffe://x/auditor/wang") == "auditors/wang" and resource_of("?") == "?"


def test_a_question_how_it_would_be_decided_is_told_as_one() -> None:
    asked = decision(kind=Kind.LOOKUP, action="Explain", decision="", change={"verdict": "DENY"}, **LOGGED)
    assert "would be decided and was told that it would be refused; nothing was released" in in_words(asked)
    assert "would be decided and was told that it would be refused; nothing" in deed_in_words(asked)


def deed(action: str, **changes: object) -> str:
    contract = "contracts/edu-person-2026@2"
    values = {
        "caller": "spiffe://data.example/department/education/officer/li",
        "contract": contract,
        **changes,
    }
    return deed_in_words(control(action, contract, **LOGGED, **values)).partition(": ")[2]


def test_how_a_contract_came_about_and_changed_is_told() -> None:
    li = "the officer li of departments/education"
    assert deed("ProposeContract") == (
        f"{li} proposed it (提出共享申请). Contract (共享协议): contracts/edu-person-2026@2."
    )
    assert f"{li} signed it (签署); both departments have now signed." in deed(
        "SignContract", change={"event": "AGREED"}
    )
    assert "signed it (签署). " in deed("SignContract", change={"event": "SIGNED"})
    assert "to be rectified by 2026-12-01" in deed("SuspendContract", change={"rectify_by": "2026-12-01"})
    assert "rejected it (不予共享): legal basis missing" in deed(
        "RejectContract", change={"rejection_reason": "LEGAL_BASIS_MISSING"}
    )
    assert "THE ANSWER WAS OVERDUE (答复逾期) and its time was over" in deed(
        "Clock", change={"event": "ANSWER_OVERDUE EXPIRED"}
    )
    assert "found it NOT JUSTIFIED" in deed("ReviewEmergencyUse", change={"justified": "no"})
    assert "called SomethingNew" in deed("SomethingNew")


def test_a_control_call_that_was_refused_is_not_told_as_done() -> None:
    told = deed("SignContract", contract="", reasons=("NOT_A_PARTY",))
    assert (
        "called SignContract and was refused because it is no party" in told and "nothing was changed" in told
    )
    assert told.endswith("Contract (共享协议): contracts/edu-person-2026@2.")


def test_a_batch_is_told_with_its_persons() -> None:
    told = deed_in_words(
        decision(
            mode="BATCH",
            subject_token="",
            subject_count=5,
            outcomes={"ALLOW": 3, "CONSENT_MISSING": 2},
            **LOGGED,
        )
    )
    assert "in a batch of 5 persons of whom 3 were answered" in told
