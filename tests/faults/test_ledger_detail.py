"""Erasable detail says only what the log committed to: nobody puts words beside a record afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.ledger import Ledger, Transaction
from audit.ledger.schema import details
from audit.search.lookup import commit_texts
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.ledger import verify_ledger
from tests.unit.audit.ledger_world import KEY, control, failure, ledger_in

pytestmark = pytest.mark.fault

SALT = f"1.{'ab' * 32}"
PLAIN, COMMITTED, EXCHANGE = 0, 1, 2


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A record that commits to nothing, one that commits to a reason, and an exchange that commits to its request."""
    commitments, detail = commit_texts({"reason": "投诉 17 号"})
    with ledger_in(tmp_path) as ledger:
        ledger.transact(lambda tx: tx.append(failure()))
        ledger.transact(lambda tx: tx.append(control("ListRecords", "", change=commitments), detail=detail))
        exchange = failure(request_commitment="ab" * 32)
        ledger.transact(lambda tx: tx.append(exchange, detail={"commitment_salt": SALT}))
        assert verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier).size == 3
        yield ledger


@pytest.mark.parametrize(
    ("index", "detail"),
    [
        (PLAIN, {"reason": "本人同意"}),
        (PLAIN, {"reason": "本人同意", "reason_nonce": "00"}),
        (PLAIN, {"commitment_salt": SALT}),
        (PLAIN, ["本人同意"]),
        (PLAIN, "本人同意"),
        (COMMITTED, {"remark": "本人同意"}),
        (COMMITTED, {"commitment_salt": SALT}),
        (EXCHANGE, {"commitment_salt": SALT, "reason": "本人同意"}),
        (EXCHANGE, {"commitment_salt": "本人同意"}),
        (EXCHANGE, {"commitment_salt": "1.ab"}),
        (EXCHANGE, {"commitment_salt": 7}),
    ],
)
def test_invented_detail_is_named(ledger: Ledger, tmp_path: Path, index: int, detail: object) -> None:
    content = json.dumps(detail, ensure_ascii=False, separators=(",", ":")).encode()

    def invent(tx: Transaction) -> int:
        connection = tx.connection
        connection.execute(details.delete().where(details.c.idx == index))
        return int(connection.execute(details.insert().values(idx=index, json=content)).rowcount)

    assert ledger.transact(invent).value == 1
    with pytest.raises(Damaged) as caught:
        verify_ledger(str(tmp_path / "ledger.db"), KEY.verifier)
    assert (caught.value.kind, caught.value.where) == (DamageKind.DETAIL, f"record {index}")
