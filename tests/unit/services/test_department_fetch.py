"""What leaves the department for a grant that holds: rows, verdicts, receipts; and a database that fails."""

from __future__ import annotations

import hashlib
import sqlite3
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from isthmus.canonical import canonical_json
from isthmus.errors import DeadlineExceeded, PermissionDenied, Unavailable
from isthmus.identity import Role
from isthmus.reasons import Reason
from isthmus.statement import StatementKind
from isthmus.v1.exchange_service_pb2 import VERDICT_NO, VERDICT_UNKNOWN, VERDICT_YES
from tests.unit.services.fetch_outcomes import KNOWN, granted, predicate, rows


def test_typed_values_arrive_as_the_manifest_declares_them(world: Any) -> None:
    fields = granted(birth="plain", income="plain", children="plain", district="plain")
    (outcome,) = world.fetch(world.item(fields=fields)).outcomes
    assert rows(outcome) == [["1990-03-07", "12345.60", 2, "海淀区"]]
    assert [column.name for column in outcome.columns] == ["birth", "income", "children", "district"]
    assert outcome.subject_known


def test_an_identifier_stored_in_quotes_is_found_by_its_canonical_form(world: Any) -> None:
    (outcome,) = world.fetch(world.item("110101199003072320", fields=granted(income="plain"))).outcomes
    assert rows(outcome) == [["9900.00"]]


def test_null_and_missing_values_arrive_as_null(world: Any) -> None:
    fields = granted(income="plain", children="plain")
    (outcome,) = world.fetch(world.item("110101199003072339", fields=fields)).outcomes
    assert rows(outcome) == [[None, None]]


def test_not_knowing_a_subject_is_an_answer(world: Any) -> None:
    (outcome,) = world.fetch(world.item("NOBODY")).outcomes
    assert rows(outcome) == [] and not outcome.subject_known
    assert [column.name for column in outcome.columns] == ["district"]


def test_what_a_transform_hides_never_leaves(world: Any) -> None:
    fields = granted(name="mask:1", birth="bucket:year", income="bucket:1000", children="hash", secret="omit")
    (outcome,) = world.fetch(world.item(fields=fields)).outcomes
    ((name, birth, income, children, secret),) = rows(outcome)
    assert (name, birth, income, secret) == ("**明", "1990-01-01", "12000", None)
    assert len(children) == 32 and children != "2"
    for hidden in ("王小", "03-07", "12345", "甲"):
        assert hidden.encode() not in outcome.row_set


def test_hashes_agree_within_a_contract_and_never_across_two(world: Any) -> None:
    fields = granted(district="hash")
    renewed = world.item("110101199003072339", fields=fields, contract="contracts/edu-person@2")
    other = world.item(fields=fields, contract="contracts/another@1")
    response = world.fetch(world.item(fields=fields), renewed, other)
    first, second, third = (rows(outcome)[0][0] for outcome in response.outcomes)
    assert first == second != third


@pytest.mark.parametrize(
    ("subject", "question", "verdict"),
    [
        (KNOWN, predicate("birth", "LT", {"date": "2008-11-23"}), VERDICT_YES),
        (KNOWN, predicate("birth", "GT", {"date": "2008-11-23"}), VERDICT_NO),
        (KNOWN, predicate("income", "GE", {"decimal": "12345.6"}), VERDICT_YES),
        (KNOWN, predicate("income", "LT", {"int64": "12346"}), VERDICT_YES),
        (KNOWN, predicate("district", "IN", {"string": "朝阳区"}, {"string": "海淀区"}), VERDICT_YES),
        (KNOWN, predicate("name", "EQ", {"string": "王小明"}), VERDICT_YES),
        (KNOWN, predicate("name", "EQ", {"string": "**明"}), VERDICT_NO),
        ("TWO", predicate("children", "GT", {"int64": "8"}), VERDICT_YES),
        ("TWO", predicate("children", "GT", {"int64": "9"}), VERDICT_NO),
        ("110101199003072339", predicate("income", "GE", {"decimal": "0"}), VERDICT_UNKNOWN),
        ("110101199003072339", predicate("income", "NE", {"decimal": "0"}), VERDICT_UNKNOWN),
        ("NOBODY", predicate("income", "GE", {"decimal": "0"}), VERDICT_UNKNOWN),
    ],
)
def test_only_the_verdict_of_a_verify_leaves(
    world: Any, subject: str, question: dict[str, Any], verdict: int
) -> None:
    (outcome,) = world.fetch(world.item(subject, mode="VERIFY", fields=[], predicate=question)).outcomes
    assert outcome.verdict == verdict
    assert not outcome.row_set and not outcome.columns and outcome.row_count == 0


def test_rows_that_the_contract_filters_out_are_as_if_they_were_not_there(world: Any) -> None:
    only = [predicate("district", "EQ", {"string": "西城区"})]
    fields = granted(district="plain")
    first, second = world.fetch(
        world.item("TWO", fields=fields, row_filters=only), world.item(fields=fields, row_filters=only)
    ).outcomes
    assert rows(first) == [["西城区"]]
    assert rows(second) == [] and not second.subject_known


def test_all_subjects_of_a_train_share_one_statement(world: Any) -> None:
    world.source.prepare()
    statements: list[str] = []
    sa.event.listen(
        world.source._engine, "before_cursor_execute", lambda *args: statements.append(args[2]), named=False
    )
    world.fetch(*(world.item(each) for each in (KNOWN, "TWO", "NOBODY", "110101199003072320")))
    assert len(statements) == 1
    assert KNOWN not in statements[0]


def test_the_receipt_is_the_nodes_signature_over_what_it_answered(world: Any) -> None:
    question = world.item(mode="VERIFY", fields=[], predicate=predicate("children", "EQ", {"int64": "2"}))
    items = [world.item(), question, world.item(fields=granted(salary="plain"))]
    token = world.grant(*items)
    response = world.fetcher.fetch(token, caller=world.gateway)
    signed = world.statements.verify(response.receipt, kind=StatementKind.RECEIPT, expect_role=Role.NODE)
    assert signed.identity.department == "civil-registry"
    grant = world.statements.verify(token, kind=StatementKind.GRANT, expect_role=Role.GATEWAY).payload
    assert signed.payload == {
        "department": "departments/civil-registry",
        "grant": grant["grant"],
        "served_at": "2026-11-23T08:00:00.000Z",
        "outcomes": [
            {
                "exchange": items[0]["exchange"],
                "digest": hashlib.sha256(response.outcomes[0].row_set).hexdigest(),
                "row_count": 1,
                "subject_known": True,
            },
            {
                "exchange": items[1]["exchange"],
                "digest": hashlib.sha256(canonical_json({"verdict": "YES"})).hexdigest(),
                "row_count": 0,
                "subject_known": True,
            },
            {"exchange": items[2]["exchange"], "refused": "PROVIDER_VETO"},
        ],
    }


def test_the_journal_has_a_line_for_each_exchange_and_no_identifier(world: Any) -> None:
    items = [world.item(), world.item("NOBODY"), world.item(fields=granted(salary="plain"))]
    world.fetch(*items)
    entries = list(world.journal.entries())
    assert [entry.line.exchange for entry in entries] == [item["exchange"] for item in items]
    assert [entry.line.refusals for entry in entries] == [(), (), ("PROVIDER_VETO",)]
    assert entries[0].line.gateway == "spiffe://data.example/gateway/main"
    assert entries[0].line.fields == (("district", "plain"),)
    stored = b"".join(path.read_bytes() for path in world.folder.glob("journal.db*"))
    assert KNOWN.encode() not in stored and "海淀".encode() not in stored


def test_no_journal_line_no_answer(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.journal._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE node_journal")
    with pytest.raises(Unavailable, match="journal"):
        world.fetch(world.item())


def test_a_database_that_is_down_is_unavailable_and_comes_back(world: Any) -> None:
    path = world.folder / "people.db"
    away = path.with_suffix(".away")
    path.rename(away)
    token = world.grant(world.item())
    with pytest.raises(Unavailable) as down:
        world.fetcher.fetch(token, caller=world.gateway)
    assert down.value.reason is Reason.DEPARTMENT_UNAVAILABLE and down.value.retry_after
    assert list(world.journal.entries()) == []
    away.rename(path)
    # Nothing was served, so the same grant may be tried again within its life.
    assert rows(world.fetcher.fetch(token, caller=world.gateway).outcomes[0]) == [["海淀区"]]


def test_a_database_file_that_was_replaced_is_read_anew(world: Any) -> None:
    assert rows(world.fetch(world.item()).outcomes[0]) == [["海淀区"]]
    fresh = world.folder / "fresh.db"
    fresh.write_bytes((world.folder / "people.db").read_bytes())
    with sqlite3.connect(fresh) as connection:
        connection.execute("UPDATE 人口 SET 区 = '新区'")
    connection.close()
    fresh.replace(world.folder / "people.db")
    assert rows(world.fetch(world.item()).outcomes[0]) == [["新区"]]


def test_a_statement_that_takes_too_long_is_interrupted(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute("ALTER TABLE 人口 RENAME TO 原表")
        # A view whose every row counts far: long enough for the clock to be looked at.
        connection.execute(
            "CREATE VIEW 人口 AS SELECT 身份证号, 姓名, 出生日期, 收入, 子女, 备注, (WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2e6) SELECT count(*) FROM n) AS 区 FROM 原表"
        )
    connection.close()
    monkeypatch.setattr("services.engine._Deadlined.begin", lambda self: setattr(self, "deadline", 0.0))
    with pytest.raises(DeadlineExceeded) as late:
        world.fetch(world.item())
    assert late.value.reason is Reason.DEPARTMENT_TIMEOUT


def test_nothing_personal_is_logged_or_explained(world: Any) -> None:
    (world.folder / "people.db").rename(world.folder / "gone.db")
    with pytest.raises(Unavailable) as error:
        world.fetch(world.item())
    assert KNOWN not in repr(world.logs) + error.value.message and world.logs


def test_metrics_count_what_came_of_every_subject(world: Any) -> None:
    world.fetch(
        world.item(), world.item("NOBODY"), world.item(dataset="departments/civil-registry/datasets/no")
    )
    name = "isthmus_department_items_total"
    assert world.metric(name, dataset="person", mode="QUERY", outcome="served") == 1
    assert world.metric(name, dataset="person", mode="QUERY", outcome="unknown") == 1
    assert world.metric(name, dataset="other", mode="QUERY", outcome="PROVIDER_VETO") == 1
    assert world.metric("isthmus_department_rows_total", dataset="person") == 1
    assert world.metric("isthmus_department_query_seconds_count", dataset="person") == 1
    with pytest.raises(PermissionDenied):
        world.fetcher.fetch("forged", caller=world.gateway)
    assert world.metric("isthmus_department_grants_refused_total") == 1


def test_amounts_keep_every_digit(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute(
            "INSERT INTO 人口 (身份证号, 收入) VALUES ('EXACT', '12345678901234567890123456789.000000000001')"
        )
    connection.close()
    (outcome,) = world.fetch(world.item("EXACT", fields=granted(income="plain"))).outcomes
    assert Decimal(rows(outcome)[0][0]) == Decimal("12345678901234567890123456789.000000000001")
