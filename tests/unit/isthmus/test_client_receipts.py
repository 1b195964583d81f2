"""A receipt counts only for the answer it was made for, by the department that had to make it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from isthmus.canonical import canonical_json, sha256_hex
from isthmus.client.receipts import ReceiptError, verify_receipt
from isthmus.client.results import QueryResult, VerifyResult
from isthmus.identity import Identity, Role
from isthmus.pki import Authority, Credentials, create_authority
from isthmus.statement import StatementKind, StatementVerifier, sign
from isthmus.v1.common_pb2 import Receipt

DOMAIN = "data.example"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
NODE = Identity(DOMAIN, Role.NODE, "civil-registry", "n1")
ROWS = b"the provider's bytes"
MINE = {"exchange": "exchanges/1", "digest": sha256_hex(ROWS), "row_count": 1, "subject_known": True}
THEIRS = {"exchange": "exchanges/2", "digest": sha256_hex(b"other"), "row_count": 1, "subject_known": True}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority(DOMAIN, now=NOW)


@pytest.fixture(scope="module")
def verifier(authority: Authority) -> StatementVerifier:
    return StatementVerifier([authority.certificate], DOMAIN, clock=lambda: NOW)


def credentials(authority: Authority, identity: Identity) -> Credentials:
    issued = authority.issue(identity, now=NOW)
    return Credentials(b"", b"", b"", issued.key, issued.certificate, (authority.certificate,))


def receipt(authority: Authority, signer: Identity = NODE, **changes: Any) -> Receipt:
    payload = {
        "department": "departments/civil-registry",
        "grant": "0193",
        "served_at": "2026-11-23T08:00:00.000Z",
        "outcomes": [THEIRS, MINE],
        **changes,
    }
    kind = StatementKind.RECEIPT
    return Receipt(provider_receipt=sign(payload, kind, credentials(authority, signer)))


def answer(evidence: Receipt, rows: bytes = ROWS, exchange: str = "exchanges/1") -> QueryResult:
    return QueryResult(exchange, True, (), [], evidence, rows)


def test_a_receipt_over_the_answer_that_came_holds(authority: Authority, verifier: StatementVerifier) -> None:
    found = verify_receipt(
        answer(receipt(authority)), verifier=verifier, provider="departments/civil-registry"
    )
    assert (found.department, found.node, found.served_at) == ("departments/civil-registry", NODE, NOW)


def test_a_verdict_is_covered_too(authority: Authority, verifier: StatementVerifier) -> None:
    digest = sha256_hex(canonical_json({"verdict": "YES"}))
    evidence = receipt(authority, outcomes=[{"exchange": "exchanges/1", "digest": digest}])
    assert verify_receipt(VerifyResult("exchanges/1", "YES", evidence), verifier=verifier)
    with pytest.raises(ReceiptError, match="another answer"):
        verify_receipt(VerifyResult("exchanges/1", "NO", evidence), verifier=verifier)


def test_rows_changed_on_the_way_do_not_match(authority: Authority, verifier: StatementVerifier) -> None:
    with pytest.raises(ReceiptError, match="another answer"):
        verify_receipt(answer(receipt(authority), rows=ROWS + b"!"), verifier=verifier)


def test_a_receipt_of_another_exchange_does_not_match(
    authority: Authority, verifier: StatementVerifier
) -> None:
    with pytest.raises(ReceiptError, match="exactly one answer"):
        verify_receipt(answer(receipt(authority), exchange="exchanges/3"), verifier=verifier)


def test_signing_for_two_answers_to_one_exchange_is_signing_for_none(
    authority: Authority, verifier: StatementVerifier
) -> None:
    twice = receipt(authority, outcomes=[MINE, {**MINE, "digest": sha256_hex(b"another")}])
    with pytest.raises(ReceiptError, match="exactly one answer"):
        verify_receipt(answer(twice), verifier=verifier)


def test_another_departments_node_cannot_sign_for_this_one(
    authority: Authority, verifier: StatementVerifier
) -> None:
    other = Identity(DOMAIN, Role.NODE, "tax", "n1")
    with pytest.raises(ReceiptError, match="not the department"):
        verify_receipt(answer(receipt(authority, other)), verifier=verifier)
    honest = receipt(authority, other, department="departments/tax")
    with pytest.raises(ReceiptError, match="not the department"):
        verify_receipt(answer(honest), verifier=verifier, provider="departments/civil-registry")


@pytest.mark.parametrize(
    "signer",
    [Identity(DOMAIN, Role.GATEWAY, None, "main"), Identity(DOMAIN, Role.SYSTEM, "civil-registry", "s")],
)
def test_only_a_node_signs_receipts(
    authority: Authority, verifier: StatementVerifier, signer: Identity
) -> None:
    with pytest.raises(ReceiptError, match="is required"):
        verify_receipt(answer(receipt(authority, signer)), verifier=verifier)


def test_a_receipt_of_another_authority_is_worth_nothing(verifier: StatementVerifier) -> None:
    stranger = create_authority(DOMAIN, now=NOW)
    with pytest.raises(ReceiptError, match="not issued by a trusted authority"):
        verify_receipt(answer(receipt(stranger)), verifier=verifier)


@pytest.mark.parametrize(
    "changes",
    [{"outcomes": None}, {"outcomes": ["x"]}, {"served_at": 1}, {"served_at": "soon"}, {"grant": None}],
)
def test_a_receipt_of_another_shape_is_refused(
    authority: Authority, verifier: StatementVerifier, changes: dict[str, Any]
) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(answer(receipt(authority, **changes)), verifier=verifier)


def test_an_answer_without_a_receipt_is_said_to_have_none(verifier: StatementVerifier) -> None:
    with pytest.raises(ReceiptError, match="carries no receipt"):
        verify_receipt(answer(Receipt()), verifier=verifier)
