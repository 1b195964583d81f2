"""State of any size, written past the services: what they would have written, many times over."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from audit.keys import load_log_key, load_subject_tokens
from audit.ledger import Ledger
from audit.ledger.schema import INDEX_COLUMNS
from audit.ledger.transaction import Transaction
from audit.tlog.merkle import hash_leaf
from isthmus.demo.configs import Secrets
from isthmus.subjects import SubjectTokens
from tests.bench import town
from tests.bench.questions import contract_name

_AT_ONCE: Final = 50_000
Report = Callable[[str], None]
Row = dict[str, Any]


def tokens_of(shared: Secrets) -> SubjectTokens:
    """The subject tokens under the key that gateway and audit service share."""
    return load_subject_tokens({"1": shared.subject_key}, 1)


def add_consents(shared: Secrets, *, consents: int, contracts: int) -> None:
    """Makes the one contract on consent into so many, and the one consent into so many.

    Consent n is that of resident n, under the contract that `town.contract_of` says. All are copies of the first one,
    signatures included; only the names differ, the subject tokens, and the digests that must be unique.
    """
    tokens = tokens_of(shared)
    with _opened(shared) as connection:
        connection.row_factory = sqlite3.Row
        base = contract_name(town.CONSENTED, 0)
        for table in ("contracts", "contract_signatures"):
            for first in _rows(connection, f"SELECT * FROM {table} WHERE contract = ?", base):
                _insert(connection, table, _contracts(first, contracts))
        (first,) = _rows(connection, "SELECT * FROM consents WHERE contract = ?", base)
        _insert(connection, "consents", _consents(first, tokens, consents, contracts))


@contextmanager
def _opened(shared: Secrets) -> Iterator[sqlite3.Connection]:
    """The ledger's database, to be written fast: what a crash would cost here is a run of the benchmark."""
    with closing(sqlite3.connect(shared.ledger, timeout=30)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        connection.execute("PRAGMA temp_store = MEMORY")
        yield connection


def _rows(connection: sqlite3.Connection, query: str, value: str) -> list[Row]:
    return [dict(row) for row in connection.execute(query, (value,))]


def _contracts(first: Row, count: int) -> Iterator[Row]:
    for number in range(1, count):
        copy = {**first, "contract": contract_name(town.CONSENTED, number)}
        if "digest" in copy:
            copy["digest"] = hashlib.sha256(f"{first['digest']} {number}".encode()).hexdigest()
        yield copy


def _consents(first: Row, tokens: SubjectTokens, count: int, contracts: int) -> Iterator[Row]:
    for number in range(1, count):
        yield {
            **first,
            "name": f"consents/{uuid.UUID(int=number)}",
            "contract": contract_name(town.CONSENTED, town.contract_of(number, contracts)),
            "subject_token": tokens.token(town.SCHEME, town.resident(number)),
        }


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    rows = iter(rows)
    while batch := list(islice(rows, _AT_ONCE)):
        # One commit for each batch: the write-ahead log would otherwise grow to the size of them all.
        names = list(batch[0])
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        connection.executemany(sql, ([row[name] for name in names] for row in batch))
        connection.commit()


def add_records(shared: Secrets, pin: Path, *, records: int, people: int, report: Report) -> None:
    """Extends the log to so many records, each as long as that of a Query, about so many people.

    The tree, the tiles and the checkpoints are made by the ledger itself; the gateway must not run meanwhile. The
    indexes are dropped before and made again afterwards, which takes a fraction of the time and leaves the same.
    """
    ledger = Ledger.open(
        f"sqlite:///{shared.ledger}",
        log_key=load_log_key(shared.log_key),
        pin=pin,
        clock=lambda: datetime.now(UTC),
        metadata=[],
        commit_timeout=600,
    )
    try:
        # Only now: opening a ledger makes what it lacks.
        with _opened(shared) as connection:
            dropped = _drop_indexes(connection)
        tokens = [
            tokens_of(shared).token(town.SCHEME, town.resident(number))
            for number in range(min(people, _AT_ONCE))
        ]
        while (size := ledger.newest().size) < records:
            report(f"writing records: {size:,} of {records:,}")
            _append(ledger, min(_AT_ONCE, records - size), tokens)
    finally:
        ledger.close()
    with _opened(shared) as connection:
        for name, sql in dropped.items():
            report(f"indexing records: {name}")
            connection.execute(sql)


def _drop_indexes(connection: sqlite3.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records' AND sql IS NOT NULL"
    found = dict(connection.execute(query).fetchall())
    for name in found:
        connection.execute(f"DROP INDEX {name}")
    return found


def _append(ledger: Ledger, count: int, tokens: list[str]) -> None:
    def work(transaction: Transaction) -> None:
        at_ms = int(transaction.now.timestamp() * 1000)
        logged = transaction.now.isoformat(timespec="milliseconds")[:-6] + "Z"
        for position in range(transaction.base, transaction.base + count):
            values = _index_values(position, at_ms, tokens[position % len(tokens)])
            leaf = _leaf(values, logged, position)
            transaction.rows.append(
                (position, leaf, hash_leaf(leaf), *(values[name] for name in INDEX_COLUMNS))
            )

    ledger.transact(work, deadline_s=600)


def _index_values(position: int, at_ms: int, token: str) -> Mapping[str, Any]:
    return {
        "exchange": f"exchanges/{uuid.UUID(int=position)}",
        "kind": "DECISION",
        "at_ms": at_ms,
        "caller": "spiffe://demo.isthmus.example/department/education/system/enrolment",
        "consumer": f"departments/{town.CONSUMER}",
        "provider": f"departments/{town.PROVIDER}",
        "dataset": town.DATASET,
        "contract": contract_name(town.CONSENTED, position % 10_000),
        "version": 1,
        "purpose": town.PURPOSE,
        "legal_basis": "CONSENT",
        "case_reference": "",
        "subject_token": token,
        "mode": "QUERY",
        "decision": "ALLOW",
        "action": "",
        "resource": "",
    }


_LEAF: Final = (
    '{{"at":{{"logged":"{logged}"}},"base":{position},"byte_count":180,"caller":"{caller}",'
    '"consumer":"{consumer}","contract":"{contract}@1","dataset":"{dataset}","decision":"{decision}",'
    '"exchange":"{exchange}","kind":"{kind}","legal_basis":"{legal_basis}","mode":"{mode}",'
    '"policy_digest":"{filler}","provider":"{provider}","provider_receipt_digest":"{filler}",'
    '"purpose":"{purpose}","request_commitment":"{filler}","response_commitment":"{filler}","row_count":1,'
    '"subject_token":"{subject_token}","terms_digest":"{filler}","v":1}}'
)


def _leaf(values: Mapping[str, Any], logged: str, position: int) -> bytes:
    return _LEAF.format(logged=logged, position=position, filler="0" * 64, **values).encode()
