"""An audit service with real certificates, real key files and a real ledger that a gateway appends to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from audit.config import AuditConfig, LedgerSettings, ServerSettings, SubjectSettings
from audit.ledger import Ledger
from audit.main import AuditServer
from isthmus.client import Client
from isthmus.identity import Identity, Role
from isthmus.pki import create_authority, file_stem, save_authority, save_issued
from isthmus.subjects import SubjectTokens, normalise
from tests.unit.audit.ledger_world import KEY, Clock

DOMAIN = "data.example"
SCHEME = "cn.resident-id"
NORMALISERS = ("strip", "upper")
RESIDENT, OTHER_RESIDENT = "11010119900307231X", "110101199003070074"
KEYS = {1: b"\1" * 32, 2: b"\2" * 32}

AUDIT = Identity(DOMAIN, Role.AUDIT, None, "main")
AUDITOR = Identity(DOMAIN, Role.AUDITOR, None, "wang")
PORTAL = Identity(DOMAIN, Role.PORTAL, None, "citizen")
OPERATOR = Identity(DOMAIN, Role.OPERATOR, None, "night")
GATEWAY = Identity(DOMAIN, Role.GATEWAY, None, "main")
EDUCATION = Identity(DOMAIN, Role.OFFICER, "education", "li")
REGISTRY = Identity(DOMAIN, Role.OFFICER, "civil-registry", "zhao")
TAX = Identity(DOMAIN, Role.OFFICER, "tax", "qian")
SYSTEM = Identity(DOMAIN, Role.SYSTEM, "education", "enrolment")
NODE = Identity(DOMAIN, Role.NODE, "civil-registry", "n1")


def token(identifier: str, epoch: int = 2) -> str:
    """The token that a gateway writes for a person."""
    return SubjectTokens(KEYS, 2).token(SCHEME, normalise(identifier, NORMALISERS), epoch=epoch)


class AuditWorld:
    """The service, the ledger as a gateway has it open, and clients for everybody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        now = datetime.now(UTC)
        self._authority = create_authority(DOMAIN, now=now)
        self._now = now
        save_authority(folder / "pki", self._authority)
        (folder / "log.key").write_text(KEY.encode())
        (folder / "log.pub").write_text(KEY.verifier.encode())
        for epoch, key in KEYS.items():
            (folder / f"subject-{epoch}.key").write_text(key.hex())
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.ledger = Ledger.open(self.url, log_key=KEY, pin=None, clock=Clock())
        self.server = AuditServer(self.config(), clock=lambda: datetime.now(UTC), registry=self.registry)
        self.server.start()
        self._clients: dict[Identity, Client] = {}

    def config(self) -> AuditConfig:
        """What audit.toml would say."""
        certificate, key = self.files(AUDIT)
        return AuditConfig(
            server=ServerSettings(
                address="127.0.0.1:0",
                trust_domain=DOMAIN,
                certificate=certificate,
                key=key,
                ca=self.folder / "pki" / "ca.pem",
            ),
            ledger=LedgerSettings(
                url=self.url, log_key=self.folder / "log.key", pin=self.folder / "audit.pin"
            ),
            subjects=SubjectSettings(
                current=2,
                keys={str(epoch): self.folder / f"subject-{epoch}.key" for epoch in KEYS},
                schemes={SCHEME: NORMALISERS},
            ),
        )

    def files(self, identity: Identity) -> tuple[Path, Path]:
        """The certificate and key files of a party, made on first use."""
        directory = self.folder / "pki"
        stem = file_stem(identity)
        if not (directory / f"{stem}.pem").exists():
            issued = self._authority.issue(identity, now=self._now, lifetime=timedelta(days=30))
            save_issued(directory, identity, issued)
        return directory / f"{stem}.pem", directory / f"{stem}.key"

    def client(self, identity: Identity) -> Client:
        """A client that is this party."""
        if identity not in self._clients:
            certificate, key = self.files(identity)
            self._clients[identity] = Client(
                f"127.0.0.1:{self.server.port}",
                cert=certificate,
                key=key,
                ca=self.folder / "pki" / "ca.pem",
                server=AUDIT,
            )
        return self._clients[identity]

    def audit(self, identity: Identity) -> Any:
        """The audit methods of a party's client."""
        return self.client(identity).audit

    def close(self) -> None:
        """Stop everything."""
        for client in self._clients.values():
            client.close()
        self.server.stop(0)
        self.ledger.close()


@contextmanager
def audit_world_in(folder: Path) -> Iterator[AuditWorld]:
    """A world that ends with the test."""
    world = AuditWorld(folder)
    try:
        yield world
    finally:
        world.close()
