"""The rules between records for each line of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audit.batch.lines import BatchLines
from audit.record import AccessRecord
from audit.verifier.damage import Damaged
from audit.verifier.ledger import verify_ledger
from tests.integration.rules_world import (
    CONSENT,
    GRANTED,
    OTHER_CONSENT,
    SIGNED,
    TOKEN,
    granted,
)
from tests.unit.audit.ledger_world import (
    KEY,
    append,
    control,
    decision,
    ledger_in,
)

pytestmark = pytest.mark.integration


def line(index: int, token: str, position: int = 2) -> bytes:
    consent = f'"consent":{{"name":"{CONSENT}","position":{position}}}'
    return (
        f'{{{consent},"decision":"ALLOW","index":{index},"nonce":"{"ab" * 16}","token":"{token}"}}'.encode()
    )


def check_batch(directory: Path, *before: AccessRecord, token: str = TOKEN, position: int = 2) -> None:
    """A batch that releases about one person."""
    batch = BatchLines.of([line(0, token, position)], {token})
    record = decision(
        legal_basis="CONSENT",
        mode="BATCH",
        subject_token="",
        subjects_root=batch.root,
        outcomes={"ALLOW": 1},
        row_count=0,
    )
    with ledger_in(directory) as ledger:
        for each in (*SIGNED, *before):
            append(ledger, each)
        ledger.transact(lambda tx: tx.append(record, batch=batch))
    verify_ledger(str(directory / "ledger.db"), KEY.verifier)


def test_the_line_of_a_batch_rests_on_the_consent_of_its_person(tmp_path: Path) -> None:
    check_batch(tmp_path, GRANTED)


@pytest.mark.parametrize(
    ("before", "options", "words"),
    [
        ((GRANTED,), {"token": f"{TOKEN[:-1]}0"}, "another person gave"),
        ((GRANTED,), {"position": 0}, "as of record 0"),
        ((granted(change={"event": "PARTY_GRANTED"}),), {}, "no earlier record shows"),
        ((GRANTED, granted(OTHER_CONSENT, change={"supersedes": CONSENT})), {}, "which superseded"),
        ((GRANTED, control("Clock", CONSENT, change={"event": "EXHAUSTED"})), {}, "Clock of"),
    ],
)
def test_the_line_of_a_batch_behind_a_fence_is_named(
    tmp_path: Path, before: tuple[AccessRecord, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Damaged, match=words) as caught:
        check_batch(tmp_path, *before, **options)
    assert caught.value.where == f"line 0 of record {len(before) + 2}"
