"""The two records of a stream in the ledger: what may not be appended, what the verifier names, and how they are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.ledger import DuplicateDecision, Ledger
from audit.ledger.schema import records
from audit.record import AccessRecord, Kind, RecordError
from audit.reports.words import in_words, to_message
from audit.search.query import compile_filter, newest_first, one_of_exchange
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from isthmus.errors import InvalidArgument
from isthmus.v1.audit_service_pb2 import RECORD_KIND_STREAM_END
from tests.unit.audit.ledger_world import KEY, append, decision, denial, exchange, ledger_in, signatures

pytestmark = pytest.mark.integration


def opening(**changes: Any) -> AccessRecord:
    return decision(**{"mode": "STREAM", "subject_token": "", "subject_count": 0, "row_count": 0, **changes})


def closing(of: AccessRecord, **changes: Any) -> AccessRecord:
    values = {
        "kind": Kind.STREAM_END,
        "decision": "",
        "action": "COMPLETE",
        "row_count": 6,
        "provider_receipt_digest": "aa" * 32,
        "response_commitment": "bb" * 32,
    }
    return replace(of, **{**values, **changes})


STOPPED = {"action": "STOPPED", "reasons": ("CONTRACT_SUSPENDED",), "provider_receipt_digest": ""}


def check(directory: Path, *written: AccessRecord) -> None:
    with ledger_in(directory) as ledger:
        for record in (*signatures(), *written):
            append(ledger, record)
    verify_ledger(str(directory / "ledger.db"), KEY.verifier)


def test_a_stream_may_end_in_every_way_or_not_at_all(tmp_path: Path) -> None:
    first, second, cut = opening(), opening(), opening()
    check(tmp_path, first, second, cut, closing(second, **STOPPED), closing(first))


def test_a_stream_does_not_end_twice(tmp_path: Path) -> None:
    began = opening()
    with ledger_in(tmp_path) as ledger:
        for record in (*signatures(), began, closing(began)):
            append(ledger, record)
        with pytest.raises(DuplicateDecision):
            append(ledger, closing(began, **STOPPED))
        with pytest.raises(DuplicateDecision):
            ledger.transact(
                lambda tx: [tx.append(closing(opening(exchange=began.exchange))) for _ in range(2)]
            )
    verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier)


def test_a_second_end_is_named_even_without_the_index_that_prevents_it(tmp_path: Path) -> None:
    began = opening()
    with ledger_in(tmp_path) as ledger:
        for record in (*signatures(), began, closing(began)):
            append(ledger, record)
        drop(ledger)
        append(ledger, closing(began, **STOPPED))
        with pytest.raises(Damaged) as caught:
            verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier)
    assert caught.value.kind is DamageKind.DUPLICATE and "ended before" in str(caught.value)


def drop(ledger: Ledger) -> None:
    ledger.transact(lambda tx: tx.connection.exec_driver_sql("DROP INDEX records_one_stream_end"))


def test_an_older_ledger_gets_the_index_when_it_is_opened(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        append(ledger, opening())
        drop(ledger)
    with ledger_in(tmp_path) as ledger, ledger.read() as connection:
        names = {each["name"] for each in sa.inspect(connection).get_indexes("records")}
    assert "records_one_stream_end" in names


BEGAN = opening()
WRONG = {
    "nothing opened it": (closing(BEGAN),),
    "a query opened it": (replace(BEGAN, mode="QUERY"), closing(BEGAN)),
    "a denial opened it": (denial(mode="STREAM", exchange=BEGAN.exchange), closing(BEGAN)),
    "it comes first": (closing(BEGAN), BEGAN),
    "another dataset": (BEGAN, closing(BEGAN, dataset="departments/civil-registry/datasets/tax")),
    "another caller": (BEGAN, closing(BEGAN, caller="spiffe://data.example/department/education/system/x")),
    "other fields": (BEGAN, closing(BEGAN, fields=({"name": "secret", "transform": "plain"},))),
    "complete for a reason": (BEGAN, closing(BEGAN, reasons=("CANCELLED",))),
    "complete without a receipt": (BEGAN, closing(BEGAN, provider_receipt_digest="")),
    "stopped for no reason": (BEGAN, closing(BEGAN, **{**STOPPED, "reasons": ()})),
    "opened on consent": (replace(BEGAN, legal_basis="CONSENT"),),
}


@pytest.mark.parametrize("written", WRONG.values(), ids=WRONG)
def test_an_end_that_does_not_belong_to_its_opening_is_named(
    tmp_path: Path, written: tuple[AccessRecord, ...]
) -> None:
    with pytest.raises(Damaged) as caught:
        check(tmp_path, *written)
    assert caught.value.kind is DamageKind.RULE


def test_an_end_says_how(tmp_path: Path) -> None:
    for changes in ({"action": ""}, {"action": "DONE"}, {"exchange": ""}):
        with pytest.raises(RecordError):
            closing(BEGAN, **changes)


def test_streams_without_an_end_can_be_listed(tmp_path: Path) -> None:
    ended, cut, query = opening(), opening(), decision()
    refused = denial(mode="STREAM", exchange=exchange())
    end = closing(ended)
    with ledger_in(tmp_path) as ledger:
        for record in (*signatures(), ended, cut, query, refused, end):
            append(ledger, record)

        def listed(text: str) -> list[str]:
            with ledger.read() as connection:
                found = newest_first(connection, [compile_filter(text)], before=None, limit=50)
                return [AccessRecord.parse(each.leaf).exchange for each in found]

        assert listed("stream = OPEN") == [cut.exchange]
        assert listed("stream = ENDED") == [ended.exchange]
        assert listed("kind = STREAM_END AND action = COMPLETE") == [ended.exchange]
        assert listed(f'exchange = "{ended.exchange}"') == [ended.exchange] * 2
        with pytest.raises(InvalidArgument):
            listed("stream = LOST")
        with ledger.read() as connection:
            one = one_of_exchange(connection, [], ended.exchange)
            plan = str(
                connection.execute(
                    sa.text("EXPLAIN QUERY PLAN " + text_of(compile_filter("stream = OPEN")))
                ).all()
            )
    assert one is not None and AccessRecord.parse(one.leaf).kind is Kind.DECISION
    assert "records_one_stream_end" in plan


def text_of(condition: Any) -> str:
    query = sa.select(records.c.idx).where(condition)
    return str(query.compile(compile_kwargs={"literal_binds": True}))


def test_both_records_read_well() -> None:
    end = closing(BEGAN, **STOPPED)
    message = to_message(7, end.leaf())
    assert (message.kind, message.action, message.row_count) == (RECORD_KIND_STREAM_END, "STOPPED", 6)
    assert "6 rows" in in_words(end) and "suspended" in in_words(end)
    assert "full_name" in in_words(BEGAN)
    assert AccessRecord.parse(end.leaf()) == end
