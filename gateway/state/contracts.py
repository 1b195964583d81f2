"""The store of contracts, their signatures and their events."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gateway.contracts.states import AGREED_ONCE
from gateway.state.schema import contract_events, contract_signatures, contracts
from gateway.state.times import from_ms, to_ms

_CHUNK = 500
_AGREED_ONCE = sorted(AGREED_ONCE)


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """One department's signature: the statement, who made it and the position of its record."""

    department: str
    signer: str
    thumbprint: str
    statement: str
    digest: str
    signed_at: datetime
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRow:
    """One version of a contract as it was last written; `gateway.contracts.states` adds the clock.

    `name` is `contracts/{contract}`, `terms` the document that is signed and `terms_json` its exact text;
    `signatures` holds the departments (`departments/{department}`) that have signed.
    """

    name: str
    version: int
    provider: str
    consumer: str
    dataset: str
    terms: Mapping[str, Any]
    terms_json: str
    terms_digest: str
    state: str
    state_reason: str
    proposer: str
    suspended_by: str | None
    signatures: frozenset[str]
    not_before: datetime
    not_after: datetime
    created_at: datetime
    updated_at: datetime
    position: int

    @property
    def full_name(self) -> str:
        """`contracts/{contract}@{version}`."""
        return f"{self.name}@{self.version}"

    @property
    def parties(self) -> frozenset[str]:
        """The two departments."""
        return frozenset({self.provider, self.consumer})


def _rows(conn: sa.Connection, query: sa.Select[Any]) -> list[ContractRow]:
    found = conn.execute(query).all()
    signed = _signers(conn, [(row.contract, row.version) for row in found])
    return [_read(row, signed.get((row.contract, row.version), frozenset())) for row in found]


def _read(row: sa.Row[Any], signatures: frozenset[str]) -> ContractRow:
    return ContractRow(
        name=row.contract,
        version=row.version,
        provider=row.provider,
        consumer=row.consumer,
        dataset=row.dataset,
        terms=json.loads(row.terms),
        terms_json=row.terms,
        terms_digest=row.terms_digest,
        state=row.state,
        state_reason=row.state_reason,
        proposer=row.proposer,
        suspended_by=row.suspended_by,
        signatures=signatures,
        not_before=from_ms(row.not_before),
        not_after=from_ms(row.not_after),
        created_at=from_ms(row.created_at),
        updated_at=from_ms(row.updated_at),
        position=row.position,
    )


def _signers(conn: sa.Connection, keys: list[tuple[str, int]]) -> dict[tuple[str, int], frozenset[str]]:
    table, signed = contract_signatures.c, dict[tuple[str, int], set[str]]()
    for start in range(0, len(keys), _CHUNK):
        query = sa.select(table.contract, table.version, table.department).where(
            sa.tuple_(table.contract, table.version).in_(keys[start : start + _CHUNK])
        )
        for contract, version, department in conn.execute(query):
            signed.setdefault((contract, version), set()).add(department)
    return {key: frozenset(departments) for key, departments in signed.items()}


def get_version(conn: sa.Connection, name: str, version: int) -> ContractRow | None:
    """Returns one version of `contracts/{contract}`, or None."""
    query = sa.select(contracts).where(contracts.c.contract == name, contracts.c.version == version)
    return next(iter(_rows(conn, query)), None)


def get_newest(conn: sa.Connection, name: str) -> ContractRow | None:
    """Returns the newest version of `contracts/{contract}`, whatever its state, or None."""
    query = sa.select(contracts).where(contracts.c.contract == name)
    return next(iter(_rows(conn, query.order_by(contracts.c.version.desc()).limit(1))), None)


def get_older_in(
    conn: sa.Connection, name: str, version: int, *, states: Collection[str]
) -> list[ContractRow]:
    """Returns the versions before `version` whose stored state is among `states`, oldest first."""
    query = sa.select(contracts).where(
        contracts.c.contract == name, contracts.c.version < version, contracts.c.state.in_(sorted(states))
    )
    return _rows(conn, query.order_by(contracts.c.version))


def contracts_in_force(conn: sa.Connection, names: Collection[str]) -> dict[str, ContractRow]:
    """Returns the version of each contract that decides about exchanges, by name.

    That is the newest one both departments signed, even when it has ended since; and only where there is none
    the newest of any state. An open proposal so never disturbs what is in force.

    Args:
        conn: a connection; one query for the versions and one for their signatures, per 500 names.
        names: `contracts/{contract}`, without versions.
    """
    wanted, found = sorted(set(names)), {}
    agreed = sa.case((contracts.c.state.in_(_AGREED_ONCE), 1), else_=0)
    for start in range(0, len(wanted), _CHUNK):
        rank = sa.func.row_number().over(
            partition_by=contracts.c.contract, order_by=(agreed.desc(), contracts.c.version.desc())
        )
        ranked = sa.select(contracts, rank.label("rank")).where(
            contracts.c.contract.in_(wanted[start : start + _CHUNK])
        )
        chosen = ranked.subquery()
        for row in _rows(conn, sa.select(chosen).where(chosen.c.rank == 1)):
            found[row.name] = row
    return found


def page_of_contracts(
    conn: sa.Connection, *, visible_to: str, provider: str, consumer: str, after: str, limit: int
) -> list[ContractRow]:
    """Returns the newest version of each contract, by name.

    Args:
        conn: a read snapshot.
        visible_to: only contracts to which this department is a party; empty for all.
        provider: only contracts of this provider; empty for all.
        consumer: only contracts of this consumer; empty for all.
        after: the last name of the page before; empty for the first page.
        limit: at most so many.
    """
    newest = (
        sa.select(contracts.c.contract, sa.func.max(contracts.c.version).label("version"))
        .where(contracts.c.contract > after)
        .group_by(contracts.c.contract)
        .subquery()
    )
    query = sa.select(contracts).join(
        newest,
        sa.and_(contracts.c.contract == newest.c.contract, contracts.c.version == newest.c.version),
    )
    if visible_to:
        query = query.where(sa.or_(contracts.c.provider == visible_to, contracts.c.consumer == visible_to))
    if provider:
        query = query.where(contracts.c.provider == provider)
    if consumer:
        query = query.where(contracts.c.consumer == consumer)
    return _rows(conn, query.order_by(contracts.c.contract).limit(limit))


def insert_contract(conn: sa.Connection, row: ContractRow) -> None:
    """Adds a version. The terms are written once and no function here changes them."""
    conn.execute(
        contracts.insert().values(
            contract=row.name,
            version=row.version,
            provider=row.provider,
            consumer=row.consumer,
            dataset=row.dataset,
            terms=row.terms_json,
            terms_digest=row.terms_digest,
            state=row.state,
            state_reason=row.state_reason,
            proposer=row.proposer,
            suspended_by=row.suspended_by,
            rectify_by=None,
            not_before=to_ms(row.not_before),
            not_after=to_ms(row.not_after),
            created_at=to_ms(row.created_at),
            updated_at=to_ms(row.updated_at),
            position=row.position,
        )
    )


def set_state(
    conn: sa.Connection,
    row: ContractRow,
    *,
    state: str,
    reason: str,
    at: datetime,
    position: int,
    suspended_by: str | None = None,
    rectify_by: datetime | None = None,
) -> None:
    """Writes where a version stands now."""
    conn.execute(
        contracts.update()
        .where(contracts.c.contract == row.name, contracts.c.version == row.version)
        .values(
            state=state,
            state_reason=reason,
            suspended_by=suspended_by,
            rectify_by=None if rectify_by is None else to_ms(rectify_by),
            updated_at=to_ms(at),
            position=position,
        )
    )


def insert_signature(conn: sa.Connection, row: ContractRow, signature: SignatureRow) -> None:
    """Adds a department's signature; the table's key refuses a second by the same department."""
    conn.execute(
        contract_signatures.insert().values(
            contract=row.name,
            version=row.version,
            department=signature.department,
            signer=signature.signer,
            thumbprint=signature.thumbprint,
            statement=signature.statement,
            digest=signature.digest,
            signed_at=to_ms(signature.signed_at),
            position=signature.position,
        )
    )


def signatures_of(conn: sa.Connection, rows: Iterable[ContractRow]) -> dict[str, list[SignatureRow]]:
    """Returns the signatures of these versions in the order they were made, by `contracts/x@1`."""
    table, keys = contract_signatures.c, [(row.name, row.version) for row in rows]
    found: dict[str, list[SignatureRow]] = {}
    for start in range(0, len(keys), _CHUNK):
        query = (
            sa.select(contract_signatures)
            .where(sa.tuple_(table.contract, table.version).in_(keys[start : start + _CHUNK]))
            .order_by(table.position, table.department)
        )
        for row in conn.execute(query):
            signature = SignatureRow(
                row.department,
                row.signer,
                row.thumbprint,
                row.statement,
                row.digest,
                from_ms(row.signed_at),
                row.position,
            )
            found.setdefault(f"{row.contract}@{row.version}", []).append(signature)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractEventRow:
    """Something that happened to a version; `actor` is a SPIFFE URI, or `clock`."""

    contract: str
    version: int
    seq: int
    type: str
    from_state: str
    to_state: str
    actor: str
    reason: str
    at: datetime
    position: int


def add_event(
    conn: sa.Connection,
    row: ContractRow,
    *,
    type: str,
    from_state: str,
    to_state: str,
    actor: str,
    reason: str,
    at: datetime,
    position: int,
) -> None:
    """Appends an event to a contract's history."""
    last = sa.select(sa.func.max(contract_events.c.seq)).where(contract_events.c.contract == row.name)
    conn.execute(
        contract_events.insert().values(
            contract=row.name,
            seq=(conn.execute(last).scalar() or 0) + 1,
            version=row.version,
            type=type,
            from_state=from_state,
            to_state=to_state,
            actor=actor,
            reason=reason,
            at=to_ms(at),
            position=position,
        )
    )


def page_of_events(conn: sa.Connection, name: str, *, after: int, limit: int) -> list[ContractEventRow]:
    """Returns the events of `contracts/{contract}`, oldest first, after the one numbered `after`."""
    query = (
        sa.select(contract_events)
        .where(contract_events.c.contract == name, contract_events.c.seq > after)
        .order_by(contract_events.c.seq)
        .limit(limit)
    )
    return [
        ContractEventRow(
            contract=row.contract,
            version=row.version,
            seq=row.seq,
            type=row.type,
            from_state=row.from_state,
            to_state=row.to_state,
            actor=row.actor,
            reason=row.reason,
            at=from_ms(row.at),
            position=row.position,
        )
        for row in conn.execute(query)
    ]
