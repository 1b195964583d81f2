"""What leaves the department for a grant that holds: rows, verdicts, refusals in words, receipts."""

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
from isthmus.v1 import common_pb2
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse
from isthmus.v1.exchange_service_pb2 import VERDICT_NO, VERDICT_UNKNOWN, VERDICT_YES

KNOWN = "11010119900307231X"


def granted(**transforms: str) -> list[dict[str, str]]:
    return [{"name": name, "transform": transform} for name, transform in transforms.items()]


def rows(outcome: FetchOutcome) -> list[list[Any]]:
    """The rows as Python values, straight from the bytes that the receipt digests."""
    assert outcome.refused == 0, outcome.explanation
    row_set = common_pb2.RowSet.FromString(outcome.row_set)
    assert list(row_set.columns) == list(outcome.columns)
    assert outcome.row_count == len(row_set.rows)

    def plain(value: common_pb2.Value) -> Any:
        kind = value.WhichOneof("kind")
        return None if kind is None else getattr(value, kind)

    return [[plain(value) for value in row.values] for row in row_set.rows]


def refused(response: FetchResponse, *, words: str) -> FetchOutcome:
    (outcome,) = response.outcomes
    assert int(outcome.refused) == Reason.PROVIDER_VETO
    assert words in outcome.explanation
    assert not outcome.row_set and not outcome.columns and not outcome.row_count
    return outcome


def predicate(field: str, operator: str, *values: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "values": list(values)}


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
    ("field", "transform"), [("name", "plain"), ("name", "mask:2"), ("name", "hash"), ("secret", "mask:1")]
)
def test_a_transform_milder_than_the_manifest_demands_is_vetoed(
    world: Any, field: str, transform: str
) -> None:
    refused(world.fetch(world.item(fields=granted(**{field: transform}))), words="may leave as")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": granted(salary="plain")}, 'no field "salary"'),
        ({"fields": [{"name": "姓名", "transform": "plain"}]}, "no field"),
        ({"fields": granted(district="bucket:10")}, "cannot be applied"),
        ({"dataset": "departments/civil-registry/datasets/unheard-of"}, "not in the manifest"),
        ({"dataset": "departments/health/datasets/person"}, "not in the manifest"),
        ({"dataset": "departments/civil-registry/datasets/sealed"}, "不予共享"),
        ({"subjects": [{"scheme": "us.ssn", "id": KNOWN, "token": "1." + "0" * 32}]}, "cn.resident-id"),
        ({"subjects": [{"scheme": "cn.resident-id", "id": "x", "token": "1." + "0" * 32}]}, "canonical"),
        ({"row_filters": [predicate("salary", "EQ", {"string": "1"})]}, "no field"),
        ({"row_filters": [predicate("birth", "EQ", {"string": "1"})]}, "cannot be asked"),
    ],
)
def test_an_item_beyond_the_manifest_is_vetoed_and_says_why(
    world: Any, changes: dict[str, Any], words: str
) -> None:
    refused(world.fetch(world.item(**changes)), words=words)


def test_a_mode_or_purpose_that_the_dataset_does_not_offer_is_vetoed(world: Any) -> None:
    dataset = "departments/civil-registry/datasets/query-only"
    refused(world.fetch(world.item(dataset=dataset, mode="BATCH")), words="QUERY only")
    refused(world.fetch(world.item(dataset=dataset, purpose="营销")), words="purpose")
    assert rows(world.fetch(world.item(dataset=dataset)).outcomes[0]) == [["海淀区"]]


def test_one_vetoed_item_leaves_the_others_of_its_train_alone(world: Any) -> None:
    response = world.fetch(world.item(), world.item(fields=granted(salary="plain")), world.item("TWO"))
    assert [outcome.refused for outcome in response.outcomes] == [0, Reason.PROVIDER_VETO, 0]
    assert rows(response.outcomes[2]) == [["东城区"], ["西城区"]]


@pytest.mark.parametrize(
    "attack",
    ["' OR '1'='1", '"; DROP TABLE 人口; --', "1) OR 1=1 --", "%", "_" * 18, "*", "X' UNION SELECT 姓名 --"],
)
def test_sql_in_an_identifier_is_an_unknown_subject_and_nothing_more(world: Any, attack: str) -> None:
    (outcome,) = world.fetch(world.item(attack.strip('"').upper())).outcomes
    assert rows(outcome) == [] and not outcome.subject_known
    with sqlite3.connect(world.folder / "people.db") as connection:
        assert connection.execute("SELECT count(*) FROM 人口").fetchone() == (10,)
    connection.close()


@pytest.mark.parametrize("attack", ['区", "姓名', "区; DROP TABLE 人口", "* FROM 人口 --", "1"])
def test_sql_in_a_field_name_is_no_field(world: Any, attack: str) -> None:
    refused(world.fetch(world.item(fields=[{"name": attack, "transform": "plain"}])), words="no field")


def test_the_node_cannot_write_to_the_departments_database(world: Any) -> None:
    world.source.prepare()
    with world.source._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
        # The second lock: the file itself was opened for reading only.
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        with pytest.raises(sa.exc.OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM 人口")


def test_an_answer_that_no_message_could_carry_is_refused_and_the_limit_named(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute("INSERT INTO 人口 (身份证号, 区) VALUES ('LONG', ?)", ("区" * 1_100_000,))
    connection.close()
    first, second = world.fetch(world.item("LONG"), world.item()).outcomes
    assert first.refused == Reason.PROVIDER_VETO and "max_answer_bytes" in first.explanation
    assert rows(second) == [["海淀区"]]


def test_a_subject_with_too_many_rows_is_refused_and_the_limit_named(world: Any) -> None:
    response = world.fetch(world.item("MANY"), world.item())
    assert response.outcomes[0].refused == Reason.PROVIDER_VETO
    assert "max_rows_per_subject = 3" in response.outcomes[0].explanation
    assert rows(response.outcomes[1]) == [["海淀区"]]


def test_a_train_with_more_rows_than_one_answer_may_hold_serves_what_fits(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        for n in range(30):
            connection.execute("INSERT INTO 人口 (身份证号, 区) VALUES (?, ?)", (f"S{n:02}", "区"))
    connection.close()
    response = world.fetch(*(world.item(f"S{n:02}") for n in range(30)))
    served = [outcome for outcome in response.outcomes if not outcome.refused]
    late = [outcome for outcome in response.outcomes if outcome.refused]
    assert len(served) == 20 and all(rows(outcome) == [["区"]] for outcome in served)
    assert {outcome.refused for outcome in late} == {Reason.OVERLOADED}
    assert all("max_rows_per_answer = 20" in outcome.explanation for outcome in late)


def test_one_subject_with_very_many_rows_does_not_spoil_the_train_it_travels_in(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.executemany("INSERT INTO 人口 (身份证号, 区) VALUES ('WHALE', ?)", [("区",)] * 500)
    connection.close()
    response = world.fetch(world.item("WHALE"), world.item(), world.item("TWO"), world.item("NOBODY"))
    assert response.outcomes[0].refused == Reason.PROVIDER_VETO
    assert [len(rows(outcome)) for outcome in response.outcomes[1:]] == [1, 2, 0]


def test_a_stored_value_that_is_not_of_its_type_is_never_guessed_at(world: Any) -> None:
    outcome = refused(world.fetch(world.item("BROKEN", fields=granted(birth="plain"))), words='"birth"')
    assert "not a date" not in outcome.explanation
    # Nobody asked for the broken field here.
    assert rows(world.fetch(world.item("BROKEN")).outcomes[0]) == [["东城区"]]


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


@pytest.mark.parametrize(
    "question",
    [
        predicate("children", "LT", {"string": "5"}),
        predicate("children", "LT", {"int64": "5"}, {"int64": "6"}),
        predicate("birth", "EQ", {"date": "yesterday"}),
        predicate("birth", "EQ", None),
    ],
)
def test_a_question_that_does_not_suit_its_field_is_vetoed(world: Any, question: dict[str, Any]) -> None:
    refused(world.fetch(world.item(mode="VERIFY", fields=[], predicate=question)), words="cannot be asked")


def test_rows_that_the_contract_filters_out_are_as_if_they_were_not_there(world: Any) -> None:
    only = [predicate("district", "EQ", {"string": "西城区"})]
    fields = granted(district="plain")
    first, second = world.fetch(
        world.item("TWO", fields=fields, row_filters=only), world.item(fields=fields, row_filters=only)
    ).outcomes
    assert rows(first) == [["西城区"]]
    assert rows(second) == [] and not second.subject_known


def test_a_batch_has_an_outcome_for_each_subject_in_order(world: Any) -> None:
    subjects = [
        {"scheme": "cn.resident-id", "id": each, "token": "1." + "0" * 32} for each in ("TWO", "X", KNOWN)
    ]
    item = world.item(mode="BATCH", subjects=subjects)
    response = world.fetch(item)
    assert [len(rows(outcome)) for outcome in response.outcomes] == [2, 0, 1]
    (entry,) = world.journal.entries()
    assert (entry.line.served, entry.line.row_count, len(entry.line.subject_tokens)) == (3, 3, 3)


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


def test_a_case_blind_database_cannot_hand_out_somebody_elses_row(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute("ALTER TABLE 人口 RENAME TO 原表")
        connection.execute(
            "CREATE TABLE 人口 (身份证号 TEXT COLLATE NOCASE, 姓名 TEXT, 出生日期 TEXT, 收入 TEXT, 子女, 区 TEXT, 备注)"
        )
        connection.execute("INSERT INTO 人口 (身份证号, 区) VALUES ('ａbc', '一'), ('abc', '二')")
    connection.close()
    # `upper` makes ABC of abc, so that row is the subject's own; without it the row would be dropped.
    assert rows(world.fetch(world.item("ABC")).outcomes[0]) == [["二"]]


def test_amounts_keep_every_digit(world: Any) -> None:
    with sqlite3.connect(world.folder / "people.db") as connection:
        connection.execute(
            "INSERT INTO 人口 (身份证号, 收入) VALUES ('EXACT', '12345678901234567890123456789.000000000001')"
        )
    connection.close()
    (outcome,) = world.fetch(world.item("EXACT", fields=granted(income="plain"))).outcomes
    assert Decimal(rows(outcome)[0][0]) == Decimal("12345678901234567890123456789.000000000001")
