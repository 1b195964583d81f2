"""Verification of a tile server, and of what is none."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.result import Source
from audit.verifier.source import Server, SourceUnavailable
from audit.verifier.tiles import verify_tiles
from tests.integration.verify_world import exported, failures, grow
from tests.unit.audit.ledger_world import (
    KEY,
)

pytestmark = pytest.mark.integration


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/checkpoint")
            self.end_headers()
        elif self.path.startswith("/broken"):
            self.send_error(503)
        else:
            super().do_GET()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_tile_server_is_verified_and_its_damage_named(tmp_path: Path) -> None:
    grow(tmp_path, failures(300))
    folder = exported(tmp_path)
    with served(folder) as url:
        found = verify_tiles(f"{url}/", KEY.verifier, state=tmp_path / "state")
        assert (found.size, found.source) == (300, Source.ENTRIES)
        entries = folder / "tile/entries/001.p/44"
        data = entries.read_bytes()
        entries.write_bytes(data[:-1] + b"]")
        with pytest.raises(Damaged) as caught:
            verify_tiles(url, KEY.verifier)
        assert (caught.value.kind, caught.value.where) == (DamageKind.RECORD, "record 299")
        entries.unlink()
        with pytest.raises(Damaged) as caught:
            verify_tiles(url, KEY.verifier)
        assert caught.value.where == "tile/entries/001.p/44"
    with served(exported(tmp_path, entries=False)) as url:
        assert verify_tiles(url, KEY.verifier).source is Source.HASHES


def test_a_server_that_is_none_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.verifier.source.time.sleep", lambda _: None)
    with served(tmp_path) as url:
        for path in ("moved", "broken"):
            with pytest.raises(SourceUnavailable, match=f"{url}/{path}"):
                verify_tiles(f"{url}/{path}", KEY.verifier)
    with pytest.raises(SourceUnavailable):
        verify_tiles(url, KEY.verifier)


@pytest.mark.parametrize(
    "address",
    ["ftp://log.example/", "http://", "https://name:secret@log.example", "https://log.example/?a=b"],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="tile server|password") as caught:
        Server(address)
    assert "secret" not in str(caught.value)
