"""A party to statements: real credentials to sign with, and the tools to forge with them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jws
from joserfc.jwk import ECKey

from isthmus import pki
from isthmus.canonical import canonical_json
from isthmus.identity import Identity, Role
from isthmus.statement import StatementError, StatementFault, StatementKind, StatementVerifier, Verified, sign

DOMAIN = "data.example"
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
OFFICER = Identity(DOMAIN, Role.OFFICER, "education", "li")
PAYLOAD = {"contract": "contracts/edu-person-2026@2", "用途": "入学资格核验", "rows": 3}
KIND = StatementKind.CONTRACT
Json = dict[str, Any]


class Party:
    """An officer's credentials, the authority behind them, and the tools to forge with them."""

    def __init__(self, folder: Path) -> None:
        self.authority = pki.create_authority(DOMAIN, now=NOW)
        pki.save_authority(folder, self.authority)
        issued = self.authority.issue(OFFICER, now=NOW)
        certificate, key = pki.save_issued(folder, OFFICER, issued)
        self.credentials = pki.load_credentials(certificate, key, folder / "ca.pem")
        self.token = sign(PAYLOAD, KIND, self.credentials)
        self.verifier = StatementVerifier([self.authority.certificate], DOMAIN, clock=lambda: NOW)

    def verify(self, token: str, **options: Any) -> Verified:
        options = {"kind": KIND, "expect_role": Role.OFFICER, **options}
        return self.verifier.verify(token, **options)

    def refused(self, token: str, fault: StatementFault, **options: Any) -> str:
        with pytest.raises(StatementError) as error:
            self.verify(token, **options)
        assert error.value.fault is fault, str(error.value)
        return str(error.value)

    def header(self, leaf: x509.Certificate | None = None, **changes: Any) -> Json:
        leaf = leaf or self.credentials.certificate
        return {
            "alg": "ES256",
            "typ": KIND.value,
            "x5c": [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()],
            "x5t#S256": encode(leaf.fingerprint(hashes.SHA256())),
        } | changes

    def forge(
        self, header: bytes | Json, payload: bytes = canonical_json(PAYLOAD), *, key: Any = None
    ) -> str:
        """Signs any bytes whatever, ES256."""
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        signed = f"{encode(raw)}.{encode(payload)}".encode()
        key = key or self.credentials.key
        signature = jws.JWSRegistry.algorithms["ES256"].sign(signed, ECKey(key, key))
        return f"{signed.decode()}.{encode(signature)}"

    def certify(
        self,
        *uris: str,
        key: Any = None,
        issuer: pki.Authority | None = None,
        extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> x509.Certificate:
        issuer = issuer or self.authority
        key = key or self.credentials.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), True
            )
        )
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        return builder.sign(issuer.key, digest or hashes.SHA256())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
