"""Dry runs on a real ledger: who may, what they see, and that nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from audit.record import LOGGED
from gateway.config import PolicySection
from gateway.contracts.service import ContractService
from gateway.dryrun.contract import ContractDryRun
from gateway.dryrun.past import BATCH, count_past, read_past
from gateway.state.change import Control
from isthmus.cli.policy_dryrun import dry_run_policy
from isthmus.errors import (
    DeadlineExceeded,
    Denied,
    IsthmusError,
    NotFound,
    ResourceExhausted,
    TermsInvalid,
    Unimplemented,
)
from isthmus.identity import Identity, Role
from isthmus.reasons import Reason
from isthmus.terms import timestamp
from isthmus.v1.catalog_service_pb2 import PublishDatasetRequest
from isthmus.v1.catalog_service_pb2_grpc import CatalogServiceStub
from isthmus.v1.contract_service_pb2 import ContractTerms, DryRunContractRequest, DryRunContractResponse
from isthmus.v1.contract_service_pb2_grpc import ContractServiceStub
from tests.integration import exchange_world
from tests.integration.exchange_parties import (
    CONSUMER,
    CONTRACT,
    OTHER_PURPOSE,
    OTHER_SYSTEM,
    PORTAL,
    PROVIDER,
    PURPOSE,
    SYSTEM,
    TAX,
    now,
    party,
    terms,
)

pytestmark = pytest.mark.integration

STRANGER = party(Role.OFFICER, TAX)
Told = DryRunContractResponse


@pytest.fixture
def world(tmp_path: Path) -> Iterator[exchange_world.World]:
    with exchange_world.world_in(tmp_path) as world:
        world.consent(world.agree(), purposes=(PURPOSE, OTHER_PURPOSE))
        yield world


def happen(world: exchange_world.World) -> None:
    """Two releases with income, one without, one for another purpose, and four denials."""
    world.query()
    world.query()
    world.query(fields=("姓名",))
    world.query(purpose=OTHER_PURPOSE)
    for changes in (
        {"by": OTHER_SYSTEM},
        {"purpose": "not in the contract"},
        {"fields": ("secret",)},
        {"resident": "110101199003000001"},
    ):
        with pytest.raises(Denied):
            world.query(**changes)


def dry_run(
    world: exchange_world.World, tried: ContractTerms, *, by: Identity = PROVIDER, **members: Any
) -> Told:
    request = DryRunContractRequest(contract=CONTRACT, terms=tried, **members)
    found: Told = world.call(ContractServiceStub, by, "DryRunContract", request)
    return found


def lasting(**changes: Any) -> ContractTerms:
    """Terms that were in force all along."""
    found = terms(**changes)
    found.period.not_before.CopyFrom(timestamp(now() - timedelta(days=9)))
    return found


def kinds(found: Told) -> dict[tuple[str, str, str], int]:
    return {(each.recorded, each.tried, each.reasons): each.count for each in found.changes}


def test_the_terms_in_force_change_nothing_and_the_run_leaves_no_trace(world: exchange_world.World) -> None:
    happen(world)
    size = world.size()
    for officer in (PROVIDER, CONSUMER):
        found = dry_run(world, lasting(), by=officer)
        assert (found.tried, found.changed, found.undecided) == (8, 0, 0), found
    assert world.size() == size


def test_narrower_terms_say_how_many_exchanges_they_would_have_denied(world: exchange_world.World) -> None:
    happen(world)
    found = dry_run(world, lasting(fields=[{"name": "姓名", "transform": "mask:1"}], purposes=[PURPOSE]))
    assert kinds(found) == {
        ("ALLOW", "DENY", "FIELDS_OUTSIDE_CONTRACT"): 2,
        ("ALLOW", "DENY", "FIELDS_OUTSIDE_CONTRACT,PURPOSE_NOT_ALLOWED"): 1,
    }
    released = [record.exchange for record in world.decisions() if record.decision == "ALLOW"]
    assert list(found.changes[0].examples) == [released[1], released[0]], "newest first"


def test_wider_terms_say_what_they_would_have_allowed(
    world: exchange_world.World,
) -> None:
    happen(world)
    found = dry_run(world, lasting(systems=[SYSTEM.resource, OTHER_SYSTEM.resource]))
    assert kinds(found) == {("DENY", "ALLOW", "SYSTEM_NOT_LISTED"): 1}
    assert (found.changed, found.undecided) == (1, 0), "what the consent did not cover stays refused"


def test_what_the_log_does_not_hold_of_a_denial_is_counted_and_not_guessed(
    world: exchange_world.World,
) -> None:
    duty = {"legal_basis": "LEGAL_OBLIGATION", "legal_citation": "《退役军人保障法》第五条"}
    world.agree(**duty)
    for changes in ({"purpose": "not in the contract"}, {"fields": ("secret",)}):
        with pytest.raises(Denied):
            world.query(case="办件-1", **changes)
    world.query(case="办件-1")
    wider = [{"name": name, "transform": "plain"} for name in ("姓名", "income", "city", "secret")]
    found = dry_run(world, lasting(**duty, fields=wider, purposes=[PURPOSE, "not in the contract"]))
    assert (found.tried, found.changed, found.undecided) == (3, 0, 2)


def test_terms_that_begin_later_would_have_denied_the_past(world: exchange_world.World) -> None:
    world.query()
    later = terms()
    later.period.not_before.CopyFrom(timestamp(now() + timedelta(days=1)))
    assert kinds(dry_run(world, later)) == {("ALLOW", "DENY", "CONTRACT_NOT_YET_VALID"): 1}


def test_only_exchanges_since_a_time_are_tried(world: exchange_world.World) -> None:
    for _ in range(3):
        world.query()
    moment = Timestamp()
    moment.FromDatetime(world.decisions()[1].at[LOGGED])
    assert dry_run(world, lasting(), since=moment).tried == 2


def test_an_exchange_is_judged_by_the_version_that_decided_it(world: exchange_world.World) -> None:
    world.query()
    renewed = world.agree(fields=[{"name": "姓名", "transform": "mask:1"}])
    world.consent(renewed, fields=("姓名",))
    world.query(fields=("姓名",))
    found = dry_run(world, lasting(fields=[{"name": "姓名", "transform": "mask:1"}]))
    assert (found.tried, found.changed) == (2, 1)


def test_nobody_but_officers_of_the_two_parties_may(world: exchange_world.World) -> None:
    with pytest.raises(NotFound):
        dry_run(world, lasting(), by=STRANGER)
    for caller in (SYSTEM, PORTAL):
        with pytest.raises(IsthmusError) as refusal:
            dry_run(world, lasting(), by=caller)
        assert refusal.value.reason is Reason.ROLE_NOT_ALLOWED
    request = DryRunContractRequest(contract="contracts/none", terms=lasting())
    with pytest.raises(NotFound):
        world.call(ContractServiceStub, PROVIDER, "DryRunContract", request)


def test_terms_of_another_contract_are_no_other_terms_of_this_one(world: exchange_world.World) -> None:
    other = lasting()
    other.consumer, other.dataset = "departments/tax", "departments/civil-registry/datasets/other"
    with pytest.raises(TermsInvalid) as refusal:
        dry_run(world, other)
    assert {each.field for each in refusal.value.violations} == {"terms.consumer", "terms.dataset"}


def test_outsiders_exchanges_under_the_contract_s_name_are_no_part_of_its_past(
    world: exchange_world.World,
) -> None:
    from tests.integration.exchange_parties import OUTSIDER

    with pytest.raises(Denied):
        world.query(by=OUTSIDER)
    assert dry_run(world, lasting()).tried == 0


def test_one_run_at_a_time_and_none_past_the_caller_s_deadline(world: exchange_world.World) -> None:
    world.query()
    clock = [now()]
    control = Control(world.gateway.ledger, clock=lambda: clock[0])
    runner = ContractDryRun(control, world.gateway._rules)
    request = DryRunContractRequest(contract=CONTRACT, terms=lasting())
    call = control.call(PROVIDER, "ab" * 32, "DryRunContract", deadline=now() + timedelta(seconds=60))
    with runner._running, pytest.raises(ResourceExhausted) as busy:
        runner.run(call, request)
    assert busy.value.reason is Reason.OVERLOADED and busy.value.retry_after
    clock[0] += timedelta(seconds=61)
    with pytest.raises(DeadlineExceeded):
        runner.run(call, request)
    clock[0] -= timedelta(seconds=61)
    assert runner.run(call, request).tried == 1, "the place is free again"


def test_the_past_is_read_in_bounded_batches_newest_first(world: exchange_world.World) -> None:
    for _ in range(5):
        world.query()
    read = world.gateway.ledger.read
    every = [past.exchange for _, batch in read_past(read) for past in batch]
    assert every == [record.exchange for record in reversed(world.decisions())] and len(every) == 5
    assert [past.exchange for _, batch in read_past(read, most=3) for past in batch] == every[:3]
    with read() as connection:
        assert (count_past(connection), count_past(connection, most=3)) == (5, 3)
    assert BATCH <= 1000


# ---- The policy


HOURS = """
@id("no-income") @reason("FIELDS_OUTSIDE_CONTRACT")
forbid (principal, action, resource) when { context.fields.contains("income") };
"""


def policy_run(
    world: exchange_world.World, folder: Path, capsys: pytest.CaptureFixture[str], since: str = ""
) -> dict[str, Any]:
    dry_run_policy(world.config, folder, since=since, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_another_policy_is_tried_beside_a_gateway_that_serves(
    world: exchange_world.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    happen(world)
    size, proposed = world.size(), tmp_path / "proposed"
    proposed.mkdir()
    unchanged = policy_run(world, proposed, capsys)
    assert (unchanged["tried"], unchanged["changed"]) == ("8", "0")
    (proposed / "income.cedar").write_text(HOURS)
    found = policy_run(world, proposed, capsys)
    assert found["changed"] == "3" and found["undecided"] == "0"
    assert [(each["tried"], each["reasons"]) for each in found["changes"]] == [
        ("DENY", "FIELDS_OUTSIDE_CONTRACT")
    ]
    assert world.size() == size and world.query().exchange
    dry_run_policy(world.config, proposed, since="", as_json=False)
    words = capsys.readouterr().out
    assert "9 recorded exchanges tried" in words
    assert "These 4 exchanges would now be denied: FIELDS_OUTSIDE_CONTRACT." in words


def test_taking_a_rule_away_shows_what_it_alone_refused(
    world: exchange_world.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local, none = tmp_path / "local", tmp_path / "none"
    local.mkdir()
    none.mkdir()
    (local / "income.cedar").write_text(HOURS)
    world.restart_gateway(policy=replace(PolicySection(), additions=local))
    with pytest.raises(Denied):
        world.query()
    found = policy_run(world, none, capsys)
    assert [(each["recorded"], each["tried"], each["count"]) for each in found["changes"]] == [
        ("DENY", "ALLOW", "1")
    ]


def test_an_exchange_is_judged_by_the_catalogue_entry_of_its_time(
    world: exchange_world.World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.query()
    entry = world.manifest.datasets_proto()[0]
    entry.grade = "核心数据"
    world.call(CatalogServiceStub, PROVIDER, "PublishDataset", PublishDatasetRequest(dataset=entry))
    world.query()
    proposed = tmp_path / "proposed"
    proposed.mkdir()
    (proposed / "core.cedar").write_text(
        '@id("core") @reason("DATASET_REFUSED") forbid (principal, action, resource)\n'
        'when { context has dataset && context.dataset.grade == "核心数据" };',
        encoding="utf-8",
    )
    found = policy_run(world, proposed, capsys)
    assert (found["tried"], found["changed"]) == ("2", "1")
    assert found["changes"][0]["examples"] == [world.decisions()[1].exchange]


def test_the_command_refuses_a_policy_that_permits(world: exchange_world.World, tmp_path: Path) -> None:
    from isthmus.cli.gateway import app

    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.cedar").write_text('@id("x") permit (principal, action, resource);')
    config = tmp_path / "gateway.toml"
    config.write_text(
        f"""
[server]
address = "127.0.0.1:0"
trust_domain = "data.example"
certificate = "a.pem"
key = "a.key"
ca = "ca.pem"
[ledger]
url = "{world.config.ledger.url}"
log_key = "log.key"
pin = "pin"
[subjects]
keys = {{ 1 = "s.key" }}
"""
    )
    result = CliRunner().invoke(app, ["dry-run", "--config", str(config), "--additions", str(bad)])
    assert result.exit_code == 1 and "may only forbid" in result.output
    (bad / "x.cedar").write_text(HOURS)
    result = CliRunner().invoke(
        app, ["dry-run", "--config", str(config), "--additions", str(bad), "--since", "x"]
    )
    assert result.exit_code == 1 and "since" in result.output
    result = CliRunner().invoke(app, ["dry-run", "--config", str(config), "--additions", str(bad)])
    assert result.exit_code == 0 and "0 recorded exchanges tried" in result.output


def test_a_gateway_without_the_past_says_that_it_does_not_serve_dry_runs(world: exchange_world.World) -> None:
    control = Control(world.gateway.ledger, clock=now)
    service = ContractService(control, verifier=world.gateway._verifier)
    with pytest.raises(Unimplemented):
        service.DryRunContract(DryRunContractRequest(), None)  # type: ignore[arg-type]
