"""What a department refuses although the grant holds, in words: vetoes, limits, values and attacks."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa

from isthmus.reasons import Reason
from tests.unit.services.fetch_outcomes import KNOWN, granted, predicate, refused, rows


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
    refused(world.fetch(world.batch(KNOWN, dataset=dataset)), words="QUERY only")
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


def test_a_field_that_never_leaves_is_not_betrayed_by_yes_and_no(world: Any) -> None:
    question = predicate("secret", "EQ", {"string": "x"})
    refused(
        world.fetch(world.item(mode="VERIFY", fields=[], predicate=question)),
        words="not even as a yes or a no",
    )


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
