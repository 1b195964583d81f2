"""What the SDK signs for a person or a department: the terms that were read, and nothing else."""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from isthmus.client import ConsentTerms
from isthmus.consent_statement import ConsentStatement
from isthmus.errors import StatementInvalid
from isthmus.identity import Role
from isthmus.statement import StatementKind
from isthmus.terms import document_to_terms
from tests.integration.client_world import OFFICER, PORTAL, TERMS, World, world_in

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


def test_signing_states_the_terms_that_were_read(world: World) -> None:
    digest = world.contracts.contract.terms_digest
    world.client(OFFICER).contracts.sign("contracts/edu@1", terms_digest=digest)
    request = world.contracts.signed[0]
    verified = world.verifier().verify(
        request.statement, kind=StatementKind.CONTRACT, expect_role=Role.OFFICER
    )
    assert verified.identity == OFFICER
    assert verified.payload["contract"] == "contracts/edu@1"
    assert verified.payload["department"] == "departments/education"
    assert document_to_terms(verified.payload["terms"]) == world.contracts.contract.terms
    assert request.etag == '"7"'


def test_a_gateway_that_shows_one_text_and_asks_to_sign_another_gets_no_signature(world: World) -> None:
    world.contracts.contract.terms.retention_days = 36500
    with pytest.raises(StatementInvalid, match="nothing was signed"):
        world.client(OFFICER).contracts.sign("contracts/edu@1")
    assert world.contracts.signed == []


def test_terms_other_than_those_examined_are_not_signed(world: World) -> None:
    with pytest.raises(StatementInvalid, match="not the one examined"):
        world.client(OFFICER).contracts.sign("contracts/edu@1", terms_digest="0" * 64)
    assert world.contracts.signed == []


def test_a_proposal_from_a_document_carries_a_request_id(world: World) -> None:
    world.client(OFFICER).contracts.propose("edu", TERMS, reason="新生入学")
    request = world.contracts.proposed[0]
    assert request.terms == document_to_terms(TERMS)
    assert uuid.UUID(request.request_id).version == 4


def test_a_consent_is_signed_over_a_commitment_that_only_the_request_opens(world: World) -> None:
    notice = {"uri": "https://portal.example/notice", "sha256": "a" * 64, "language": "zh-CN"}
    given = world.client(PORTAL).consents.grant(
        "contracts/edu@1", ("cn.resident-id", " 11010119900307231x "), ConsentTerms(notice=notice)
    )
    assert given.receipt == "a.b.c"
    request = world.consents.granted[0]
    verified = world.verifier().verify(request.statement, kind=StatementKind.CONSENT, expect_role=Role.PORTAL)
    statement = ConsentStatement.parse(verified.payload)
    assert request.subject.id == "11010119900307231X"
    opened = request.subject_nonce + b"cn.resident-id\0" + request.subject.id.encode()
    assert statement.subject_commitment == hashlib.sha256(opened).hexdigest()
    assert "11010119900307231" not in str(verified.payload)
    assert (statement.purposes, statement.fields, statement.modes) == (
        ("入学审核",),
        ("姓名",),
        ("QUERY", "VERIFY"),
    )
    assert statement.terms_digest == world.contracts.contract.terms_digest
    assert abs(statement.not_before - datetime.now(UTC)) < timedelta(minutes=1)
    assert statement.not_after == datetime(2030, 1, 1, tzinfo=UTC)
