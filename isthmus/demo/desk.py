"""The parties at work: publishing, agreeing, consenting and asking, each with a certificate of its own."""

import hashlib
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from isthmus.client import Client, ConsentTerms
from isthmus.demo.parties import AUDIT, DATA_OFFICE, GATEWAY, PORTAL, Parties, officer
from isthmus.demo.scenario import Consent, Contract
from isthmus.terms import instant
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.contract_service_pb2 import Contract as AgreedContract

_NOTICE_TEXT: Final = "告知书:谁、为何目的、使用您的哪些信息。 Who uses which of your data, and what for."
_NOTICE: Final = {
    "uri": "https://portal.example/notices/1",
    "sha256": hashlib.sha256(_NOTICE_TEXT.encode()).hexdigest(),
    "language": "zh-CN",
}
_CALL_WITHIN_S: Final = 20.0


class Desk:
    """Everybody's connections; leaving the context closes them.

    Args:
        parties: who issues certificates.
        gateway: the gateway's address.
        audit: the audit service's.
    """

    def __init__(self, parties: Parties, *, gateway: str, audit: str) -> None:
        self.parties = parties
        self._addresses = {GATEWAY: gateway, AUDIT: audit}
        self._clients: dict[tuple[str, bool, str], Client] = {}
        self._closing = ExitStack()
        self._consents: dict[str, str] = {}

    def client(self, who: str, *, foreign: bool = False, server: str = GATEWAY) -> Client:
        """The connection of a party to the gateway, or to another server."""
        place = (who, foreign, server)
        if place not in self._clients:
            certificate, key, ca = self.parties.files(who, foreign=foreign)
            client = Client(
                self._addresses[server],
                cert=certificate,
                key=key,
                ca=ca,
                server=self.parties.identity(server),
                deadline=_CALL_WITHIN_S,
            )
            self._clients[place] = self._closing.enter_context(client)
        return self._clients[place]

    def publish(self, department: str, dataset: Dataset) -> None:
        """The department's officer publishes a dataset."""
        self.client(officer(department)).catalog.publish(dataset)

    def propose(self, contract: Contract) -> AgreedContract:
        """The consumer's officer proposes a contract. Its period begins now."""
        terms = contract.document(datetime.now(UTC))
        reason = f"{contract.purposes[0]} ({contract.legal_citation})"
        return self.client(officer(contract.consumer)).contracts.propose(contract.id, terms, reason=reason)

    def sign(self, contract: Contract, department: str, by: str = DATA_OFFICE) -> AgreedContract:
        """An officer of a department signs the newest version."""
        return self.client(officer(department, by)).contracts.sign(f"contracts/{contract.id}")

    def get(self, contract: Contract) -> AgreedContract:
        """The newest version as the consumer's officer sees it."""
        return self.client(officer(contract.consumer)).contracts.get(f"contracts/{contract.id}")

    def agree(self, contract: Contract) -> None:
        """Proposes a contract, and has it signed by those who sign it before the story begins."""
        self.propose(contract)
        for department in contract.signed_by:
            self.sign(contract, department)

    def consent(self, consent: Consent) -> None:
        """The portal records a person's consent."""
        client, name = self.client(PORTAL), f"contracts/{consent.contract}"
        terms = ConsentTerms(
            notice=_NOTICE,
            purposes=consent.purposes,
            fields=consent.fields,
            not_before=instant(client.contracts.get(name).terms.period.not_before),
            grantor=consent.grantor,
            collection="COUNTER" if consent.evidence_reference else "ONLINE",
            evidence_reference=consent.evidence_reference,
        )
        given = client.consents.grant(name, (consent.subject.scheme, consent.subject.id), terms)
        self._consents[consent.key] = given.consent.name

    def consent_name(self, key: str) -> str:
        """`consents/{uuid}` of a consent that was given."""
        return self._consents[key]

    def close(self) -> None:
        """Closes every connection."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
