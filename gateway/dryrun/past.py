"""The recorded past: decisions about exchanges as the log holds them, newest first, in bounded batches."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from audit.ledger.schema import records
from audit.record import LOGGED, Kind, milliseconds
from isthmus.identity import Identity

MOST: Final = 100_000
"""How many decisions are tried at most, the newest of them."""
BATCH: Final = 1_000

Read = Callable[[], AbstractContextManager[sa.Connection]]
"""Opens a read snapshot of the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One recorded decision, ALLOW or DENY, under a version of a contract.

    A denial's `fields` are empty and its `purpose` too where the contract did not hold it: the log never says them.
    `base` is the size of the log that the decision was read at, `at` when it fell, UTC.
    """

    exchange: str
    decision: str
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    policy_digest: str
    at: datetime
    base: int
    system: str
    consumer: str
    provider: str
    dataset: str
    contract: str
    version: int
    terms_digest: str
    mode: str
    purpose: str
    fields: frozenset[str]
    case_reference_given: bool
    consented: bool
    emergency: bool

    @property
    def full_name(self) -> str:
        """`contracts/{contract}@{version}`."""
        return f"{self.contract}@{self.version}"


def read_past(
    read: Read, *, contract: str = "", since: datetime | None = None, most: int = MOST
) -> Iterator[tuple[sa.Connection, list[Past]]]:
    """Yields batches of decisions, newest first, each with the snapshot it was read from.

    Technical errors decided nothing, and a caller without a contract was refused before any terms counted; neither is
    part of it.

    Args:
        read: opens a snapshot; every batch has its own, so that none is held for long.
        contract: only of `contracts/{contract}`; of all when empty.
        since: only those recorded at that time or later.
        most: at most so many.
    """
    before, left = None, most
    while left > 0:
        with read() as conn:
            query = _query(contract, since).order_by(records.c.idx.desc()).limit(min(BATCH, left))
            if before is not None:
                query = query.where(records.c.idx < before)
            rows = conn.execute(query).all()
            if not rows:
                return
            before, left = rows[-1].idx, left - len(rows)
            yield conn, [_past(row.idx, row.leaf) for row in rows]


def count_past(
    conn: sa.Connection, *, contract: str = "", since: datetime | None = None, most: int = MOST
) -> int:
    """Returns how many decisions `read_past` would yield from this snapshot."""
    found = _query(contract, since).limit(most).subquery()
    return int(conn.scalar(sa.select(sa.func.count()).select_from(found)) or 0)


def _query(contract: str, since: datetime | None) -> sa.Select[tuple[int, bytes]]:
    query = sa.select(records.c.idx, records.c.leaf).where(
        records.c.kind == Kind.DECISION.value,
        records.c.decision.in_(("ALLOW", "DENY")),
        records.c.version > 0,
    )
    if contract:
        query = query.where(records.c.contract == contract)
    return query if since is None else query.where(records.c.at_ms >= milliseconds(since))


def _past(position: int, leaf: bytes) -> Past:
    # Whether leaves are what they were is the auditor's question, and a strict reading takes ten times as long.
    said: dict[str, Any] = json.loads(leaf)
    contract, _, version = said["contract"].partition("@")
    return Past(
        exchange=said["exchange"],
        decision=said["decision"],
        reasons=tuple(said.get("reasons", ())),
        rules=tuple(said.get("rules", ())),
        policy_digest=said.get("policy_digest", ""),
        at=datetime.fromisoformat(said["at"].get("released") or said["at"][LOGGED]),
        base=said.get("base", position),
        system=_resource(said["caller"]),
        consumer=said.get("consumer", ""),
        provider=said.get("provider", ""),
        dataset=said.get("dataset", ""),
        contract=contract,
        version=int(version),
        terms_digest=said.get("terms_digest", ""),
        mode=said.get("mode", ""),
        purpose=said.get("purpose", ""),
        fields=frozenset(each["name"] for each in said.get("fields", ())),
        case_reference_given=bool(said.get("case_reference")),
        consented=bool(said.get("consents")) or _batch_consented(said),
        emergency=bool(said.get("emergency")),
    )


def _batch_consented(said: dict[str, Any]) -> bool:
    """Whether a batch rests on consents: its record names none, because each of its lines names its own."""
    released = said["decision"] == "ALLOW" and "subjects_root" in said
    return released and said.get("legal_basis") == "CONSENT" and not said.get("emergency")


@lru_cache(maxsize=1024)
def _resource(uri: str) -> str:
    domain, _, path = uri.removeprefix("spiffe://").partition("/")
    return Identity.parse_path(f"/{path}", trust_domain=domain).resource
