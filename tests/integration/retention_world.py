"""A ledger with an old and a young part, its keeper's configuration, and persons of whom something can be erased."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from audit.batch.lines import BatchLines
from audit.ledger import Transaction, sqlite
from audit.record import AccessRecord, Kind
from audit.search.lookup import commit_texts
from audit.verifier.ledger import verify_ledger
from audit.verifier.result import Verified
from gateway.exchange.records import commitment
from isthmus.canonical import canonical_json
from isthmus.cli.main import app
from isthmus.identity import Identity, Role
from isthmus.pki import create_authority, file_stem, save_authority, save_issued
from isthmus.subjects import SubjectTokens
from tests.unit.audit.ledger_world import KEY, Clock, decision, exchange, ledger_in, signatures

DOMAIN, SCHEME = "data.example", "cn.resident-id"
RESIDENT, OTHER, THIRD = "11010119900307231X", "110101199003070074", "110101199003070090"
KEYS = {1: b"\1" * 32, 2: b"\2" * 32}
AUDIT = Identity(DOMAIN, Role.AUDIT, None, "main")
AUDITOR = Identity(DOMAIN, Role.AUDITOR, None, "wang")
OPERATOR = Identity(DOMAIN, Role.OPERATOR, None, "night")
REQUEST, ANSWER = "请求".encode(), b"answer"
WHY = "张三投诉：谁看过我的资料"
OLD_REASON = "复核 11010119900307231X 的投诉"
NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=5 * 366), NOW - timedelta(days=10)
BETWEEN = (NOW - timedelta(days=4 * 366)).date().isoformat()

TOML = """
[server]
address = "127.0.0.1:0"
trust_domain = "data.example"
certificate = "pki/audit.main.pem"
key = "pki/audit.main.key"
ca = "pki/ca.pem"

[ledger]
url = "sqlite:///LEDGER"
log_key = "log.key"
pin = "pin"

[subjects]
current = 2
keys = { 1 = "subject-1.key", 2 = "subject-2.key" }
schemes = { "cn.resident-id" = ["strip", "upper"] }
"""


def token(identifier: str, epoch: int) -> str:
    return SubjectTokens(KEYS, 2).token(SCHEME, identifier, epoch=epoch)


class RetentionWorld:
    """The files of an installation; everything it holds is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock(OLD)
        self._pki()
        (folder / "log.key").write_text(KEY.encode())
        (folder / "log.pub").write_text(KEY.verifier.encode())
        for epoch, key in KEYS.items():
            (folder / f"subject-{epoch}.key").write_text(f"{key.hex()}\n")
        text = TOML.replace("LEDGER", str(folder / "ledger.db"))
        (folder / "audit.toml").write_text(text, encoding="utf-8")
        self.salts: dict[int, bytes] = {}
        self._fill()

    def _pki(self) -> None:
        authority = create_authority(DOMAIN, now=NOW)
        save_authority(self.folder / "pki", authority)
        for identity in (AUDIT, AUDITOR, OPERATOR):
            save_issued(self.folder / "pki", identity, authority.issue(identity, now=NOW))

    def _fill(self) -> None:
        """Old: signatures, two queries, a batch and a search; young: a query and a batch, under the second epoch."""
        with ledger_in(self.folder, clock=self.clock) as ledger:
            ledger.transact(lambda tx: [tx.append(each) for each in signatures()])
            for person in (RESIDENT, OTHER):
                ledger.transact(lambda tx, person=person: self._query(tx, person, 1))  # type: ignore[misc]
            self.old_batch = ledger.transact(lambda tx: self._batch(tx, 1)).value
            ledger.transact(lambda tx: self._search(tx, token(RESIDENT, 1)))
            self.clock.now = YOUNG
            self.young = ledger.transact(lambda tx: self._query(tx, RESIDENT, 2)).value
            self.young_batch = ledger.transact(lambda tx: self._batch(tx, 2)).value

    def _query(self, tx: Transaction, person: str, epoch: int) -> int:
        tokens, salt = SubjectTokens(KEYS, epoch), bytes([0xC0 + tx.base]) * 32
        record = decision(
            exchange=exchange(),
            subject_token=token(person, epoch),
            request_commitment=commitment(tokens.nonce(b"request" + salt), REQUEST),
            response_commitment=commitment(tokens.nonce(b"response" + salt), ANSWER),
        )
        self.salts[tx.base] = salt
        return tx.append(record, detail={"commitment_salt": f"{epoch}.{salt.hex()}"})

    def _batch(self, tx: Transaction, epoch: int) -> int:
        people = [token(each, epoch) for each in (RESIDENT, OTHER, THIRD, RESIDENT)]
        lines = [line(index, person) for index, person in enumerate(people)]
        batch = BatchLines.of(lines, set(people))
        record = decision(
            exchange=exchange(),
            mode="BATCH",
            subject_token="",
            subject_count=4,
            subjects_root=batch.root,
            outcomes={"ALLOW": 4},
            row_count=4,
            request_commitment="aa" * 32,
        )
        return tx.append(record, detail={"commitment_salt": f"{epoch}.{'bb' * 32}"}, batch=batch)

    def _search(self, tx: Transaction, subject: str) -> int:
        commitments, detail = commit_texts({"reason": OLD_REASON})
        record = AccessRecord(
            exchange=exchange(),
            kind=Kind.LOOKUP,
            at={"in": tx.now},
            caller=AUDITOR.uri,
            subject_token=subject,
            action="ListRecords",
            change=commitments,
        )
        return tx.append(record, detail=detail)

    # ---- What is done, and what is left

    def run(
        self, command: str, *options: str, by: Identity | None = None, stdin: str | None = None
    ) -> Result:
        arguments = ["audit", command, *options, "--config", str(self.folder / "audit.toml")]
        if by is not None:
            stem = self.folder / "pki" / file_stem(by)
            arguments += ["--certificate", f"{stem}.pem", "--key", f"{stem}.key"]
        return CliRunner().invoke(app, arguments, input=stdin)

    def verified(self) -> Verified:
        return verify_ledger(str(self.folder / "ledger.db"), KEY.verifier)

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(self.folder / "ledger.db") as database:
            found = database.execute(query).fetchall()
        database.close()
        return found

    def details(self) -> list[int]:
        return [index for (index,) in self.rows("SELECT idx FROM details ORDER BY idx")]

    def records(self, action: str) -> list[dict[str, Any]]:
        found = self.rows(f"SELECT leaf FROM records WHERE action = '{action}' ORDER BY idx")
        return [json.loads(leaf) for (leaf,) in found]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody else has the ledger open, as its gateways do: then its write-ahead log outlives each command."""
        with closing(sqlite3.connect(self.folder / "ledger.db")) as other:
            other.execute("SELECT count(*) FROM records").fetchone()
            yield

    def at_rest(self) -> bytes:
        """All bytes of the database's files."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("ledger.db*")))


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite that leaves what is deleted in its pages, as some builds do by default."""
    monkeypatch.setattr(sqlite, "_DURABLE", (*sqlite._DURABLE, "secure_delete = OFF"))


def line(index: int, person: str) -> bytes:
    members: dict[str, Any] = {"index": index, "token": person, "decision": "ALLOW", "rows": 1}
    return canonical_json({**members, "digest": f"{index:02x}" * 32, "nonce": f"{index + 16:02x}" * 16})


def texts(rows: Sequence[tuple[bytes]]) -> list[bytes]:
    """The lines of a batch's parts; an erased one is empty."""
    return [text for (lines,) in rows for text in lines.split(b"\n")]


def erase(world: RetentionWorld, *options: str) -> dict[str, object]:
    result = world.run(
        "erase", "--subject", f"{SCHEME}:-", "--reason", WHY, "--json", *options, stdin=RESIDENT
    )
    assert result.exit_code == 0, result.stderr
    told: dict[str, object] = json.loads(result.stdout)
    return told
