"""Which certificate a department's node presents, read from a TLS handshake of its own.

gRPC tells a client whether the other side is who it should be, and not by which certificate. A stream must not begin with
a node whose certificate was denied, and the receipt, which names it, comes last.
"""

import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from gateway.departments import Node
from isthmus.identity import server_name

Peer = Callable[[Node], str]
"""Returns the thumbprint of the certificate that a node presents; raises OSError."""


def peer_reader(certificate: Path, key: Path, ca: Path, *, timeout: float) -> Peer:
    """Returns what reads a node's certificate.

    Args:
        certificate: the gateway's own, PEM, with its `key`.
        key: its private key.
        ca: the trust anchors.
        timeout: seconds for one handshake.
    """
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])

    def read(node: Node) -> str:
        host, _, port = node.address.rpartition("/")[2].rpartition(":")
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=server_name(node.identity)) as secure,
        ):
            presented = secure.getpeercert(binary_form=True)
        if presented is None:
            raise ssl.SSLError("the node presented no certificate")
        return hashlib.sha256(presented).hexdigest()

    return read
