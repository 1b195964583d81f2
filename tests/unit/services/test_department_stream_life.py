"""The life of a stream: read as it is taken, bounded, broken off without a receipt, and always told in the journal."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from typing import Any

import pytest

from isthmus.errors import DeadlineExceeded, IsthmusError, PermissionDenied, Unavailable
from isthmus.reasons import Reason
from services import page_reader
from services.journal import How, JournalUnavailable
from services.source import SourceTimeout, SourceUnavailable
from tests.unit.services.fetch_outcomes import predicate
from tests.unit.services.stream_answers import (
    ALL,
    KINDS,
    arrow_rows,
    fields_of,
    many,
    refusal,
    rows_of,
    stream,
)


def test_rows_are_read_only_as_they_are_taken(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(many(30_000))
    read: list[int] = []
    page = world.source.page

    def counted(pager: Any, after: Any, size: int) -> Any:
        found = page(pager, after, size)
        read.append(found.count)
        return found

    monkeypatch.setattr(world.source, "page", counted)
    responses = world.responses(world.stream(dataset=ALL, fields=fields_of(*KINDS)))
    taken = 0
    for each in islice(responses, 4):
        taken += each.row_count
        assert sum(read) == taken
    assert 0 < taken < 30_000
    responses.close()
    assert sum(read) == taken


def test_a_stream_holds_no_connection_while_its_consumer_thinks(world: Any) -> None:
    world.fill(many(5_000))
    responses = world.responses(world.stream(dataset=ALL, fields=fields_of("string")))
    for each in responses:
        assert world.source._engine.pool.checkedout() == 0
        if each.row_count:
            world.fill(many(1))
            break
    responses.close()


def test_a_cancelled_stream_frees_its_slot_and_is_told_in_the_journal(world: Any) -> None:
    world.fill(many(5_000))
    open_streams = [world.responses(world.stream(dataset=ALL, fields=fields_of("int64"))) for _ in range(3)]
    for each in open_streams[:2]:
        next(each)
    error = refusal(world, fields=fields_of("string"))
    assert error.reason is Reason.OVERLOADED and error.code.name == "RESOURCE_EXHAUSTED"
    assert "2 streams at once" in error.message
    assert world.metric("isthmus_department_streams") == 2
    open_streams[0].close()
    assert world.metric("isthmus_department_streams") == 1
    assert len(rows_of(stream(world))) == 5_000
    open_streams[1].close()
    assert [each.how for each in world.journal.endings()] == [How.CANCELLED, How.COMPLETE, How.CANCELLED]


def test_a_filter_that_finds_nothing_does_not_outlive_its_caller(world: Any) -> None:
    world.fill(many(5_000))
    answers = iter([True, True, False])
    token = world.grant(
        world.stream(
            dataset=ALL, fields=fields_of("int64"), filters=[predicate("int64", "LT", {"int64": "0"})]
        )
    )
    with pytest.raises(IsthmusError) as error:
        list(world.streamer.stream(token, caller=world.gateway, wanted=lambda: next(answers)))
    assert error.value.reason is Reason.CANCELLED
    assert [each.how for each in world.journal.endings()] == [How.CANCELLED]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [(SourceUnavailable("down"), Unavailable), (SourceTimeout("slow"), DeadlineExceeded)],
)
def test_a_database_that_fails_in_mid_stream_ends_it_without_a_receipt(
    world: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception, raised: type[Exception]
) -> None:
    world.fill(many(5_000))
    responses = world.responses(world.stream(dataset=ALL, fields=fields_of("string")))
    assert not next(responses).row_count and next(responses).row_count

    def fail(*_: Any) -> Any:
        raise fault

    monkeypatch.setattr(world.source, "page", fail)
    with pytest.raises(raised):
        next(responses)
    assert [(each.how, each.row_count) for each in world.journal.endings()] == [(How.FAILED, 1024)]
    assert world.metric("isthmus_department_streams") == 0


def test_a_value_that_is_unfit_ends_the_stream_and_names_the_field_only(world: Any) -> None:
    world.fill([*many(3_000), ("人", 1, "不是数", 1, "1", "x", b"", "2020-01-01", None)])
    responses = world.responses(world.stream(dataset=ALL, fields=fields_of("int64")))
    with pytest.raises(PermissionDenied) as error:
        list(responses)
    assert error.value.reason is Reason.PROVIDER_VETO
    assert "int64" in error.value.message and "不是数" not in error.value.message


def test_a_complete_stream_has_no_receipt_when_its_ending_cannot_be_written(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise JournalUnavailable("full")

    monkeypatch.setattr(world.journal, "end", fail)
    seen = []
    with pytest.raises(Unavailable):
        seen += world.responses(world.stream(dataset=ALL, fields=fields_of("int64")))
    assert not any(each.receipt for each in seen)


def test_chunks_stay_below_a_messages_size_whatever_the_rows_are(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chunks.MAX_CHUNK_BYTES", 40_000)
    large = [("大", 1, n, 1, "1", "长" * 1_000, b"", None, None) for n in range(100)]
    world.fill(large)
    for encoding, read in (("ROWS", rows_of), ("ARROW", arrow_rows)):
        responses = stream(world, encoding=encoding, fields=fields_of("int64", "string"))
        assert all(len(each.chunk) <= 40_000 for each in responses)
        assert [row[0] for row in read(responses)] == list(range(100))
    monkeypatch.setattr("services.chunks.MAX_CHUNK_BYTES", 2_000)
    assert "a row is larger" in refusal(world, fields=fields_of("string")).message


def test_pages_grow_until_a_chunk_is_as_large_as_it_should_be(world: Any) -> None:
    world.fill(many(20_000))
    counts = [each.row_count for each in stream(world, fields=fields_of("int64")) if each.row_count]
    assert counts == [1024, 4096, 14880]
    assert page_reader.CHUNK_BYTES == 1 << 20


def test_rows_that_a_filter_hides_count_for_the_size_of_a_page(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill([("人", 1, n, 1, "1", "长" * 3_000, b"", None, None) for n in range(2_000)])
    read: list[int] = []
    page = world.source.page

    def counted(*arguments: Any) -> Any:
        found = page(*arguments)
        read.append(found.count)
        return found

    monkeypatch.setattr(world.source, "page", counted)
    nobody = [predicate("string", "EQ", {"string": "无"})]
    assert rows_of(stream(world, fields=fields_of("string"), filters=nobody)) == []
    assert read[0] == 1024 and all(100 < count < 120 for count in read[1:-1])


def test_memory_is_that_of_a_chunk_however_long_the_stream(world: Any) -> None:
    world.fill([("人", 1, n, 0.5, "1.5", "字" * 100, b"", None, None) for n in range(20_000)])
    responses = world.responses(world.stream(dataset=ALL, fields=fields_of("string")))
    for each in responses:
        if each.row_count:
            break
    tracemalloc.start()
    try:
        total = sum(len(each.chunk) for each in responses)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total > 5 << 20 and peak < 12 << 20
