"""A timestamp authority (RFC 3161) that is `openssl ts` behind a small HTTP server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.http_peer import Said, http_peer

_CONFIG = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[stamper]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = here
[here]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """A root, and an authority under it, in a folder. `roots` is what its users trust."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir(parents=True)
        self.folder, self.roots = folder, folder / "root.pem"
        (folder / "openssl.cnf").write_text(_CONFIG)
        (folder / "serial").write_text("01\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-config", "openssl.cnf")
        common = ("req", "-x509", *curve, "-days", "30")
        self._openssl(
            *common,
            "-subj",
            "/CN=root",
            "-keyout",
            "root.key",
            "-out",
            "root.pem",
            "-extensions",
            "authority",
        )
        signed = ("-CA", "root.pem", "-CAkey", "root.key", "-subj", "/CN=授时 tsa", "-utf8")
        self._openssl(*common, *signed, "-keyout", "tsa.key", "-out", "tsa.pem", "-extensions", "stamper")

    def reply(self, query: bytes) -> bytes:
        """The answer to a request."""
        (self.folder / "query").write_bytes(query)
        where = ("-config", "openssl.cnf", "-queryfile", "query", "-out", "reply")
        self._openssl("ts", "-reply", *where)
        return (self.folder / "reply").read_bytes()

    def verify(self, response: bytes, data: bytes) -> str:
        """What `openssl ts` itself says about a timestamp."""
        (self.folder / "response").write_bytes(response)
        (self.folder / "data").write_bytes(data)
        command = ["openssl", "ts", "-verify", "-data", "data", "-in", "response", "-CAfile", "root.pem"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, while it answers."""

        def answer(_: str, query: bytes) -> Said:
            return Said(self.reply(query), kind="application/timestamp-reply")

        with http_peer(answer) as url:
            yield url

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
