"""A node that breaks the protocol of a batch: each lie is found out, nothing is released, and the record says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.identity import Role
from isthmus.v1.common_pb2 import FIELD_TYPE_STRING, Column, Row, Value
from isthmus.v1.department_service_pb2 import FetchResponse, SubjectRows
from isthmus.v1.exchange_service_pb2 import VERDICT_YES
from tests.integration.batch_calls import ANYONE, BatchNode, Lie, batch, batch_line, resident
from tests.integration.exchange_nodes import (
    forged_receipt,
    no_outcome,
    other_exchange,
    other_grant,
    refused_with_data,
    secret_refusal,
    two_outcomes,
)
from tests.integration.exchange_parties import VETERANS, party
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

Payload = dict[str, Any]
PEOPLE = [resident(number) for number in range(3)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def covered(response: FetchResponse, receipt: Payload) -> None:
    """A receipt that honestly covers what was made of the answer."""
    receipt["outcomes"][0] = batch_line(receipt["outcomes"][0]["exchange"], response.outcomes[0])


def replace_entry(response: FetchResponse, receipt: Payload, entry: SubjectRows | bytes) -> None:
    data = entry if isinstance(entry, bytes) else entry.SerializeToString()
    response.outcomes[0].subject_rows[1] = data
    covered(response, receipt)


def entry_of(response: FetchResponse) -> SubjectRows:
    return SubjectRows.FromString(response.outcomes[0].subject_rows[1])


def swapped_subjects(_: Payload, response: FetchResponse, __: Payload) -> None:
    rows = response.outcomes[0].subject_rows
    rows[0], rows[1] = rows[1], rows[0]


def one_subject_less(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    del response.outcomes[0].subject_rows[2]
    response.outcomes[0].row_count = 2
    covered(response, receipt)


def one_subject_more(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].subject_rows.append(response.outcomes[0].subject_rows[0])
    response.outcomes[0].row_count = 4
    covered(response, receipt)


def wrong_count(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].row_count = 4
    covered(response, receipt)


def wrong_stated_count(_: Payload, __: FetchResponse, receipt: Payload) -> None:
    receipt["outcomes"][0]["row_count"] = 4


def wrong_stated_subjects(_: Payload, __: FetchResponse, receipt: Payload) -> None:
    receipt["outcomes"][0]["subject_count"] = 4


def wrong_digest(_: Payload, __: FetchResponse, receipt: Payload) -> None:
    receipt["outcomes"][0]["digest"] = "00" * 32


def another_row_than_signed(_: Payload, response: FetchResponse, __: Payload) -> None:
    entry = entry_of(response)
    entry.rows[0].values[1].string_value = "另一个"
    response.outcomes[0].subject_rows[1] = entry.SerializeToString()


def extra_column(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].columns.append(Column(name="secret", type=FIELD_TYPE_STRING, transform="plain"))
    for number, data in enumerate(response.outcomes[0].subject_rows):
        entry = SubjectRows.FromString(data)
        entry.rows[0].values.append(Value(string_value="不外传"))
        response.outcomes[0].subject_rows[number] = entry.SerializeToString()
    covered(response, receipt)


def hidden_value(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    entry = entry_of(response)
    entry.rows[0].values.append(Value(string_value="不外传"))
    replace_entry(response, receipt, entry)


def unknown_field(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    replace_entry(response, receipt, entry_of(response).SerializeToString() + b"\x7a\x05extra")


def unknown_field_in_a_row(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    row = entry_of(response).rows[0].SerializeToString() + b"\x7a\x05extra"
    replace_entry(response, receipt, b"\x08\x01\x12" + bytes([len(row)]) + row)


def another_spelling(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    row = entry_of(response).rows[0].SerializeToString()
    replace_entry(response, receipt, b"\x08\x01\x12" + bytes([len(row) | 0x80, 0]) + row)


def unknown_spelled_out(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    entry = response.outcomes[0].subject_rows[1]
    replace_entry(response, receipt, b"\x08\x00" + entry[2:])


def a_column_for_a_row(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    """What a Row would be in SubjectRows is a Column in a RowSet, by whose rules rows are read."""
    column = Column(name="不外传", type=FIELD_TYPE_STRING).SerializeToString()
    response.outcomes[0].subject_rows[0] = b"\x08\x01\x0a" + bytes([len(column)]) + column
    covered(response, receipt)


def cut_off(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    replace_entry(response, receipt, entry_of(response).SerializeToString()[:-1])


def no_rows_at_all(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    replace_entry(response, receipt, b"\xff\xff")


def unmasked(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].columns[0].transform = "plain"
    covered(response, receipt)


def unknown_with_rows(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    entry = entry_of(response)
    entry.subject_known = False
    replace_entry(response, receipt, entry)


def nobody_known_with_rows(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].subject_known = False


def a_row_set_too(_: Payload, response: FetchResponse, __: Payload) -> None:
    response.outcomes[0].row_set = Row().SerializeToString() + b"x"


def a_verdict_too(_: Payload, response: FetchResponse, __: Payload) -> None:
    response.outcomes[0].verdict = VERDICT_YES


LIES: list[Lie] = [
    swapped_subjects,
    one_subject_less,
    one_subject_more,
    wrong_count,
    wrong_stated_count,
    wrong_stated_subjects,
    wrong_digest,
    another_row_than_signed,
    extra_column,
    hidden_value,
    unknown_field,
    unknown_field_in_a_row,
    another_spelling,
    unknown_spelled_out,
    a_column_for_a_row,
    cut_off,
    no_rows_at_all,
    unmasked,
    unknown_with_rows,
    nobody_known_with_rows,
    a_row_set_too,
    a_verdict_too,
    other_exchange,
    other_grant,
    two_outcomes,
    no_outcome,
    forged_receipt,
    refused_with_data,
    secret_refusal,
]


def test_each_lie_of_a_node_is_found_out(world: World) -> None:
    world.agree(**ANYONE)
    current: list[Lie] = [lambda *_: None]
    node = BatchNode(world, lambda *arguments: current[0](*arguments))
    with node.serving():
        assert batch(world, PEOPLE, case="1").decisions() == "AAA", "without a lie the node is believed"
        for lie in LIES:
            current[0] = lie
            answer = batch(world, PEOPLE, case="1")
            assert answer.decisions() == "EEE", lie.__name__
            assert answer.reasons(0) == ["DEPARTMENT_MISBEHAVED"], lie.__name__
            assert not any(each.rows for each in answer.outcomes) and not answer.columns
    found = world.decisions()
    assert [record.decision for record in found] == ["ALLOW"] + ["ERROR"] * len(LIES)
    assert all(record.row_count == 0 and not record.provider_receipt_digest for record in found[1:])


@pytest.mark.parametrize(
    "signer",
    [party(Role.NODE, VETERANS), party(Role.SYSTEM, "civil-registry"), party(Role.GATEWAY, name="other")],
    ids=["a node of another department", "a system", "a gateway"],
)
def test_a_receipt_counts_only_from_a_node_of_that_department(world: World, signer: Any) -> None:
    world.agree(**ANYONE)
    with BatchNode(world, signer=signer).serving():
        assert batch(world, PEOPLE, case="1").decisions() == "EEE"
    assert world.sole_decision().decision == "ERROR"
