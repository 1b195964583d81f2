"""Contracts: proposing, answering, signing and ending them."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from isthmus.canonical import sha256_hex
from isthmus.client.calls import Call, Listing, path
from isthmus.client.connection import Target
from isthmus.client.dryrun import dry_run_contract
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.errors import InvalidArgument, StatementInvalid
from isthmus.statement import StatementKind, sign
from isthmus.terms import (
    contract_statement_payload,
    document_to_terms,
    terms_json,
    terms_to_document,
    timestamp,
)
from isthmus.v1 import contract_service_pb2 as pb
from isthmus.v1.contract_service_pb2 import Contract, ContractEvent, ContractState, ContractTerms

TermsLike: TypeAlias = ContractTerms | Mapping[str, Any]

_SERVICE = "ContractService"


def _contract_of(response: Any) -> Contract:
    contract: Contract = response.contract
    return contract


def _propose(contract_id: str, terms: TermsLike, reason: str) -> Call[Contract]:
    request = pb.ProposeContractRequest(
        contract_id=contract_id, terms=_terms(terms), reason=reason, request_id=str(uuid.uuid4())
    )
    return Call(path(_SERVICE, "ProposeContract"), request, _contract_of)


def _counter(name: str, terms: TermsLike, reason: str) -> Call[Contract]:
    request = pb.CounterContractRequest(name=name, terms=_terms(terms), reason=reason)
    return Call(path(_SERVICE, "CounterContract"), request, _contract_of)


def _sign(contract: Contract, digest: str, target: Target, now: datetime) -> Call[Contract]:
    statement = contract_statement(contract, digest=digest, target=target, now=now)
    request = pb.SignContractRequest(name=contract.name, statement=statement, etag=contract.etag)
    return Call(path(_SERVICE, "SignContract"), request, _contract_of)


def _reject(name: str, reason: str, legal_citation: str, kind: str, condition: str) -> Call[Contract]:
    request = pb.RejectContractRequest(
        name=name,
        reason=reason,
        legal_citation=legal_citation,
        rejection_reason=pb.RejectionReason.Value(f"REJECTION_REASON_{kind}"),
        condition=condition,
    )
    return Call(path(_SERVICE, "RejectContract"), request, _contract_of)


def _request_supplement(name: str, missing: str) -> Call[Contract]:
    request = pb.RequestSupplementRequest(name=name, missing=missing)
    return Call(path(_SERVICE, "RequestSupplement"), request, _contract_of)


def _supplement(name: str, supplement: str) -> Call[Contract]:
    request = pb.SupplementContractRequest(name=name, supplement=supplement)
    return Call(path(_SERVICE, "SupplementContract"), request, _contract_of)


def _extend(name: str, amount: int, authority_reference: str, reason: str) -> Call[Contract]:
    request = pb.ExtendAnswerRequest(
        name=name, amount=amount, authority_reference=authority_reference, reason=reason
    )
    return Call(path(_SERVICE, "ExtendAnswer"), request, _contract_of)


def _withdraw(name: str, reason: str) -> Call[Contract]:
    request = pb.WithdrawContractRequest(name=name, reason=reason)
    return Call(path(_SERVICE, "WithdrawContract"), request, _contract_of)


def _suspend(name: str, reason: str, rectify_by: datetime | None) -> Call[Contract]:
    request = pb.SuspendContractRequest(name=name, reason=reason)
    if rectify_by is not None:
        request.rectify_by.CopyFrom(timestamp(rectify_by))
    return Call(path(_SERVICE, "SuspendContract"), request, _contract_of)


def _resume(name: str, reason: str) -> Call[Contract]:
    request = pb.ResumeContractRequest(name=name, reason=reason)
    return Call(path(_SERVICE, "ResumeContract"), request, _contract_of)


def _terminate(name: str, reason: str) -> Call[Contract]:
    request = pb.TerminateContractRequest(name=name, reason=reason)
    return Call(path(_SERVICE, "TerminateContract"), request, _contract_of)


def get_contract(name: str) -> Call[Contract]:
    """The call of `Contracts.get`."""
    return Call(path(_SERVICE, "GetContract"), pb.GetContractRequest(name=name), _contract_of)


def _list(states: Sequence[str], provider: str, consumer: str, page_size: int) -> Listing[Contract]:
    request = pb.ListContractsRequest(
        states=[_state(each) for each in states], provider=provider, consumer=consumer, page_size=page_size
    )
    return Listing(path(_SERVICE, "ListContracts"), request, lambda response: response.contracts)


def _events(name: str, page_size: int) -> Listing[ContractEvent]:
    request = pb.ListContractEventsRequest(name=name, page_size=page_size)
    return Listing(path(_SERVICE, "ListContractEvents"), request, lambda response: response.events)


def contract_statement(contract: Contract, *, digest: str, target: Target, now: datetime) -> str:
    """Signs a contract as its party `target.identity`.

    What is signed are the terms as this side reads them, never a digest that somebody else computed.

    Args:
        contract: the version to sign, as the gateway returned it.
        digest: the terms digest that the signer has examined, hex; empty to trust the one in `contract`.
        target: the signer.
        now: an aware time.

    Raises:
        StatementInvalid: the contract's own texts contradict each other, or its digest is not `digest`.
        InvalidArgument: the signer belongs to no department.
    """
    document = terms_to_document(contract.terms)
    canonical = terms_json(contract.terms)
    if canonical.decode() != contract.terms_json or sha256_hex(canonical) != contract.terms_digest:
        raise StatementInvalid("the gateway's terms, canonical text and digest differ; nothing was signed")
    if digest and digest != contract.terms_digest:
        raise StatementInvalid(
            f"{contract.name} has the terms digest {contract.terms_digest}, not the one examined; read it again"
        )
    if target.identity.department is None:
        raise InvalidArgument("credentials", "must be an officer's: only a department can sign a contract")
    payload = contract_statement_payload(
        contract=contract.name,
        department=f"departments/{target.identity.department}",
        terms=document,
        signed_at=now,
    )
    return sign(payload, StatementKind.CONTRACT, target.credentials)


def _terms(terms: TermsLike) -> ContractTerms:
    return terms if isinstance(terms, ContractTerms) else document_to_terms(dict(terms))


def _state(name: str) -> ContractState.ValueType:
    full = f"CONTRACT_STATE_{name.upper()}"
    if full not in ContractState.keys():  # noqa: SIM118 - an enum wrapper is no dictionary
        names = ", ".join(each.removeprefix("CONTRACT_STATE_") for each in ContractState.keys()[1:])
        raise InvalidArgument("states", f"must be among {names}")
    return ContractState.Value(full)


class Contracts:
    """Exchange contracts. Every method raises `IsthmusError` when it is refused."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._clock = clock

    def propose(self, contract_id: str, terms: TermsLike, *, reason: str = "") -> Contract:
        """Proposes version 1 of `contracts/{contract_id}`.

        Args:
            contract_id: lower-case letters, digits and hyphens.
            terms: ContractTerms, or the document of `isthmus.terms.document_to_terms`.
            reason: why it is needed.
        """
        return self._transport.run(_propose(contract_id, terms, reason))

    def counter(self, name: str, terms: TermsLike, *, reason: str) -> Contract:
        """Answers a proposal with other terms, as the next version."""
        return self._transport.run(_counter(name, terms, reason))

    def sign(self, name: str, *, terms_digest: str = "") -> Contract:
        """Signs a version for the caller's department; the second signature makes it AGREED.

        Args:
            name: `contracts/{contract}@{version}`, or without a version for the newest.
            terms_digest: of the terms that were examined; other terms are not signed.

        Raises:
            StatementInvalid: the terms are not those, or contradict their own digest.
        """
        contract = self.get(name)
        return self._transport.run(_sign(contract, terms_digest, self._transport.target, self._clock()))

    def reject(
        self,
        name: str,
        *,
        reason: str,
        legal_citation: str,
        kind: str = "OUTSIDE_DUTIES",
        condition: str = "",
    ) -> Contract:
        """Refuses a proposal of the other department.

        Args:
            name: `contracts/{contract}@{version}`.
            reason: why, in words.
            legal_citation: the law and article.
            kind: a name of `RejectionReason` without its prefix.
            condition: with `CONDITION_NOT_MET`, the condition word for word as the catalogue publishes it.
        """
        return self._transport.run(_reject(name, reason, legal_citation, kind, condition))

    def request_supplement(self, name: str, *, missing: str) -> Contract:
        """Asks the proposer, once, for everything that is missing; the answer's clock stops."""
        return self._transport.run(_request_supplement(name, missing))

    def supplement(self, name: str, *, supplement: str) -> Contract:
        """Says that what was missing has been supplied."""
        return self._transport.run(_supplement(name, supplement))

    def extend_answer(self, name: str, *, amount: int, authority_reference: str, reason: str) -> Contract:
        """Takes more time for the answer, in the unit of the rule pack's limit, with the authority's consent."""
        return self._transport.run(_extend(name, amount, authority_reference, reason))

    def withdraw(self, name: str, *, reason: str) -> Contract:
        """Takes back a proposal of one's own."""
        return self._transport.run(_withdraw(name, reason))

    def suspend(self, name: str, *, reason: str, rectify_by: datetime | None = None) -> Contract:
        """Stops exchanges for a time; once it returns, nothing more is released."""
        return self._transport.run(_suspend(name, reason, rectify_by))

    def resume(self, name: str, *, reason: str) -> Contract:
        """Lets exchanges go on."""
        return self._transport.run(_resume(name, reason))

    def terminate(self, name: str, *, reason: str) -> Contract:
        """Ends a contract for good; once it returns, nothing more is released."""
        return self._transport.run(_terminate(name, reason))

    def dry_run(
        self, contract: str, terms: TermsLike, *, since: datetime | None = None
    ) -> pb.DryRunContractResponse:
        """Says which recorded exchanges of `contracts/{contract}` other terms would decide otherwise."""
        return self._transport.run(dry_run_contract(contract, _terms(terms), since))

    def get(self, name: str) -> Contract:
        """Returns one version, or the newest when `name` has none. Raises NotFound."""
        return self._transport.run(get_contract(name))

    def list(
        self, *, states: Sequence[str] = (), provider: str = "", consumer: str = "", page_size: int = 0
    ) -> Iterator[Contract]:
        """Yields the newest version of each contract that the caller may see; states by name, such as `ACTIVE`."""
        return self._transport.pages(_list(states, provider, consumer, page_size))

    def events(self, name: str, *, page_size: int = 0) -> Iterator[ContractEvent]:
        """Yields what happened to `contracts/{contract}`, oldest first."""
        return self._transport.pages(_events(name, page_size))


class AsyncContracts:
    """`Contracts` with await."""

    def __init__(self, transport: AsyncTransport, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._clock = clock

    async def propose(self, contract_id: str, terms: TermsLike, *, reason: str = "") -> Contract:
        """As `Contracts.propose`."""
        return await self._transport.run(_propose(contract_id, terms, reason))

    async def counter(self, name: str, terms: TermsLike, *, reason: str) -> Contract:
        """As `Contracts.counter`."""
        return await self._transport.run(_counter(name, terms, reason))

    async def sign(self, name: str, *, terms_digest: str = "") -> Contract:
        """As `Contracts.sign`."""
        contract = await self.get(name)
        return await self._transport.run(_sign(contract, terms_digest, self._transport.target, self._clock()))

    async def reject(
        self,
        name: str,
        *,
        reason: str,
        legal_citation: str,
        kind: str = "OUTSIDE_DUTIES",
        condition: str = "",
    ) -> Contract:
        """As `Contracts.reject`."""
        return await self._transport.run(_reject(name, reason, legal_citation, kind, condition))

    async def request_supplement(self, name: str, *, missing: str) -> Contract:
        """As `Contracts.request_supplement`."""
        return await self._transport.run(_request_supplement(name, missing))

    async def supplement(self, name: str, *, supplement: str) -> Contract:
        """As `Contracts.supplement`."""
        return await self._transport.run(_supplement(name, supplement))

    async def extend_answer(
        self, name: str, *, amount: int, authority_reference: str, reason: str
    ) -> Contract:
        """As `Contracts.extend_answer`."""
        return await self._transport.run(_extend(name, amount, authority_reference, reason))

    async def withdraw(self, name: str, *, reason: str) -> Contract:
        """As `Contracts.withdraw`."""
        return await self._transport.run(_withdraw(name, reason))

    async def suspend(self, name: str, *, reason: str, rectify_by: datetime | None = None) -> Contract:
        """As `Contracts.suspend`."""
        return await self._transport.run(_suspend(name, reason, rectify_by))

    async def resume(self, name: str, *, reason: str) -> Contract:
        """As `Contracts.resume`."""
        return await self._transport.run(_resume(name, reason))

    async def terminate(self, name: str, *, reason: str) -> Contract:
        """As `Contracts.terminate`."""
        return await self._transport.run(_terminate(name, reason))

    async def dry_run(
        self, contract: str, terms: TermsLike, *, since: datetime | None = None
    ) -> pb.DryRunContractResponse:
        """As `Contracts.dry_run`."""
        return await self._transport.run(dry_run_contract(contract, _terms(terms), since))

    async def get(self, name: str) -> Contract:
        """As `Contracts.get`."""
        return await self._transport.run(get_contract(name))

    def list(
        self, *, states: Sequence[str] = (), provider: str = "", consumer: str = "", page_size: int = 0
    ) -> AsyncIterator[Contract]:
        """As `Contracts.list`."""
        return self._transport.pages(_list(states, provider, consumer, page_size))

    def events(self, name: str, *, page_size: int = 0) -> AsyncIterator[ContractEvent]:
        """As `Contracts.events`."""
        return self._transport.pages(_events(name, page_size))
