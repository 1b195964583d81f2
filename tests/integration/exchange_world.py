"""A whole exchange on one machine: a real gateway, a real node with a database, a real ledger, mutual TLS between."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from audit.ledger.schema import records
from audit.record import AccessRecord, Kind
from audit.tlog.keys import SignerKey
from gateway.config import (
    Config,
    DepartmentSection,
    ExchangeSection,
    LedgerSection,
    MetricsSection,
    PolicySection,
    ServerSection,
    SubjectsSection,
)
from gateway.main import Gateway
from isthmus.consent_statement import ConsentStatement
from isthmus.identity import Identity
from isthmus.names import ConsentName
from isthmus.pki import Credentials, create_authority, file_stem, load_credentials, pinned_to, save_issued
from isthmus.statement import StatementKind, sign
from isthmus.status import from_rpc_error
from isthmus.subjects import subject_commitment
from isthmus.terms import (
    contract_statement_payload,
    terms_to_document,
)
from isthmus.v1 import (
    catalog_service_pb2_grpc,
    consent_service_pb2_grpc,
    contract_service_pb2_grpc,
    exchange_service_pb2_grpc,
)
from isthmus.v1.catalog_service_pb2 import PublishDatasetRequest
from isthmus.v1.common_pb2 import Subject
from isthmus.v1.consent_service_pb2 import Consent, GrantConsentRequest, WithdrawConsentRequest
from isthmus.v1.contract_service_pb2 import (
    Contract,
    ProposeContractRequest,
    SignContractRequest,
    SuspendContractRequest,
)
from isthmus.v1.exchange_service_pb2 import (
    ExplainRequest,
    ExplainResponse,
    QueryResponse,
    VerifyResponse,
)
from services.manifest_file import load_manifest
from services.node import Node
from tests.integration.exchange_parties import (
    CONSUMER,
    DOMAIN,
    GATEWAY,
    MANIFEST,
    NODE,
    PORTAL,
    PROVIDER,
    PURPOSE,
    REGISTRY,
    RESIDENT,
    SYSTEM,
    VETERANS,
    make_database,
    now,
    query,
    terms,
    verify,
)


class World:
    """The parties and what they do. Everybody's clock is the real one."""

    def __init__(self, folder: Path, *, exchange: ExchangeSection | None = None) -> None:
        self.folder = folder
        self.authority = create_authority(DOMAIN, now=datetime.now(UTC))
        self._lock = threading.RLock()
        self._credentials: dict[Identity, Credentials] = {}
        self._channels: dict[Identity, grpc.Channel] = {}
        for identity in (GATEWAY, NODE):
            self.credentials(identity)
        make_database(folder / "people.db")
        text = MANIFEST.format(node=file_stem(NODE))
        (folder / "department.toml").write_text(text, encoding="utf-8")
        self.manifest = load_manifest(folder / "department.toml", environ={})
        self.node: Node | None = Node(self.manifest, clock=now, registry=CollectorRegistry())
        self.node.start()
        self.config = self._config(self.node.port, exchange or ExchangeSection(fetch_timeout_seconds=20))
        self.registry = CollectorRegistry()
        self.gateway = Gateway(self.config, clock=now, registry=self.registry)
        self.gateway.start()
        self._serving = True
        self._offer()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self.stop_gateway()
        self.stop_node()

    def stop_node(self) -> None:
        if self.node is not None:
            self.node.stop(grace=0)
            self.node = None

    def stop_gateway(self) -> None:
        if self._serving:
            self._serving = False
            self.gateway.stop()

    def restart_gateway(self, **sections: Any) -> None:
        """Stops the gateway, changes sections of its configuration and starts it again."""
        self.stop_gateway()
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        self.config = replace(self.config, **sections)
        self.registry = CollectorRegistry()
        self.gateway = Gateway(self.config, clock=now, registry=self.registry)
        self.gateway.start()
        self._serving = True

    def use_node(self, port: int) -> None:
        """Lets the gateway find the registry's node at another port."""
        section = replace(self.config.departments[REGISTRY], address=f"127.0.0.1:{port}")
        self.restart_gateway(departments={**self.config.departments, REGISTRY: section})

    def credentials(self, identity: Identity) -> Credentials:
        """The party's certificate and key; issued on first use."""
        with self._lock:
            return self._issue(identity)

    def _issue(self, identity: Identity) -> Credentials:
        if identity not in self._credentials:
            pki = self.folder / "pki"
            issued = self.authority.issue(identity, now=datetime.now(UTC))
            certificate, key = save_issued(pki, identity, issued)
            (pki / "ca.pem").write_bytes(_pem(self.authority.certificate))
            self._credentials[identity] = load_credentials(certificate, key, pki / "ca.pem")
        return self._credentials[identity]

    def channel(self, identity: Identity) -> grpc.Channel:
        """A connection to the gateway as the party; made on first use."""
        with self._lock:
            return self._dial(identity)

    def _dial(self, identity: Identity) -> grpc.Channel:
        if identity not in self._channels:
            self._channels[identity] = grpc.secure_channel(
                f"127.0.0.1:{self.gateway.port}",
                self.credentials(identity).channel_credentials(),
                options=pinned_to(GATEWAY),
            )
        return self._channels[identity]

    def _config(self, node_port: int, exchange: ExchangeSection) -> Config:
        pki, secret = self.folder / "pki", self.folder / "secrets"
        secret.mkdir()
        (secret / "log.key").write_text(SignerKey.generate("log.data.example/test").encode())
        (secret / "subject-1.key").write_text("11" * 32)
        stem = file_stem(GATEWAY)
        return Config(
            server=ServerSection(
                address="127.0.0.1:0",
                trust_domain=DOMAIN,
                certificate=pki / f"{stem}.pem",
                key=pki / f"{stem}.key",
                ca=pki / "ca.pem",
                threads=64,
                grace_seconds=5,
            ),
            ledger=LedgerSection(
                url=f"sqlite:///{self.folder / 'ledger.db'}",
                log_key=secret / "log.key",
                pin=self.folder / "pin",
                commit_timeout_seconds=5,
            ),
            subjects=SubjectsSection(keys={"1": secret / "subject-1.key"}),
            metrics=MetricsSection(port=0),
            policy=PolicySection(),
            exchange=exchange,
            departments={
                REGISTRY: DepartmentSection(title="民政局", address=f"127.0.0.1:{node_port}", node=NODE.name),
                VETERANS: DepartmentSection(title="退役军人事务局"),
            },
        )

    def _offer(self) -> None:
        stub = catalog_service_pb2_grpc.CatalogServiceStub(self.channel(PROVIDER))
        for dataset in self.manifest.datasets_proto():
            stub.PublishDataset(PublishDatasetRequest(dataset=dataset), timeout=20)

    # ---- What the parties do

    def call(self, stub: Any, identity: Identity, method: str, request: Any, *, timeout: float = 20) -> Any:
        """Calls a method as `identity`; raises the typed error of a refusal."""
        try:
            return getattr(stub(self.channel(identity)), method)(request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def agree(self, contract_id: str = "person-2026", **changes: Any) -> Contract:
        """A contract that both departments have signed, in force now; `changes` replace members of the terms."""
        request = ProposeContractRequest(contract_id=contract_id, terms=terms(**changes), reason="核验")
        stub = contract_service_pb2_grpc.ContractServiceStub
        return self.sign(self.call(stub, CONSUMER, "ProposeContract", request).contract)

    def renew(self, contract: Contract, document: dict[str, Any]) -> Contract:
        """A new version of a contract that is in force, signed by both departments."""
        return self.agree(contract.contract.removeprefix("contracts/"), **document)

    def sign(self, contract: Contract) -> Contract:
        """The contract with the signatures of both departments."""
        stub = contract_service_pb2_grpc.ContractServiceStub
        for officer in (CONSUMER, PROVIDER):
            contract = self.call(
                stub,
                officer,
                "SignContract",
                SignContractRequest(name=contract.name, statement=self._signature(officer, contract)),
            ).contract
        agreed: Contract = contract
        return agreed

    def _signature(self, officer: Identity, contract: Contract) -> str:
        payload = contract_statement_payload(
            contract=contract.name,
            department=f"departments/{officer.department}",
            terms=terms_to_document(contract.terms),
            signed_at=now(),
        )
        return sign(payload, StatementKind.CONTRACT, self.credentials(officer))

    def consent(self, contract: Contract, *, resident: str = RESIDENT, **changes: Any) -> Consent:
        """A person's consent, recorded; `changes` replace members of the statement."""
        nonce, at = secrets.token_bytes(32), now()
        stated = ConsentStatement(
            consent=str(ConsentName.new()),
            contract=contract.name,
            terms_digest=contract.terms_digest,
            subject_commitment=subject_commitment(nonce, "cn.resident-id", resident),
            purposes=(PURPOSE,),
            fields=("姓名", "income", "city"),
            modes=("QUERY", "VERIFY"),
            not_before=at,
            not_after=at + timedelta(days=30),
            grantor="SELF",
            collection="ONLINE",
            evidence_reference="",
            notice={"uri": "https://portal.data.example/1", "sha256": "ab" * 32, "language": "zh-CN"},
            stated_at=at,
        )
        statement = sign(
            replace(stated, **changes).document(), StatementKind.CONSENT, self.credentials(PORTAL)
        )
        request = GrantConsentRequest(
            subject=Subject(scheme="cn.resident-id", id=resident), subject_nonce=nonce, statement=statement
        )
        stub = consent_service_pb2_grpc.ConsentServiceStub
        granted: Consent = self.call(stub, PORTAL, "GrantConsent", request).consent
        return granted

    def withdraw(self, consent: Consent) -> Consent:
        stub = consent_service_pb2_grpc.ConsentServiceStub
        request = WithdrawConsentRequest(name=consent.name)
        withdrawn: Consent = self.call(stub, PORTAL, "WithdrawConsent", request).consent
        return withdrawn

    def suspend(self, contract: Contract) -> Contract:
        stub = contract_service_pb2_grpc.ContractServiceStub
        request = SuspendContractRequest(name=contract.name, reason="核查")
        suspended: Contract = self.call(stub, PROVIDER, "SuspendContract", request).contract
        return suspended

    def query(self, *, by: Identity = SYSTEM, timeout: float = 20, **changes: Any) -> QueryResponse:
        answer: QueryResponse = self.call(
            exchange_service_pb2_grpc.ExchangeServiceStub, by, "Query", query(**changes), timeout=timeout
        )
        return answer

    def verify(self, *, by: Identity = SYSTEM, **changes: Any) -> VerifyResponse:
        answer: VerifyResponse = self.call(
            exchange_service_pb2_grpc.ExchangeServiceStub, by, "Verify", verify(**changes)
        )
        return answer

    def explain(self, *, by: Identity = SYSTEM, **changes: Any) -> ExplainResponse:
        answer: ExplainResponse = self.call(
            exchange_service_pb2_grpc.ExchangeServiceStub,
            by,
            "Explain",
            ExplainRequest(query=query(**changes)),
        )
        return answer

    # ---- What the records say

    def decisions(self) -> list[AccessRecord]:
        """The records of exchanges, in order."""
        leaves = sa.select(records.c.leaf).where(records.c.kind == Kind.DECISION.value)
        with self.gateway.ledger.read() as connection:
            found = connection.execute(leaves.order_by(records.c.idx)).scalars()
            return [AccessRecord.parse(leaf) for leaf in found]

    def size(self) -> int:
        """How many records the log holds."""
        return self.gateway.ledger.newest().size

    def sole_decision(self) -> AccessRecord:
        """The record of the only exchange there was."""
        found = self.decisions()
        assert len(found) == 1, [record.decision for record in found]
        return found[0]

    def everything_at_rest(self) -> bytes:
        """All bytes of the ledger's database, its journal included."""
        files = sorted(self.folder.glob("ledger.db*"))
        return b"".join(path.read_bytes() for path in files)


def _pem(certificate: Any) -> bytes:
    pem: bytes = certificate.public_bytes(Encoding.PEM)
    return pem


@contextmanager
def world_in(folder: Path, **options: Any) -> Iterator[World]:
    """A world that is taken down at the end."""
    world = World(folder, **options)
    try:
        yield world
    finally:
        world.close()
