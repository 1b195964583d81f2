"""Streams of a real node over mutual TLS: read no faster than they are taken, and gone when their caller is."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from isthmus.reasons import Reason
from isthmus.v1 import common_pb2
from isthmus.v1 import department_service_pb2 as department
from isthmus.v1.department_service_pb2_grpc import DepartmentServiceStub
from services.journal import How
from services.node import Node
from tests.integration.department_world import Place, error_of, place_in, running

pytestmark = pytest.mark.integration

ROWS = 60_000
# More than what lies in the buffers of gRPC, TLS and the kernel between the node and a caller that reads nothing.
NAME = "长" * 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("streams")
    place = place_in(folder)
    text = (folder / "department.toml").read_text(encoding="utf-8")
    (folder / "department.toml").write_text(text.replace("[source]", "max_streams = 2\n[source]"), "utf-8")
    with sqlite3.connect(folder / "people.db") as connection:
        connection.execute("DELETE FROM 人口")
        rows = ((f"{n:018d}", f"{NAME}{n}") for n in range(ROWS))
        connection.executemany("INSERT INTO 人口 VALUES (?, ?)", rows)
    connection.close()
    return place


@contextmanager
def calling(place: Place, node: Node, *, timeout: float = 60) -> Iterator[Callable[..., Any]]:
    with place.call(node.port) as channel:
        stub = DepartmentServiceStub(channel)

        def call(**changes: Any) -> Any:
            return stub.StreamRows(
                department.StreamRowsRequest(grant=place.stream(**changes)), timeout=timeout
            )

        yield call


class Endings:
    """Lets a test wait until streams have ended."""

    def __init__(self, node: Node) -> None:
        self._arrived = threading.Semaphore(0)
        self.how: list[How] = []
        end = node.journal.end

        def told(ending: Any) -> None:
            end(ending)
            self.how.append(ending.how)
            self._arrived.release()

        node.journal.end = told  # type: ignore[method-assign]

    def wait(self, count: int) -> list[How]:
        for _ in range(count):
            assert self._arrived.acquire(timeout=30)
        return self.how


def test_every_row_arrives_masked_and_the_receipt_is_last(place: Place) -> None:
    with running(place) as node, calling(place, node) as call:
        responses = list(call(fields=[{"name": "name", "transform": "mask:1"}]))
    rows = [row for each in responses for row in common_pb2.RowSet.FromString(each.chunk).rows]
    assert len(rows) == sum(each.row_count for each in responses) == ROWS
    assert all(
        row.values[0].string_value == "*" * (400 + len(str(n)) - 1) + str(n)[-1] for n, row in enumerate(rows)
    )
    assert responses[-1].receipt and not any(each.receipt for each in responses[:-1])


def test_a_caller_that_reads_slowly_keeps_the_node_from_reading_ahead(place: Place) -> None:
    with running(place) as node, calling(place, node) as call:
        read = 0
        waiting = threading.Event()
        page = node.source.page

        def counted(*arguments: Any) -> Any:
            nonlocal read
            found = page(*arguments)
            read += found.count
            waiting.set()
            return found

        node.source.page = counted  # type: ignore[assignment,method-assign]
        endings = Endings(node)
        stream = call()
        next(stream)
        # Until it has read nothing more for a while: it waits for the caller.
        while waiting.wait(1.0):
            waiting.clear()
        assert 0 < read < ROWS / 2
        taken = sum(each.row_count for each in stream)
        assert taken == read == ROWS
        assert endings.wait(1) == [How.COMPLETE]


def test_a_caller_that_gives_up_frees_the_slot_and_no_third_stream_is_begun(place: Place) -> None:
    with running(place) as node, calling(place, node) as call:
        endings = Endings(node)
        streams = [call(), call()]
        for each in streams:
            next(each)
        error = error_of(lambda: list(call()))
        assert error.reason is Reason.OVERLOADED and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams[0].cancel()
        assert endings.wait(1) == [How.CANCELLED]
        again = call()
        assert next(again).columns
        for each in (*streams[1:], again):
            each.cancel()
        assert endings.wait(2) == [How.CANCELLED] * 3
        assert node.source._engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_caller_that_stalls_is_ended_by_its_deadline(place: Place) -> None:
    with running(place) as node, calling(place, node, timeout=1.5) as call:
        endings = Endings(node)
        stream = call()
        next(stream)
        assert endings.wait(1) == [How.CANCELLED]
        with pytest.raises(grpc.RpcError) as error:
            list(stream)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stream_goes_on_with_a_node_that_was_started_again(place: Place) -> None:
    with running(place) as node, calling(place, node) as call:
        stream = call()
        first = [next(stream), next(stream), next(stream)]
        stream.cancel()
    with running(place) as node, calling(place, node) as call:
        rest = list(call(resume=first[-1].resume_token))
    assert sum(each.row_count for each in [*first, *rest]) == ROWS
    begins = common_pb2.RowSet.FromString(rest[1].chunk).rows[0].values[0].string_value
    assert begins.endswith(str(sum(each.row_count for each in first))[-1])


def test_a_node_leaves_threads_for_other_calls(tmp_path: Path) -> None:
    from services.manifest import ManifestError
    from services.manifest_file import load_manifest

    place_in(tmp_path)
    path = tmp_path / "department.toml"
    text = path.read_text(encoding="utf-8").replace("[source]", "threads = 4\nmax_streams = 4\n[source]")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match="leave some for other calls"):
        load_manifest(path, environ={})
