"""The demonstration's certificates: one authority, and one certificate for everybody who takes part."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from isthmus import pki
from isthmus.identity import Identity
from isthmus.pki import Authority, Credentials

TRUST_DOMAIN: Final = "demo.isthmus.example"
OPERATOR: Final = "/operator/duty"
AUDITOR: Final = "/auditor/inspection"
PORTAL: Final = "/portal/citizens"
GATEWAY: Final = "/gateway/main"
AUDIT: Final = "/audit/main"


class Parties:
    """Issues certificates when they are first asked for, into `directory`.

    A second authority of the same trust domain name, which nobody trusts, issues the foreign ones.
    """

    def __init__(self, directory: Path) -> None:
        now = datetime.now(UTC)
        self._directory = directory
        self._foreign_directory = directory / "foreign"
        self._authorities = {
            False: pki.create_authority(TRUST_DOMAIN, now=now),
            True: pki.create_authority(TRUST_DOMAIN, now=now),
        }
        self._credentials: dict[tuple[str, bool], Credentials] = {}
        self.ca = self._save(directory, self._authorities[False])
        self._save(self._foreign_directory, self._authorities[True])

    @staticmethod
    def _save(directory: Path, authority: Authority) -> Path:
        certificate, _ = pki.save_authority(directory, authority)
        return certificate

    def identity(self, path: str) -> Identity:
        """The identity behind a path such as `/department/tax/officer/head`."""
        return Identity.parse_path(path, trust_domain=TRUST_DOMAIN)

    def files(self, path: str, *, foreign: bool = False) -> tuple[Path, Path, Path]:
        """The certificate, key and authority files of an identity; the authority is always the trusted one."""
        self.credentials(path, foreign=foreign)
        directory = self._foreign_directory if foreign else self._directory
        stem = pki.file_stem(self.identity(path))
        return directory / f"{stem}.pem", directory / f"{stem}.key", self.ca

    def credentials(self, path: str, *, foreign: bool = False) -> Credentials:
        """The credentials of an identity.

        Args:
            path: of the identity.
            foreign: issued by the authority that nobody trusts; the trust anchor is still the demonstration's.
        """
        if (path, foreign) not in self._credentials:
            directory = self._foreign_directory if foreign else self._directory
            identity = self.identity(path)
            issued = self._authorities[foreign].issue(identity, now=datetime.now(UTC))
            certificate, key = pki.save_issued(directory, identity, issued)
            self._credentials[path, foreign] = pki.load_credentials(certificate, key, self.ca)
        return self._credentials[path, foreign]


DATA_OFFICE: Final = "data-office"
HEAD: Final = "head"
"""Another officer than the one who submits: a rule pack may ask for two (双人复核)."""


def officer(department: str, name: str = DATA_OFFICE) -> str:
    """The identity path of one of a department's officers."""
    return f"/department/{department}/officer/{name}"


def node(department: str) -> str:
    """The identity path of a department's node."""
    return f"/department/{department}/node/main"
