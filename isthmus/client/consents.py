"""Consents: what a portal or a service counter records for a person."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from isthmus.client.calls import Call, Listing, path
from isthmus.client.catalog import get_dataset
from isthmus.client.connection import Target
from isthmus.client.contracts import get_contract
from isthmus.client.results import ConsentReceipt
from isthmus.client.transport import AsyncTransport, Transport
from isthmus.client.values import SubjectLike, to_subject
from isthmus.consent_statement import ConsentStatement
from isthmus.names import ConsentName
from isthmus.statement import StatementKind, sign
from isthmus.subjects import normalise, subject_commitment
from isthmus.terms import instant, timestamp
from isthmus.v1 import consent_service_pb2 as pb
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import Mode, Subject
from isthmus.v1.consent_service_pb2 import Consent, ConsentUse
from isthmus.v1.contract_service_pb2 import Contract

_SERVICE = "ConsentService"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentTerms:
    """What a person consents to, and how that was learnt.

    Args:
        notice: `uri`, `sha256` (hex) and `language` (BCP 47) of the text that the person was shown.
        purposes, fields, modes: within the contract; all of the contract's when left empty.
        not_before, not_after: aware times; from now (or the start of the contract, if later) to its end when left out.
        grantor: `SELF`, `GUARDIAN` or `DELEGATE`.
        collection: `ONLINE`, `COUNTER` or `PAPER`; the last two need an evidence reference.
        evidence_reference: where the evidence is kept; no personal data.
        party: which of the parties that the request requires consents; empty when it requires none.
        max_uses: at most so many exchanges; 0 for no limit.
        of_age_at: aware; when the person comes of age and a guardian's consent ends.
    """

    notice: Mapping[str, str]
    purposes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    grantor: str = "SELF"
    collection: str = "ONLINE"
    evidence_reference: str = ""
    party: str = ""
    max_uses: int = 0
    of_age_at: datetime | None = None

    def after(self, others: Consent) -> "ConsentTerms":
        """These terms, where they are left open, as the parties who have consented already stated them."""
        if not others.consented_parties:
            return self
        return replace(
            self,
            purposes=self.purposes or tuple(others.purposes),
            fields=self.fields or tuple(others.fields),
            modes=self.modes or tuple(Mode.Name(mode).removeprefix("MODE_") for mode in others.modes),
            not_before=self.not_before or instant(others.period.not_before),
            not_after=self.not_after or instant(others.period.not_after),
            max_uses=self.max_uses or others.max_uses,
        )


def _consent_of(response: Any) -> Consent:
    consent: Consent = response.consent
    return consent


def _request(
    contract: str,
    subject: SubjectLike,
    *,
    answer_by: datetime | None,
    parties: Sequence[str],
    name: str,
) -> Call[Consent]:
    request = pb.RequestConsentRequest(
        name=name or str(ConsentName.new()),
        contract=contract,
        subject=to_subject(subject),
        required_parties=parties,
    )
    if answer_by is not None:
        request.answer_by.CopyFrom(timestamp(answer_by))
    return Call(path(_SERVICE, "RequestConsent"), request, _consent_of)


def grant_request(
    name: str, subject: Subject, statement: ConsentStatement, *, nonce: bytes, target: Target
) -> pb.GrantConsentRequest:
    """Returns the signed request that records a consent.

    Args:
        name: `consents/{uuid}`; the statement holds the same.
        subject: the person; the identifier is the one that the statement's commitment hides.
        statement: what was consented to.
        nonce: 32 random bytes that open the commitment.
        target: the portal that signs.
    """
    token = sign(statement.document(), StatementKind.CONSENT, target.credentials)
    return pb.GrantConsentRequest(subject=subject, subject_nonce=nonce, statement=token)


def _grant(
    subject: Subject, contract: Contract, terms: ConsentTerms, *, name: str, target: Target, now: datetime
) -> Call[ConsentReceipt]:
    nonce = secrets.token_bytes(32)
    chosen = name or str(ConsentName.new())
    statement = ConsentStatement(
        consent=chosen,
        contract=contract.name,
        terms_digest=contract.terms_digest,
        subject_commitment=subject_commitment(nonce, subject.scheme, subject.id),
        purposes=terms.purposes or tuple(contract.terms.purposes),
        fields=terms.fields or tuple(field.name for field in contract.terms.fields),
        modes=terms.modes or tuple(Mode.Name(mode).removeprefix("MODE_") for mode in contract.terms.modes),
        not_before=terms.not_before or max(now, instant(contract.terms.period.not_before)),
        not_after=terms.not_after or instant(contract.terms.period.not_after),
        grantor=terms.grantor,
        collection=terms.collection,
        evidence_reference=terms.evidence_reference,
        notice=terms.notice,
        stated_at=now,
        party=terms.party,
        max_uses=terms.max_uses,
        of_age_at=terms.of_age_at,
    )
    request = grant_request(chosen, subject, statement, nonce=nonce, target=target)
    return Call(path(_SERVICE, "GrantConsent"), request, ConsentReceipt.of)


def _canonical(subject: SubjectLike, dataset: Dataset) -> Subject:
    """The subject as the provider spells it, so that the commitment covers the spelling that is looked up."""
    given = to_subject(subject)
    return Subject(scheme=given.scheme, id=normalise(given.id, dataset.subject_normalisers))


_CHANGES: Mapping[str, Any] = {
    "RefuseConsent": pb.RefuseConsentRequest,
    "PauseConsent": pb.PauseConsentRequest,
    "ResumeConsent": pb.ResumeConsentRequest,
    "RevokeConsent": pb.RevokeConsentRequest,
    "InvalidateConsent": pb.InvalidateConsentRequest,
}


def _change(method: str, name: str, reason: str) -> Call[Consent]:
    return Call(path(_SERVICE, method), _CHANGES[method](name=name, reason=reason), _consent_of)


def _withdraw(name: str, reason: str) -> Call[ConsentReceipt]:
    request = pb.WithdrawConsentRequest(name=name, reason=reason)
    return Call(path(_SERVICE, "WithdrawConsent"), request, ConsentReceipt.of)


def _get(name: str) -> Call[Consent]:
    return Call(path(_SERVICE, "GetConsent"), pb.GetConsentRequest(name=name), _consent_of)


def _list(subject: SubjectLike | None, contract: str, page_size: int) -> Listing[Consent]:
    request = pb.ListConsentsRequest(contract=contract, page_size=page_size)
    if subject is not None:
        request.subject.CopyFrom(to_subject(subject))
    return Listing(path(_SERVICE, "ListConsents"), request, lambda response: response.consents)


def _uses(name: str, page_size: int) -> Listing[ConsentUse]:
    request = pb.ListConsentUsesRequest(name=name, page_size=page_size)
    return Listing(path(_SERVICE, "ListConsentUses"), request, lambda response: response.uses)


class Consents:
    """Consents. Every method raises `IsthmusError` when it is refused."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._clock = clock

    def request(
        self,
        contract: str,
        subject: SubjectLike,
        *,
        answer_by: datetime | None = None,
        parties: Sequence[str] = (),
        name: str = "",
    ) -> Consent:
        """Records that a person was asked, under a new name unless `name` gives one.

        Args:
            contract: `contracts/{contract}@{version}`.
            subject: the person, `(scheme, id)`.
            answer_by: aware; until when an answer is awaited.
            parties: all who must consent, such as `母亲` and `父亲`; empty when one grant is enough.
            name: `consents/{uuid}`.
        """
        asked = _request(contract, subject, answer_by=answer_by, parties=parties, name=name)
        return self._transport.run(asked)

    def grant(
        self, contract: str, subject: SubjectLike, terms: ConsentTerms, *, name: str = ""
    ) -> ConsentReceipt:
        """Signs and records a person's consent.

        Args:
            contract: `contracts/{contract}@{version}`, or without a version for the newest.
            subject: the person, `(scheme, id)`; the ledger keeps only a keyed token.
            terms: what is consented to; for a party after the first, what is left open is what the others stated.
            name: `consents/{uuid}` of the request that is answered; a new one unless given.
        """
        agreed = self._transport.run(get_contract(contract))
        person = _canonical(subject, self._transport.run(get_dataset(agreed.terms.dataset)))
        if terms.party and name:
            terms = terms.after(self._transport.run(_get(name)))
        target, now = self._transport.target, self._clock()
        return self._transport.run(_grant(person, agreed, terms, name=name, target=target, now=now))

    def refuse(self, name: str, *, reason: str = "") -> Consent:
        """Records that the person refused."""
        return self._transport.run(_change("RefuseConsent", name, reason))

    def pause(self, name: str, *, reason: str = "") -> Consent:
        """Stops use for a time; once it returns, nothing more is released."""
        return self._transport.run(_change("PauseConsent", name, reason))

    def resume(self, name: str, *, reason: str = "") -> Consent:
        """Lets use go on after a pause."""
        return self._transport.run(_change("ResumeConsent", name, reason))

    def withdraw(self, name: str, *, reason: str = "") -> ConsentReceipt:
        """Ends a consent at the person's wish, for good; once it returns, nothing more is released."""
        return self._transport.run(_withdraw(name, reason))

    def revoke(self, name: str, *, reason: str) -> Consent:
        """Ends a consent by order of an authority, for good."""
        return self._transport.run(_change("RevokeConsent", name, reason))

    def invalidate(self, name: str, *, reason: str) -> Consent:
        """Ends a consent that was never valid, for good."""
        return self._transport.run(_change("InvalidateConsent", name, reason))

    def uses(self, name: str, *, page_size: int = 0) -> Iterator[ConsentUse]:
        """Yields who used a consent, oldest first, from the gateway's records."""
        return self._transport.pages(_uses(name, page_size))

    def get(self, name: str) -> Consent:
        """Returns `consents/{uuid}`. Raises NotFound."""
        return self._transport.run(_get(name))

    def list(
        self, *, subject: SubjectLike | None = None, contract: str = "", page_size: int = 0
    ) -> Iterator[Consent]:
        """Yields the consents of one person, or under one contract, oldest first."""
        return self._transport.pages(_list(subject, contract, page_size))


class AsyncConsents:
    """`Consents` with await."""

    def __init__(self, transport: AsyncTransport, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._clock = clock

    async def request(
        self,
        contract: str,
        subject: SubjectLike,
        *,
        answer_by: datetime | None = None,
        parties: Sequence[str] = (),
        name: str = "",
    ) -> Consent:
        """As `Consents.request`."""
        asked = _request(contract, subject, answer_by=answer_by, parties=parties, name=name)
        return await self._transport.run(asked)

    async def grant(
        self, contract: str, subject: SubjectLike, terms: ConsentTerms, *, name: str = ""
    ) -> ConsentReceipt:
        """As `Consents.grant`."""
        agreed = await self._transport.run(get_contract(contract))
        person = _canonical(subject, await self._transport.run(get_dataset(agreed.terms.dataset)))
        if terms.party and name:
            terms = terms.after(await self._transport.run(_get(name)))
        target, now = self._transport.target, self._clock()
        return await self._transport.run(_grant(person, agreed, terms, name=name, target=target, now=now))

    async def refuse(self, name: str, *, reason: str = "") -> Consent:
        """As `Consents.refuse`."""
        return await self._transport.run(_change("RefuseConsent", name, reason))

    async def pause(self, name: str, *, reason: str = "") -> Consent:
        """As `Consents.pause`."""
        return await self._transport.run(_change("PauseConsent", name, reason))

    async def resume(self, name: str, *, reason: str = "") -> Consent:
        """As `Consents.resume`."""
        return await self._transport.run(_change("ResumeConsent", name, reason))

    async def withdraw(self, name: str, *, reason: str = "") -> ConsentReceipt:
        """As `Consents.withdraw`."""
        return await self._transport.run(_withdraw(name, reason))

    async def revoke(self, name: str, *, reason: str) -> Consent:
        """As `Consents.revoke`."""
        return await self._transport.run(_change("RevokeConsent", name, reason))

    async def invalidate(self, name: str, *, reason: str) -> Consent:
        """As `Consents.invalidate`."""
        return await self._transport.run(_change("InvalidateConsent", name, reason))

    def uses(self, name: str, *, page_size: int = 0) -> AsyncIterator[ConsentUse]:
        """As `Consents.uses`."""
        return self._transport.pages(_uses(name, page_size))

    async def get(self, name: str) -> Consent:
        """As `Consents.get`."""
        return await self._transport.run(_get(name))

    def list(
        self, *, subject: SubjectLike | None = None, contract: str = "", page_size: int = 0
    ) -> AsyncIterator[Consent]:
        """As `Consents.list`."""
        return self._transport.pages(_list(subject, contract, page_size))
