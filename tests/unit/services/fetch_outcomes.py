"""How tests ask a department for fields and read what came of it."""

from __future__ import annotations

from typing import Any

from isthmus.reasons import Reason
from isthmus.v1 import common_pb2
from isthmus.v1.department_service_pb2 import FetchOutcome, FetchResponse

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
