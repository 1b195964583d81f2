"""The tile server as a part of the audit service: off unless configured, and what `[tiles]` must say."""

from __future__ import annotations

import http.client
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from audit.config import AuditConfig, TileSettings
from audit.main import AuditServer
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.merkle import root_of
from isthmus.config import ConfigError, load
from tests.integration.audit_world import audit_world_in
from tests.unit.audit.ledger_world import KEY, append, decision

pytestmark = pytest.mark.integration


def test_the_audit_service_serves_its_ledger_and_grows_with_it(tmp_path: Path) -> None:
    with audit_world_in(tmp_path) as world:
        config = replace(world.config(), tiles=TileSettings(address="127.0.0.1:0"))
        assert world.server.tile_port is None, "off unless configured"
        server = AuditServer(config, clock=lambda: datetime.now(UTC), registry=CollectorRegistry())
        try:
            for size in (1, 2):
                append(server.ledger, decision())
                with closing(
                    http.client.HTTPConnection("127.0.0.1", server.tile_port, timeout=10)
                ) as connection:
                    connection.request("GET", "/checkpoint")
                    note = connection.getresponse().read()
                    connection.request("GET", f"/tile/0/000.p/{size}")
                    tile = connection.getresponse().read()
                checkpoint = open_checkpoint(note, KEY.verifier).checkpoint
                assert (checkpoint.size, checkpoint.root) == (size, root_of(tile))
        finally:
            server.stop(0)


def test_a_malformed_section_is_refused_at_the_start(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "deploy" / "audit.toml").read_text(encoding="utf-8")
    plain = text.partition("[tiles]")[0]
    path = tmp_path / "audit.toml"
    for section, told in (
        ("address = 'nowhere'", "must be host:port"),
        ("entries = true", "address: is missing"),
    ):
        path.write_text(f"{plain}\n[tiles]\n{section}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=told):
            load(path, AuditConfig, environ={})
    path.write_text(f"{plain}\n[tiles]\naddress = '[::1]:0'\n", encoding="utf-8")
    tiles = load(path, AuditConfig, environ={}).tiles
    assert tiles is not None and not tiles.entries, "entries are published only when somebody says so"
