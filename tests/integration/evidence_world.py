"""A case from a real gateway, a real node and a real audit service, and the bundle that proves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

import gateway.policy
from audit.config import AuditConfig, EvidenceSettings, LedgerSettings, ServerSettings, SubjectSettings
from audit.evidence.archive import pack, unpack
from audit.evidence.manifest import MANIFEST, Manifest
from audit.main import AuditServer
from audit.tlog.keys import VerifierKey
from isthmus.canonical import canonical_json, parse_canonical, sha256_hex
from isthmus.client import Client
from isthmus.errors import Denied
from isthmus.identity import Identity, Role
from isthmus.pki import file_stem
from isthmus.v1.contract_service_pb2 import Contract
from tests.integration.exchange_parties import AUDITOR, DOMAIN
from tests.integration.exchange_world import World, world_in

AUDIT = Identity(DOMAIN, Role.AUDIT, None, "main")
REASON = "行政复议 (2026) 第7号"
SCHEME = "cn.resident-id"
POLICIES = Path(gateway.policy.__path__[0])


class EvidenceWorld:
    """The network of the exchange tests with an audit service over its ledger."""

    def __init__(self, exchanges: World) -> None:
        self.exchanges = exchanges
        self.folder = exchanges.folder
        exchanges.credentials(AUDIT)
        exchanges.credentials(AUDITOR)
        self.server = AuditServer(
            self._config(), clock=lambda: datetime.now(UTC), registry=CollectorRegistry()
        )
        self.server.start()
        self.vkey = self.folder / "log.vkey"
        self.vkey.write_text(self.key.encode(), encoding="utf-8")
        self.ca = self.folder / "pki" / "ca.pem"
        self._clients: dict[Identity, Client] = {}

    @property
    def key(self) -> VerifierKey:
        return self.server.ledger.verifier_key

    def _config(self) -> AuditConfig:
        pki, secret = self.folder / "pki", self.folder / "secrets"
        stem = file_stem(AUDIT)
        return AuditConfig(
            server=ServerSettings(
                address="127.0.0.1:0",
                trust_domain=DOMAIN,
                certificate=pki / f"{stem}.pem",
                key=pki / f"{stem}.key",
                ca=pki / "ca.pem",
            ),
            ledger=LedgerSettings(url=f"sqlite:///{self.folder / 'ledger.db'}", log_key=secret / "log.key"),
            subjects=SubjectSettings(
                current=1, keys={"1": secret / "subject-1.key"}, schemes={SCHEME: ("strip", "upper")}
            ),
            evidence=EvidenceSettings(policies=(POLICIES,)),
        )

    def client(self, identity: Identity = AUDITOR) -> Client:
        """A client of the audit service that is this party."""
        if identity not in self._clients:
            self.exchanges.credentials(identity)
            stem = self.folder / "pki" / file_stem(identity)
            self._clients[identity] = Client(
                f"127.0.0.1:{self.server.port}",
                cert=f"{stem}.pem",
                key=f"{stem}.key",
                ca=self.ca,
                server=AUDIT,
            )
        return self._clients[identity]

    def happen(self) -> Contract:
        """A contract, a consent, two releases, a withdrawal and a refusal."""
        contract = self.exchanges.agree()
        consent = self.exchanges.consent(contract)
        for _ in range(2):
            self.exchanges.query()
        self.exchanges.withdraw(consent)
        try:
            self.exchanges.query()
        except Denied:
            return contract
        raise AssertionError("a withdrawn consent must not be enough")

    def bundle(self, filter_: str = "kind = DECISION", **options: Any) -> bytes:
        """The bundle of a case, as the auditor receives it."""
        parts = self.client().audit.evidence(filter_, reason=REASON, **options)
        return b"".join(part.data for part in parts)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.server.stop(0)


@contextmanager
def evidence_world_in(folder: Path) -> Iterator[EvidenceWorld]:
    """A world that ends with the test."""
    with world_in(folder) as exchanges:
        world = EvidenceWorld(exchanges)
        try:
            yield world
        finally:
            world.close()


def repacked(data: bytes, **changes: bytes | None) -> bytes:
    """A bundle by somebody who knows its form: files replaced, added or (None) left out, and the manifest made to fit."""
    files: dict[str, bytes | None] = {**unpack(data), **changes}
    kept = {name: content for name, content in files.items() if content is not None}
    members = parse_canonical(kept[MANIFEST])
    members["files"] = {name: sha256_hex(content) for name, content in kept.items() if name != MANIFEST}
    return pack({**kept, MANIFEST: canonical_json(members)})


def manifest_of(data: bytes) -> Manifest:
    return Manifest.parse(unpack(data)[MANIFEST])
