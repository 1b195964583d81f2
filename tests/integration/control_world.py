"""A gateway's control plane with a real ledger, real certificates and a real server, and the parties that use it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry

from audit.ledger import Ledger
from audit.ledger.schema import records
from audit.record import AccessRecord
from audit.tlog.keys import SignerKey
from gateway.catalogue.departments import KnownDepartment
from gateway.catalogue.service import CatalogService
from gateway.consents.service import ConsentService
from gateway.contracts.service import ContractService
from gateway.state.change import Control
from gateway.state.schema import METADATA
from isthmus.access import ControlAuthoriser
from isthmus.consent_statement import ConsentStatement
from isthmus.identity import Identity, Role
from isthmus.names import ConsentName
from isthmus.pki import Credentials, create_authority, pinned_to
from isthmus.rpc import RunningServer, Service, build_server
from isthmus.statement import StatementKind, StatementVerifier, sign
from isthmus.status import from_rpc_error
from isthmus.subjects import SubjectTokens, subject_commitment
from isthmus.terms import contract_statement_payload, document_to_terms, rfc3339, terms_to_document
from isthmus.v1 import catalog_service_pb2_grpc, consent_service_pb2_grpc, contract_service_pb2_grpc
from isthmus.v1.catalog_service_pb2 import Dataset, DatasetField, PublishDatasetRequest
from isthmus.v1.common_pb2 import FieldType, Mode, Sensitivity, SharingClass, Subject
from isthmus.v1.consent_service_pb2 import GrantConsentRequest
from isthmus.v1.contract_service_pb2 import (
    Contract,
    ContractTerms,
    ProposeContractRequest,
    SignContractRequest,
)

DOMAIN = "data.example"
REGISTRY, EDUCATION, TAX = "civil-registry", "education", "tax"
PERSON = "departments/civil-registry/datasets/person"
PURPOSE, OTHER_PURPOSE = "义务教育入学资格核验", "学籍信息核对"
RESIDENT = "110101199003072316"


def party(role: Role, department: str | None = None, name: str = "one") -> Identity:
    return Identity(DOMAIN, role, department, name)


GATEWAY = party(Role.GATEWAY, name="main")
PROVIDER = party(Role.OFFICER, REGISTRY)
CONSUMER = party(Role.OFFICER, EDUCATION)
OUTSIDER = party(Role.OFFICER, TAX)
NODE = party(Role.NODE, REGISTRY)
SYSTEM = party(Role.SYSTEM, EDUCATION, "enrolment")
PORTAL = party(Role.PORTAL, name="citizen")
COUNTER = party(Role.PORTAL, name="counter-7")
AUDITOR = party(Role.AUDITOR)
OPERATOR = party(Role.OPERATOR)

STUBS: dict[str, Any] = {
    "Catalog": catalog_service_pb2_grpc.CatalogServiceStub,
    "Contract": contract_service_pb2_grpc.ContractServiceStub,
    "Consent": consent_service_pb2_grpc.ConsentServiceStub,
}


class World:
    """The control plane and its users. `now` is everybody's clock."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        # TLS reads the machine's own clock, so certificates begin with the world however far `now` moves on.
        self._began = self.now
        self._authority = create_authority(DOMAIN, now=self.now)
        self._credentials: dict[Identity, Credentials] = {}
        self._channels: dict[Identity, grpc.Channel] = {}
        self.ledger = Ledger.open(
            f"sqlite:///{folder / 'ledger.db'}",
            log_key=SignerKey.generate("log.data.example/test"),
            pin=folder / "pin",
            clock=self.clock,
            metadata=[METADATA],
        )
        self.tokens = SubjectTokens({1: b"\1" * 32, 2: b"\2" * 32}, current=2)
        self.control = Control(self.ledger, clock=self.clock, policy_digest="00" * 32)
        anchors = self.credentials(GATEWAY).ca_certificates
        self.verifier = StatementVerifier(anchors, DOMAIN, clock=self.clock)
        self._server: RunningServer | None = None

    def clock(self) -> datetime:
        return self.now

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        if self._server is not None:
            self._server.stop(0)
        self.ledger.close()

    def credentials(self, identity: Identity) -> Credentials:
        """The party's certificate and key; made on first use, valid as long as the authority."""
        if identity not in self._credentials:
            issued = self._authority.issue(identity, now=self._began, lifetime=timedelta(days=350))
            ca = self._authority.certificate
            self._credentials[identity] = Credentials(
                issued.certificate.public_bytes(Encoding.PEM),
                issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                ca.public_bytes(Encoding.PEM),
                issued.key,
                issued.certificate,
                (ca,),
            )
        return self._credentials[identity]

    def renew(self, identity: Identity) -> Credentials:
        """A new certificate for the same party; returns the old one."""
        old = self._credentials.pop(identity)
        if (channel := self._channels.pop(identity, None)) is not None:
            channel.close()
        return old

    def rpc(self, identity: Identity, method: str, request: Any) -> Any:
        """Calls a method as `identity` over mutual TLS; raises the typed error of a refusal."""
        stubs = (make(self._channel(identity)) for make in STUBS.values())
        stub = next(each for each in stubs if hasattr(each, method))
        try:
            return getattr(stub, method)(request, timeout=20)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def records(self) -> list[AccessRecord]:
        """Every record of the log, in order."""
        with self.ledger.read() as conn:
            return [AccessRecord.parse(leaf) for leaf in conn.execute(_ALL_LEAVES).scalars()]

    def everything_at_rest(self) -> str:
        """All that the control tables and the log hold, as text."""
        with self.ledger.read() as conn:
            tables = [*METADATA.sorted_tables, records]
            return "\n".join(str(row) for table in tables for row in conn.execute(sa.select(table)))

    def _channel(self, identity: Identity) -> grpc.Channel:
        if self._server is None:
            self._server = self._serve()
        if identity not in self._channels:
            self._channels[identity] = grpc.secure_channel(
                f"127.0.0.1:{self._server.port}",
                self.credentials(identity).channel_credentials(),
                options=pinned_to(GATEWAY),
            )
        return self._channels[identity]

    def _serve(self) -> RunningServer:
        known = {f"departments/{REGISTRY}": KnownDepartment("民政局", has_node=True)}
        consents = ConsentService(
            self.control,
            verifier=self.verifier,
            tokens=self.tokens,
            credentials=self.credentials(GATEWAY),
        )
        server = build_server(
            services=[
                Service(
                    CatalogService(self.control, known),
                    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
                ),
                Service(
                    ContractService(self.control, verifier=self.verifier),
                    contract_service_pb2_grpc.add_ContractServiceServicer_to_server,
                ),
                Service(consents, consent_service_pb2_grpc.add_ConsentServiceServicer_to_server),
            ],
            credentials=self.credentials(GATEWAY),
            trust_domain=DOMAIN,
            clock=self.clock,
            registry=CollectorRegistry(),
            address="127.0.0.1:0",
            authorise=ControlAuthoriser(),
            threads=8,
        )
        server.start()
        return server

    # ---- What the parties say

    def publish(self, **changes: Any) -> Dataset:
        request = PublishDatasetRequest(dataset=person(**changes))
        published: Dataset = self.rpc(PROVIDER, "PublishDataset", request).dataset
        return published

    def propose(
        self, contract_id: str = "edu-person", *, by: Identity = CONSUMER, **changes: Any
    ) -> Contract:
        request = ProposeContractRequest(
            contract_id=contract_id, terms=self.terms(**changes), reason="招生季"
        )
        proposed: Contract = self.rpc(by, "ProposeContract", request).contract
        return proposed

    def terms(self, **changes: Any) -> ContractTerms:
        """Terms for the person dataset, from now on for 100 days; `changes` replace members of the document."""
        document: dict[str, Any] = {
            "provider": f"departments/{REGISTRY}",
            "consumer": f"departments/{EDUCATION}",
            "systems": [f"departments/{EDUCATION}/systems/enrolment"],
            "dataset": PERSON,
            "fields": [
                {"name": "姓名", "transform": "mask:1"},
                {"name": "birth_date", "transform": "bucket:year"},
            ],
            "purposes": [PURPOSE, OTHER_PURPOSE],
            "legal_basis": "CONSENT",
            "legal_citation": "《个人信息保护法》第十三条第一款第一项",
            "modes": ["QUERY", "VERIFY"],
            "not_before": rfc3339(self.now),
            "not_after": rfc3339(self.now + timedelta(days=100)),
            "retention_days": 30,
        }
        return document_to_terms({**document, **changes})

    def signature(self, signer: Identity, contract: Contract, **changes: Any) -> str:
        """The signer's statement over the contract; `changes` replace members of the payload."""
        payload = contract_statement_payload(
            contract=contract.name,
            department=f"departments/{signer.department}",
            terms=terms_to_document(contract.terms),
            signed_at=self.now,
        )
        return sign({**payload, **changes}, StatementKind.CONTRACT, self.credentials(signer))

    def sign(self, signer: Identity, contract: Contract) -> Contract:
        request = SignContractRequest(name=contract.name, statement=self.signature(signer, contract))
        signed: Contract = self.rpc(signer, "SignContract", request).contract
        return signed

    def agree(self, contract_id: str = "edu-person", **changes: Any) -> Contract:
        """A contract that both departments have signed."""
        contract = self.propose(contract_id, **changes)
        self.sign(CONSUMER, contract)
        return self.sign(PROVIDER, contract)

    def consent(
        self, contract: Contract, *, resident: str = RESIDENT, by: Identity = PORTAL, **changes: Any
    ) -> GrantConsentRequest:
        """What a portal sends when a person consents; `changes` replace members of the statement."""
        nonce = secrets.token_bytes(32)
        stated = ConsentStatement(
            consent=str(ConsentName.new()),
            contract=contract.name,
            terms_digest=contract.terms_digest,
            subject_commitment=subject_commitment(nonce, "cn.resident-id", resident),
            purposes=(PURPOSE,),
            fields=("姓名",),
            modes=("QUERY",),
            not_before=self.now,
            not_after=self.now + timedelta(days=30),
            grantor="SELF",
            collection="ONLINE",
            evidence_reference="",
            notice={"uri": "https://portal.data.example/告知书/1", "sha256": "ab" * 32, "language": "zh-CN"},
            stated_at=self.now,
        )
        document = replace(stated, **changes).document()
        return GrantConsentRequest(
            subject=Subject(scheme="cn.resident-id", id=resident),
            subject_nonce=nonce,
            statement=sign(document, StatementKind.CONSENT, self.credentials(by)),
        )


_ALL_LEAVES = sa.select(records.c.leaf).order_by(records.c.idx)


def person(**changes: Any) -> Dataset:
    """The catalogue entry of the civil registry's person dataset."""
    members: dict[str, Any] = {
        "name": PERSON,
        "title": "人口基础信息",
        "description": "户籍人口的基础信息",
        "fields": [
            DatasetField(
                name="姓名",
                title="姓名",
                type=FieldType.FIELD_TYPE_STRING,
                sensitivity=Sensitivity.SENSITIVITY_PERSONAL,
                transforms=["mask:1", "hash"],
            ),
            DatasetField(name="birth_date", type=FieldType.FIELD_TYPE_DATE, transforms=["bucket:month"]),
            DatasetField(name="city", title="城市", type=FieldType.FIELD_TYPE_STRING),
        ],
        "subject_scheme": "cn.resident-id",
        "subject_normalisers": ["strip-quotes", "upper"],
        "sharing_class": SharingClass.SHARING_CLASS_CONDITIONAL,
        "conditions": ["仅用于行政许可与公共服务"],
        "purposes": [PURPOSE, OTHER_PURPOSE],
        "update_frequency": "每日",
        "format": "relational",
        "modes": [Mode.MODE_QUERY, Mode.MODE_VERIFY, Mode.MODE_BATCH],
        "grade": "一般数据三级",
    }
    return Dataset(**{**members, **changes})


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world that is taken down at the end."""
    world = World(folder)
    try:
        yield world
    finally:
        world.close()
