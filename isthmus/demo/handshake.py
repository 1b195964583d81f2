"""Whether a server accepts a client certificate, seen below gRPC: in TLS itself."""

import socket
import ssl
from pathlib import Path
from typing import Final

from isthmus.identity import Identity, server_name

_WITHIN_S: Final = 10.0


def greets(address: str, server: Identity, *, certificate: Path, key: Path, ca: Path) -> bool:
    """Connects with a client certificate; returns whether the server then speaks.

    An HTTP/2 server speaks first: it sends its SETTINGS when the handshake is complete (RFC 9113, section 3.4). One
    that refuses the client's certificate ends the connection instead. In TLS 1.3 a client learns of that only when
    it reads, since the server checks the certificate last.

    Args:
        address: `host:port`.
        server: who must answer; it is authenticated first, so the refusal is its own.
        certificate, key: the client's, PEM.
        ca: the authority that issued the server's certificate, PEM.

    Raises:
        OSError: nobody listens at the address, or somebody else than `server`.
    """
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_WITHIN_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=server_name(server)) as secured:
                return secured.recv(1) != b""
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return False
