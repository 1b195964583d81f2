"""Contracts and their events as messages."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from gateway.contracts.deadlines import Deadline
from gateway.contracts.overdue import deadlines_of
from gateway.contracts.states import effective_state
from gateway.rulebook import Rulebook
from gateway.state.contract_events import ContractEventRow
from gateway.state.contracts import ContractRow
from gateway.state.etags import etag_of
from gateway.state.signatures import SignatureRow, signatures_of
from isthmus.terms import document_to_terms, timestamp
from isthmus.v1 import contract_service_pb2 as pb
from isthmus.v1.contract_service_pb2 import Contract, ContractEvent, ContractSignature, ContractState


def etag(row: ContractRow, now: datetime) -> str:
    """Returns the etag of a version as it stands at `now`."""
    return etag_of(row.full_name, row.position, effective_state(row, now).value)


def contracts_of(
    conn: sa.Connection, rows: Iterable[ContractRow], now: datetime, rulebook: Rulebook
) -> list[Contract]:
    """Returns the messages of these versions as they stand at `now`, with their signatures and deadlines."""
    versions = list(rows)
    signed = signatures_of(conn, versions)
    return [
        _message(row, signed.get(row.full_name, []), deadlines_of(conn, row, rulebook, now), now)
        for row in versions
    ]


def contract_of(conn: sa.Connection, row: ContractRow, now: datetime, rulebook: Rulebook) -> Contract:
    """Returns the message of one version as it stands at `now`."""
    return contracts_of(conn, (row,), now, rulebook)[0]


def deadline_of(deadline: Deadline) -> pb.Deadline:
    """Returns the message of a deadline."""
    message = pb.Deadline(
        kind=pb.DeadlineKind.Value(f"DEADLINE_KIND_{deadline.kind.value}"),
        overdue=deadline.overdue,
        rule=deadline.rule,
        assumed_years=deadline.assumed_years,
        stopped=deadline.stopped,
    )
    if deadline.due is not None:
        message.due.CopyFrom(timestamp(deadline.due))
    if deadline.met_at is not None:
        message.met_at.CopyFrom(timestamp(deadline.met_at))
    return message


def _message(
    row: ContractRow, signatures: Iterable[SignatureRow], deadlines: Iterable[Deadline], now: datetime
) -> Contract:
    return Contract(
        name=row.full_name,
        contract=row.name,
        version=row.version,
        terms=document_to_terms(dict(row.terms)),
        terms_json=row.terms_json,
        terms_digest=row.terms_digest,
        state=_state(effective_state(row, now).value),
        signatures=[
            ContractSignature(
                department=each.department,
                signer=each.signer,
                signed_at=timestamp(each.signed_at),
                statement=each.statement,
            )
            for each in signatures
        ],
        proposer=row.proposer,
        state_reason=row.state_reason,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        position=row.position,
        etag=etag(row, now),
        rule_pack=row.rule_pack,
        deadlines=map(deadline_of, deadlines),
        submitter=row.submitter,
        scenario=row.scenario,
        supplement_request=row.supplement_request,
    )


def event_of(row: ContractEventRow) -> ContractEvent:
    """Returns the message of an event."""
    # `from` is a keyword of Python, so it cannot be named as an argument.
    states = {"from": _state(row.from_state), "to": _state(row.to_state)}
    return ContractEvent(
        contract=f"{row.contract}@{row.version}",
        type=row.type,
        actor=row.actor,
        reason=row.reason,
        at=timestamp(row.at),
        position=row.position,
        **states,
    )


def _state(name: str) -> ContractState.ValueType:
    return ContractState.Value(f"CONTRACT_STATE_{name}")
