"""Exchanges from end to end: what is released, and what the record says about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from audit.tlog.checkpoint import Checkpoint
from isthmus.canonical import sha256_hex
from isthmus.cli.gateway import app
from isthmus.errors import Denied, InvalidArgument, PermissionDenied, Reason
from isthmus.identity import Identity, Role
from isthmus.pki import file_stem
from isthmus.statement import StatementKind, StatementVerifier
from isthmus.v1.common_pb2 import DECISION_ALLOW, DECISION_DENY
from isthmus.v1.exchange_service_pb2 import (
    VERDICT_NO,
    VERDICT_UNKNOWN,
    VERDICT_YES,
)
from services.manifest_file import load_manifest
from services.node import Node
from tests.integration.exchange_parties import (
    CONTRACT,
    DOMAIN,
    NODE,
    OPERATOR,
    OUTSIDER,
    PORTAL,
    PURPOSE,
    REGISTRY,
    RESIDENT,
    STRANGER,
    SYSTEM,
    now,
)
from tests.integration.exchange_world import World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as each:
        yield each


def test_exactly_the_fields_asked_for_are_released_masked_and_recorded(world: World) -> None:
    contract = world.agree()
    consent = world.consent(contract)

    answer = world.query(fields=("income", "姓名"))

    assert answer.subject_known
    assert [(each.name, each.transform) for each in answer.row_set.columns] == [
        ("income", "plain"),
        ("姓名", "mask:1"),
    ]
    values = answer.row_set.rows[0].values
    assert values[0].int64_value == 5200 and values[1].string_value.endswith("明")
    assert "王" not in values[1].string_value
    record = world.sole_decision()
    assert (record.exchange, record.decision, record.reasons) == (answer.exchange, "ALLOW", ())
    assert record.fields == (
        {"name": "income", "transform": "plain"},
        {"name": "姓名", "transform": "mask:1"},
    )
    assert record.contract == contract.name and record.terms_digest == contract.terms_digest
    assert record.consents == ({"name": consent.name, "position": consent.position},)
    assert (record.row_count, record.purpose, record.mode) == (1, PURPOSE, "QUERY")
    assert record.provider_receipt_digest == sha256_hex(answer.receipt.provider_receipt.encode())
    assert {"in", "admitted", "fetched", "released"} <= record.at.keys()


def test_the_consumer_can_check_what_it_was_given(world: World) -> None:
    world.consent(world.agree())
    answer = world.query()

    verifier = StatementVerifier(world.credentials(NODE).ca_certificates, DOMAIN, clock=now)
    receipt = verifier.verify(
        answer.receipt.provider_receipt, kind=StatementKind.RECEIPT, expect_role=Role.NODE
    )
    [line] = receipt.payload["outcomes"]
    assert line["exchange"] == answer.exchange
    assert line["digest"] == sha256_hex(answer.row_set.SerializeToString(deterministic=True))
    checkpoint = Checkpoint.parse(answer.receipt.checkpoint.partition("\n\n")[0] + "\n")
    assert checkpoint.size == answer.receipt.record_index + 1


def test_an_unknown_subject_is_an_answer(world: World) -> None:
    world.consent(world.agree(), resident=STRANGER)
    answer = world.query(resident=STRANGER)
    assert not answer.subject_known and not answer.row_set.rows
    assert world.sole_decision().decision == "ALLOW"


def test_only_the_verdict_of_a_verify_travels(world: World) -> None:
    contract = world.agree()
    world.consent(contract)
    world.consent(contract, resident=STRANGER)
    verdicts = [world.verify(at_least=5000), world.verify(at_least=6000), world.verify(resident=STRANGER)]
    assert [each.verdict for each in verdicts] == [VERDICT_YES, VERDICT_NO, VERDICT_UNKNOWN]
    assert [record.mode for record in world.decisions()] == ["VERIFY"] * 3


def test_no_identifier_is_at_rest_in_the_ledger(world: World) -> None:
    world.consent(world.agree())
    world.query()
    with pytest.raises(Denied):
        world.query(resident=STRANGER)
    rest = world.everything_at_rest()
    assert RESIDENT.encode() not in rest and STRANGER.encode() not in rest
    assert "王小明".encode() not in rest


def test_a_denial_says_every_rule_the_exchange_id_and_a_remedy(world: World) -> None:
    world.agree()
    with pytest.raises(Denied) as refused:
        world.query(purpose="marketing", fields=("姓名", "secret"))
    error, record = refused.value, world.sole_decision()
    assert error.reasons == (
        Reason.PURPOSE_NOT_ALLOWED,
        Reason.FIELDS_OUTSIDE_CONTRACT,
        Reason.CONSENT_MISSING,
    )
    assert error.exchange == record.exchange
    assert error.metadata["rules"] == "purpose-not-allowed,fields-outside-contract,consent-missing"
    assert PURPOSE in error.message and "marketing" not in error.message
    assert record.decision == "DENY" and record.rules[0] == "purpose-not-allowed"
    assert record.purpose == "", "another's words may name a person"


def test_a_contract_between_others_looks_like_none(world: World) -> None:
    world.agree()
    errors = []
    for contract in (CONTRACT, "contracts/none-such"):
        with pytest.raises(Denied) as refused:
            world.query(by=OUTSIDER, contract=contract)
        errors.append((refused.value.reasons, refused.value.message))
    assert errors[0] == errors[1] and errors[0][0] == (Reason.NO_CONTRACT,)
    assert [record.provider for record in world.decisions()] == ["", ""]


def test_a_basis_other_than_consent_needs_a_case_and_no_consent(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    with pytest.raises(Denied) as refused:
        world.query()
    assert refused.value.reasons == (Reason.EVIDENCE_MISSING,)
    assert world.query(case="办件-2026-0001").subject_known
    assert [record.case_reference for record in world.decisions()] == ["", "办件-2026-0001"]


def test_a_role_that_may_not_exchange_is_refused_and_recorded(world: World) -> None:
    with pytest.raises(PermissionDenied) as refused:
        world.query(by=PORTAL)
    assert refused.value.reason is Reason.ROLE_NOT_ALLOWED
    record = world.sole_decision()
    assert (record.decision, record.reasons) == ("DENY", ("ROLE_NOT_ALLOWED",))
    assert (record.caller, record.exchange) == (PORTAL.uri, refused.value.exchange)


def test_a_malformed_request_is_no_exchange(world: World) -> None:
    world.agree()
    for bad in ({"fields": ()}, {"contract": "contracts/x@1"}, {"contract": "x"}):
        with pytest.raises(InvalidArgument):
            world.query(**bad)
    assert world.decisions() == []


def test_an_identifier_that_is_none_is_found_out_on_the_way_and_recorded(world: World) -> None:
    world.agree(legal_basis="PUBLIC_TASK")
    with pytest.raises(InvalidArgument) as refused:
        world.query(resident='"NULL"', case="1")
    assert refused.value.violations[0].field == "subject.id"
    record = world.sole_decision()
    assert (record.decision, record.reasons) == ("ERROR", ("INVALID_ARGUMENT",))
    assert record.grpc_code == "INVALID_ARGUMENT"


def test_the_providers_own_manifest_has_the_last_word(world: World) -> None:
    """The catalogue still lists a mode that the node's manifest no longer serves."""
    world.consent(world.agree())
    assert world.node is not None
    world.stop_node()
    manifest = world.folder / "department.toml"
    text = manifest.read_text(encoding="utf-8").replace('"query", "verify"', '"verify"')
    manifest.write_text(text, encoding="utf-8")
    world.node = Node(load_manifest(manifest, environ={}), clock=now, registry=CollectorRegistry())
    world.node.start()
    world.use_node(world.node.port)
    with pytest.raises(Denied) as refused:
        world.query()
    assert refused.value.reasons == (Reason.PROVIDER_VETO,)
    record = world.sole_decision()
    assert (record.decision, record.rules) == ("DENY", ("provider-veto",))
    assert record.provider_receipt_digest


def test_explain_says_the_same_as_the_exchange_and_is_recorded(world: World) -> None:
    contract = world.agree()
    before = world.size()
    refused = world.explain()
    assert refused.decision == DECISION_DENY
    assert [each.rule for each in refused.failed_rules] == ["consent-missing"]
    assert refused.failed_rules[0].remedy
    consent = world.consent(contract)
    allowed = world.explain()
    assert allowed.decision == DECISION_ALLOW
    assert (allowed.contract, allowed.consent) == (contract.name, consent.name)
    assert [(each.name, each.transform) for each in allowed.fields] == [
        ("姓名", "mask:1"),
        ("income", "plain"),
    ]
    # Two looks, and the consent between them.
    assert allowed.position + 1 == world.size() == before + 3
    assert world.explain(by=OUTSIDER).failed_rules[0].rule == "no-contract"
    assert world.decisions() == []


def test_sharing_is_counted_without_subjects(world: World) -> None:
    world.consent(world.agree())
    world.query()
    with pytest.raises(Denied):
        world.query(resident=STRANGER)
    read = world.registry.get_sample_value
    labels = {"consumer": "veterans", "provider": REGISTRY, "dataset": "person", "mode": "QUERY"}
    assert read("isthmus_exchanges_total", {**labels, "decision": "ALLOW"}) == 1
    assert read("isthmus_exchanges_total", {**labels, "decision": "DENY"}) == 1
    denial = {"consumer": "veterans", "provider": REGISTRY, "reason": "CONSENT_MISSING"}
    assert read("isthmus_denials_total", denial) == 1
    assert (
        read("isthmus_rows_released_total", {k: labels[k] for k in ("consumer", "provider", "dataset")}) == 1
    )
    assert read("isthmus_exchange_duration_seconds_count", {"mode": "QUERY", "stage": "release"}) == 1


def test_an_operator_denies_a_certificate_at_the_command_line(world: World) -> None:
    """The record names the operator by a certificate whose key was at hand; a denied caller gets nothing."""
    world.consent(world.agree())
    world.query()
    config, pki = world.folder / "gateway.toml", world.folder / "pki"
    config.write_text(
        f"""
        [server]
        address = "127.0.0.1:0"
        trust_domain = "{DOMAIN}"
        certificate = "pki/gateway.main.pem"
        key = "pki/gateway.main.key"
        ca = "pki/ca.pem"
        [ledger]
        url = "sqlite:///ledger.db"
        log_key = "secrets/log.key"
        pin = "pin"
        [subjects]
        keys = {{ 1 = "secrets/subject-1.key" }}
        """
    )

    def deny(who: Identity) -> Any:
        world.credentials(who)
        stem = file_stem(who)
        files = [
            "--operator-certificate",
            str(pki / f"{stem}.pem"),
            "--operator-key",
            str(pki / f"{stem}.key"),
        ]
        thumbprint = world.credentials(SYSTEM).thumbprint
        command = ["deny-certificate", thumbprint, "--reason", "遗失", "--config", str(config), *files]
        return CliRunner().invoke(app, command)

    assert deny(PORTAL).exit_code == 1, "only an operator"
    assert world.query().subject_known
    denied = deny(OPERATOR)
    assert denied.exit_code == 0, denied.output
    with pytest.raises(Denied) as refused:
        world.query()
    assert refused.value.reasons == (Reason.CREDENTIAL_DENIED,)
    record = world.decisions()[-1]
    assert record.base is not None and record.base > int(denied.stdout)
