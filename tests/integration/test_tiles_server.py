"""The tile server over real sockets: what it publishes byte for byte, to whom, and what it refuses."""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.http_server import HttpServer
from audit.ledger import LedgerUnavailable
from audit.tiles.app import TileApp
from audit.tiles.places import bundles, hash_tiles
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.merkle import hash_leaf, root_of
from audit.tlog.tiles import decode_bundle
from audit.tlog.tree import Edge
from tests.unit.audit.ledger_world import KEY, ledger_in
from tests.unit.audit.tiles_world import SPECIFIED, leaf, snapshot, spoil, write_ledger

pytestmark = pytest.mark.integration

SIZE = 700


class Peer:
    """A server over a ledger's file, and a client of it."""

    def __init__(self, path: Path, *, entries: bool) -> None:
        self.path = path
        self.server = HttpServer(
            "127.0.0.1:0", TileApp(lambda: snapshot(path), entries=entries), name="tile server"
        )

    def ask(
        self, target: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of one answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)) as connection:
            connection.request(
                method, target, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def read(self, target: str) -> bytes:
        """The body of an answer that must be 200."""
        status, _, body = self.ask(target)
        assert status == 200, body
        return body


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiles") / "ledger.db"
    write_ledger(path, SIZE)
    return path


@pytest.fixture(scope="module")
def auditors(ledger: Path) -> Iterator[Peer]:
    """A server that publishes entries too."""
    peer = Peer(ledger, entries=True)
    yield peer
    peer.server.close()


@pytest.fixture(scope="module")
def public(ledger: Path) -> Iterator[Peer]:
    """A server as it is unless the configuration says more."""
    peer = Peer(ledger, entries=False)
    yield peer
    peer.server.close()


def test_the_whole_log_can_be_rebuilt_from_what_is_served(auditors: Peer) -> None:
    checkpoint = open_checkpoint(auditors.read("/checkpoint"), KEY.verifier).checkpoint
    assert checkpoint.size == SIZE
    found = [
        entry
        for place in bundles(SIZE)
        for entry in decode_bundle(auditors.read(f"/{place.path}"), place.width)
    ]
    assert found == [leaf(index) for index in range(SIZE)]
    assert root_of(b"".join(map(hash_leaf, found))) == checkpoint.root
    growth = Edge.empty().append([hash_leaf(entry) for entry in found])
    for tile in hash_tiles(SIZE):
        assert auditors.read(f"/{tile.path}") == growth.tiles[tile.level, tile.index]


def test_a_log_of_70000_entries_is_served_as_the_specification_shows(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger.db", SPECIFIED)
    peer = Peer(tmp_path / "ledger.db", entries=True)
    with closing(peer.server):
        for path, width in {
            "tile/0/000": 256,
            "tile/0/272": 256,
            "tile/0/273.p/112": 112,
            "tile/1/000": 256,
            "tile/1/001.p/17": 17,
            "tile/2/000.p/1": 1,
        }.items():
            assert len(peer.read(f"/{path}")) == 32 * width
        assert decode_bundle(peer.read("/tile/entries/273.p/112"), 112)[-1] == leaf(69_999)
        for path in ("tile/0/273", "tile/0/273.p/113", "tile/0/274.p/1", "tile/1/001.p/18", "tile/1/001"):
            assert peer.ask(f"/{path}")[0] == 404
        for path in (
            "tile/2/000.p/2",
            "tile/2/000",
            "tile/3/000.p/1",
            "tile/entries/273",
            "tile/entries/274.p/1",
        ):
            assert peer.ask(f"/{path}")[0] == 404


def test_the_partial_tiles_of_earlier_checkpoints_stay(auditors: Peer) -> None:
    assert auditors.read("/tile/0/002.p/100") == auditors.read(f"/tile/0/002.p/{SIZE - 512}")[:3200]
    assert auditors.read("/tile/0/000.p/255") == auditors.read("/tile/0/000")[:-32]
    assert auditors.read("/tile/entries/000").startswith(auditors.read("/tile/entries/000.p/7"))


def test_content_types_and_caching_are_those_of_the_specification(auditors: Peer) -> None:
    kinds = {}
    for target in ("/checkpoint", "/tile/0/000", "/tile/0/002.p/3", "/tile/entries/000"):
        _, headers, _ = auditors.ask(target)
        kinds[target] = headers["Content-Type"], headers["Cache-Control"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers or headers["Server"] == ""
    forever, mine = "public, max-age=31536000, immutable", "private, max-age=31536000, immutable"
    assert kinds == {
        "/checkpoint": ("text/plain; charset=utf-8", "no-store"),
        "/tile/0/000": ("application/octet-stream", forever),
        "/tile/0/002.p/3": ("application/octet-stream", forever),
        "/tile/entries/000": ("application/octet-stream", mine),
    }
    assert auditors.ask("/tile/0/009")[1]["Cache-Control"] == "no-store", "it may exist a moment later"


def test_entries_are_published_only_where_the_configuration_says_so(public: Peer) -> None:
    assert public.ask("/checkpoint")[0] == public.ask("/tile/0/000")[0] == 200
    for target in ("/tile/entries/000", "/tile/entries/002.p/188", "/tile/entries/x999/999"):
        for method in ("GET", "HEAD"):
            status, headers, body = public.ask(target, method)
            assert (status, headers["Cache-Control"]) == (403, "no-store")
        status, _, body = public.ask(target)
        assert "记录".encode() not in body and b"not published here" in body


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/tile",
        "/tile/",
        "/tile/0",
        "/tile/0/",
        "/index.html",
        "/checkpoint/",
        "//checkpoint",
        "/checkpoint?x=1",
        "/%63heckpoint",
        "/tile/0/0",
        "/tile/0/%3000",
        "/tile/00/000",
        "/tile/0/000.p/256",
        "/tile/0/000.p/0",
        "/tile/0/../0/000",
        "/tile/0/x000/000",
        "/tile/64/000",
        "/tile/0/" + "x999/" * 400 + "999",
        "/../../etc/passwd",
        "/tile/0/%00",
    ],
)
def test_only_the_one_spelling_of_a_resource_is_answered(auditors: Peer, target: str) -> None:
    status, _, body = auditors.ask(target)
    assert status == 404
    assert body.startswith(b"no such resource: ") and b"Traceback" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_possible(auditors: Peer, method: str) -> None:
    status, headers, body = auditors.ask("/checkpoint", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert b"use GET or HEAD" in body


def test_head_says_what_get_would_and_sends_nothing(auditors: Peer) -> None:
    for target in ("/checkpoint", "/tile/0/000", "/tile/entries/000", "/tile/9/000"):
        got, asked = auditors.ask(target), auditors.ask(target, "HEAD")
        assert asked[0] == got[0]
        for name in ("Content-Length", "Content-Type", "Cache-Control"):
            assert asked[1][name] == got[1][name]
        with closing(socket.create_connection(("127.0.0.1", auditors.server.port), timeout=10)) as raw:
            raw.sendall(f"HEAD {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            with raw.makefile("rb") as answer:
                assert answer.read().endswith(b"\r\n\r\n"), "nothing after the head"


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("identity, gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("gzipped", False),
    ],
)
def test_entries_are_compressed_for_whoever_accepts_it(auditors: Peer, accepted: str, packed: bool) -> None:
    _, headers, body = auditors.ask("/tile/entries/001", Accept_Encoding=accepted)
    assert (headers["Content-Encoding"] == "gzip") is packed
    assert headers["Vary"] == "Accept-Encoding"
    assert (gzip.decompress(body) if packed else body) == auditors.read("/tile/entries/001")


def test_a_damaged_ledger_is_said_to_be_one_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    write_ledger(path, 300)
    spoil(path, "DELETE FROM tiles WHERE level = 0 AND idx = 0")
    spoil(path, "DELETE FROM records WHERE idx = 5")
    spoil(path, "UPDATE tiles SET data = substr(data, 1, 40) WHERE level = 0 AND idx = 1")
    peer = Peer(path, entries=True)
    with closing(peer.server):
        for target in ("/tile/0/000", "/tile/entries/000", "/tile/0/001.p/44"):
            status, _, body = peer.ask(target)
            assert (status, body) == (500, b"the log cannot be read; its operator must look at it\n")


def test_a_ledger_that_cannot_be_read_now_is_worth_another_try() -> None:
    def locked() -> AbstractContextManager[sa.Connection]:
        raise LedgerUnavailable("too many readers at once, says /secret/path")

    app = TileApp(locked, entries=True)
    for target in ("/checkpoint", "/tile/0/000"):
        answer = app.answer("GET", target)
        assert answer.status.startswith("503") and ("Retry-After", "1") in answer.headers()
        assert b"secret" not in answer.body
    assert app.answer("GET", "checkpoint").status.startswith("404"), "a target begins with a slash"


def test_many_ask_at_once_and_all_are_answered(auditors: Peer) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(auditors.read, ["/tile/0/000", "/tile/entries/001"] * 40))
    assert len(set(bodies)) == 2


def test_an_overlong_head_or_a_body_is_refused(auditors: Peer) -> None:
    assert auditors.ask("/checkpoint", X_Long="x" * 9000)[0] in (400, 431)
    with closing(http.client.HTTPConnection("127.0.0.1", auditors.server.port, timeout=10)) as connection:
        connection.request("POST", "/checkpoint", body=b"x" * 5000)
        assert connection.getresponse().status == 413


def test_who_says_nothing_does_not_keep_others_waiting(auditors: Peer) -> None:
    silent = [socket.create_connection(("127.0.0.1", auditors.server.port)) for _ in range(20)]
    try:
        for each in silent:
            each.sendall(b"GET /check")
        assert auditors.ask("/checkpoint")[0] == 200
    finally:
        for each in silent:
            each.close()


def test_closing_frees_the_port_and_ends_open_connections(ledger: Path) -> None:
    peer = Peer(ledger, entries=False)
    with closing(socket.create_connection(("127.0.0.1", peer.server.port), timeout=10)) as held:
        held.sendall(b"GET /checkpoint HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.recv(12) == b"HTTP/1.1 200"
        peer.server.close()
        while held.recv(4096):
            pass
    HttpServer(
        f"127.0.0.1:{peer.server.port}", TileApp(lambda: snapshot(ledger), entries=False), name="next"
    ).close()


def test_closing_waits_for_the_answers_under_way_before_it_lets_go_of_any_file() -> None:
    """A worker writes to the server's pipe last: were it closed by then, the byte could reach another file."""
    entered, released, pipe = threading.Event(), threading.Event(), list[int]()

    def app(_: Any, start_response: Any) -> list[bytes]:
        entered.set()
        assert released.wait(10)
        pipe.extend(os.fstat(descriptor).st_mode for descriptor in server._server.trigger._fds)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    server = HttpServer("127.0.0.1:0", app, name="slow server")
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert entered.wait(10)
        dispatcher = server._server.task_dispatcher
        shutdown, stopping = dispatcher.shutdown, threading.Event()
        dispatcher.shutdown = lambda **options: stopping.set() or shutdown(**options)  # type: ignore[func-returns-value]
        closer = threading.Thread(target=server.close)
        closer.start()
        assert stopping.wait(10)
        released.set()
        closer.join(10)
    assert not closer.is_alive() and len(pipe) == 2 and all(map(stat.S_ISFIFO, pipe))


def test_closing_while_many_ask_fails_nobody_and_nothing(
    ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        peer = Peer(ledger, entries=False)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(peer.ask, "/tile/0/000") for _ in range(12)]
            asked[0].result()
            peer.server.close()
            for each in asked:
                assert each.exception() is None or isinstance(
                    each.exception(), OSError | http.client.HTTPException
                )
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_address_that_is_taken_is_named(auditors: Peer) -> None:
    address = f"127.0.0.1:{auditors.server.port}"
    with pytest.raises(OSError, match=f"the tile server cannot listen on {address}"):
        HttpServer(address, TileApp(lambda: snapshot(auditors.path), entries=False), name="tile server")


def test_an_empty_log_publishes_its_checkpoint_alone(tmp_path: Path) -> None:
    with ledger_in(tmp_path):
        peer = Peer(tmp_path / "ledger.db", entries=True)
        with closing(peer.server):
            assert open_checkpoint(peer.read("/checkpoint"), KEY.verifier).checkpoint.size == 0
            for target in ("/tile/0/000", "/tile/0/000.p/1", "/tile/entries/000.p/1"):
                assert peer.ask(target)[0] == 404
