"""Consents at the command line, against a real gateway, ledger and node: several parties, limits, and who used them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli.main import app
from isthmus.errors import IsthmusError, Reason
from isthmus.identity import Identity
from isthmus.pki import file_stem
from isthmus.terms import rfc3339
from tests.integration.exchange_parties import PORTAL, PROVIDER, PURPOSE, RESIDENT, SYSTEM, now
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration

ABOUT = ("--subject", f"cn.resident-id:{RESIDENT}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


@pytest.fixture
def notice(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "告知书.txt"
    path.write_text("为核验优抚对象资格……", encoding="utf-8")
    return ("--notice", str(path))


def typed(world: World, identity: Identity, *arguments: str) -> Result:
    """What `identity` types after `isthmus`."""
    world.credentials(identity)
    pki, stem = world.folder / "pki", file_stem(identity)
    options = ["--address", f"127.0.0.1:{world.gateway.port}", "--cert", str(pki / f"{stem}.pem")]
    options += ["--key", str(pki / f"{stem}.key"), "--ca", str(pki / "ca.pem"), "--deadline", "30"]
    environ = {"ISTHMUS_CONFIG": str(world.folder / "none.toml")}
    return CliRunner().invoke(app, [*options, "consent", *arguments], env=environ)


def done(world: World, identity: Identity, *arguments: str) -> Any:
    """The one JSON document that a command printed."""
    result = typed(world, identity, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_both_parents_consent_and_one_withdraws(world: World, notice: tuple[str, ...]) -> None:
    contract = world.agree().name
    parties = ("--party", "母亲", "--party", "父亲")
    name = done(world, PORTAL, "request", contract, *ABOUT, *parties)["name"]
    guardian = ("--grantor", "GUARDIAN", "--evidence", "户口簿-17", "--name", name, *notice)
    grows = rfc3339(now() + timedelta(days=300))
    first = done(world, PORTAL, "grant", contract, *ABOUT, *guardian, "--party", "母亲", "--max-uses", "5")
    assert first["consent"]["state"] == "CONSENT_STATE_REQUESTED"
    assert "母亲 (consented), 父亲 (awaited)" in typed(world, PORTAL, "show", name).stdout
    second = done(
        world, PORTAL, "grant", contract, *ABOUT, *guardian, "--party", "父亲", "--of-age-at", grows
    )
    assert second["consent"]["state"] == "CONSENT_STATE_ACTIVE"
    assert second["consent"]["period"] == first["consent"]["period"]
    assert (second["consent"]["max_uses"], second["consent"]["of_age_at"]) == ("5", grows)
    ended = done(world, PORTAL, "withdraw", name, "--reason", "父亲撤回")
    assert ended["consent"]["state"] == "CONSENT_STATE_WITHDRAWN"


def test_the_person_reads_who_used_their_consent(world: World, notice: tuple[str, ...]) -> None:
    contract = world.agree()
    name = done(world, PORTAL, "grant", contract.name, *ABOUT, *notice)["consent"]["name"]
    world.query()
    used = typed(world, PORTAL, "uses", name).stdout.splitlines()
    assert used[0].split("\t") == ["at", "consumer", "caller", "purpose", "fields", "mode", "exchange"]
    assert used[1].split("\t")[2:4] == [SYSTEM.uri, PURPOSE]
    assert done(world, PORTAL, "uses", name)["uses"][0]["exchange"].startswith("exchanges/")
    assert "uses" in typed(world, PORTAL, "show", name).stdout
    row = typed(world, PORTAL, "list", *ABOUT).stdout.splitlines()[1].split("\t")
    assert row[0] == name and row[-1].startswith("1, last ")


def test_an_authority_ends_a_consent_with_its_reason(world: World, notice: tuple[str, ...]) -> None:
    contract = world.agree().name
    for command, state in (("revoke", "REVOKED"), ("invalidate", "INVALIDATED")):
        name = done(world, PORTAL, "grant", contract, *ABOUT, *notice)["consent"]["name"]
        assert typed(world, PROVIDER, command, name).exit_code == 2
        ended = typed(world, PROVIDER, command, name, "--reason", "（2026）监护撤销1号")
        assert ended.exit_code == 0 and f"{name} {state}" in ended.stdout


def test_refusals_say_what_would_pass(world: World, notice: tuple[str, ...]) -> None:
    contract = world.agree().name
    name = done(world, PORTAL, "request", contract, *ABOUT, "--party", "母亲")["name"]
    refused = typed(world, PORTAL, "grant", contract, *ABOUT, *notice, "--name", name, "--party", "邻居")
    assert refused.exit_code != 0 and "母亲" in refused.stderr
    assert RESIDENT not in refused.stderr
    assert "REFUSED" in typed(world, PORTAL, "refuse", name).stdout


def test_the_last_use_and_a_new_version_end_a_consent_at_the_gateway(
    world: World, notice: tuple[str, ...]
) -> None:
    contract = world.agree()
    once = ("grant", contract.name, *ABOUT, *notice, "--max-uses", "1")
    name = done(world, PORTAL, *once)["consent"]["name"]
    world.query()
    with pytest.raises(IsthmusError) as refusal:
        world.query()
    assert refusal.value.reasons == (Reason.CONSENT_EXPIRED,)
    assert "EXHAUSTED" in typed(world, PORTAL, "show", name).stdout
    again = done(world, PORTAL, "grant", contract.name, *ABOUT, *notice)["consent"]["name"]
    world.query()
    world.renew(contract, {"retention_days": 7})
    with pytest.raises(IsthmusError) as refusal:
        world.query()
    assert refusal.value.reasons == (Reason.CONSENT_TERMS_CHANGED,)
    assert "SUPERSEDED" in typed(world, PORTAL, "show", again).stdout
