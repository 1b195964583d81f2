"""A department's node that breaks the protocol: each lie is found out, nothing is released, and one record says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import (
    Reason,
    Unavailable,
)
from isthmus.identity import Role
from isthmus.v1.common_pb2 import FIELD_TYPE_STRING, Column, Row, RowSet, Value
from isthmus.v1.department_service_pb2 import FetchResponse
from isthmus.v1.exchange_service_pb2 import VERDICT_YES
from tests.integration.exchange_nodes import (
    Lie,
    LyingNode,
    forged_receipt,
    line,
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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def replace_rows(response: FetchResponse, receipt: Payload, row_set: RowSet | bytes, **changes: Any) -> None:
    """Puts other rows into the answer, with a receipt that honestly covers them."""
    content = row_set if isinstance(row_set, bytes) else row_set.SerializeToString()
    outcome = response.outcomes[0]
    outcome.row_set = content
    for name, value in changes.items():
        setattr(outcome, name, value)
    receipt["outcomes"][0] = line(receipt["outcomes"][0]["exchange"], outcome)


def extra_column(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    rows = RowSet.FromString(response.outcomes[0].row_set)
    rows.columns.append(Column(name="secret", type=FIELD_TYPE_STRING, transform="plain"))
    rows.rows[0].values.append(Value(string_value="不外传"))
    del response.outcomes[0].columns[:]
    response.outcomes[0].columns.extend(rows.columns)
    replace_rows(response, receipt, rows)


def hidden_column(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    """The declaration is right, the rows are not."""
    rows = RowSet.FromString(response.outcomes[0].row_set)
    rows.columns.append(Column(name="secret", type=FIELD_TYPE_STRING, transform="plain"))
    rows.rows[0].values.append(Value(string_value="不外传"))
    replace_rows(response, receipt, rows)


def hidden_value(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    rows = RowSet.FromString(response.outcomes[0].row_set)
    rows.rows[0].values.append(Value(string_value="不外传"))
    replace_rows(response, receipt, rows)


def unknown_field(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    """Data smuggled past the schema: field 15 of RowSet, which nobody declared."""
    replace_rows(response, receipt, response.outcomes[0].row_set + b"\x7a\x05extra")


def unmasked(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    rows = RowSet.FromString(response.outcomes[0].row_set)
    rows.columns[0].transform = "plain"
    response.outcomes[0].columns[0].transform = "plain"
    replace_rows(response, receipt, rows)


def no_row_set(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    replace_rows(response, receipt, b"\xff\xff")


def other_count(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    rows = RowSet.FromString(response.outcomes[0].row_set)
    rows.rows.append(Row(values=rows.rows[0].values))
    replace_rows(response, receipt, rows)


def unknown_with_rows(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    replace_rows(response, receipt, response.outcomes[0].row_set, subject_known=False)


def wrong_digest(_: Payload, __: FetchResponse, receipt: Payload) -> None:
    receipt["outcomes"][0]["digest"] = "00" * 32


def a_verdict_too(_: Payload, response: FetchResponse, receipt: Payload) -> None:
    response.outcomes[0].Clear()
    response.outcomes[0].verdict = VERDICT_YES
    receipt["outcomes"][0] = line(receipt["outcomes"][0]["exchange"], response.outcomes[0])


def rows_and_a_verdict(_: Payload, response: FetchResponse, __: Payload) -> None:
    response.outcomes[0].verdict = VERDICT_YES


def rows_of_a_batch_too(_: Payload, response: FetchResponse, __: Payload) -> None:
    response.outcomes[0].subject_rows.append(b"\x08\x01")


LIES = [
    extra_column,
    hidden_column,
    hidden_value,
    unknown_field,
    unmasked,
    no_row_set,
    other_count,
    unknown_with_rows,
    wrong_digest,
    other_exchange,
    other_grant,
    two_outcomes,
    no_outcome,
    forged_receipt,
    refused_with_data,
    secret_refusal,
    a_verdict_too,
    rows_and_a_verdict,
    rows_of_a_batch_too,
]


def nothing(_: Payload, __: FetchResponse, ___: Payload) -> None:
    """No lie at all."""


def test_each_lie_of_a_node_is_found_out(world: World) -> None:
    world.consent(world.agree())
    lies: list[Lie] = [*LIES]

    def next_lie(grant: Payload, response: FetchResponse, receipt: Payload) -> None:
        current[0](grant, response, receipt)

    current: list[Lie] = [nothing]
    node = LyingNode(world, next_lie)
    with node.serving():
        assert world.query().row_set.rows, "without a lie the node is believed"
        for lie in lies:
            current[0] = lie
            with pytest.raises(Unavailable) as refused:
                world.query()
            assert refused.value.reasons == (Reason.DEPARTMENT_MISBEHAVED,), lie.__name__
    found = world.decisions()
    assert [record.decision for record in found] == ["ALLOW"] + ["ERROR"] * len(lies)
    assert {record.exchange for record in found} == {
        item["exchange"] for grant in node.grants for item in grant["items"]
    }


@pytest.mark.parametrize(
    "signer",
    [party(Role.NODE, VETERANS), party(Role.SYSTEM, "civil-registry"), party(Role.GATEWAY, name="other")],
    ids=["a node of another department", "a system", "a gateway"],
)
def test_a_receipt_counts_only_from_a_node_of_that_department(world: World, signer: Any) -> None:
    world.consent(world.agree())
    with LyingNode(world, nothing, signer=signer).serving(), pytest.raises(Unavailable) as refused:
        world.query()
    assert refused.value.reasons == (Reason.DEPARTMENT_MISBEHAVED,)
    assert world.sole_decision().decision == "ERROR"
