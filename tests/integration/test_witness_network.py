"""A peer without an end, and a crowd that never finishes asking: neither silences a witness or the service that asks it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry

import audit.http_server
from audit.config import AuditConfig, WitnessEntry, WitnessingSettings
from audit.http import HttpPost, Unreachable
from audit.http_server import HttpServer
from audit.witness.app import WitnessApp
from audit.witness.metrics import WitnessMetrics
from audit.witness.protocol import MAX_REQUEST_BYTES, PATH
from tests.integration.audit_world import AuditWorld
from tests.unit.audit.ledger_world import append, decision
from tests.unit.audit.witness_world import SIGNER, History, leaves, utc_now, witness_in

pytestmark = pytest.mark.integration


# ---- A peer that has no end


@contextmanager
def raw_peer(first: bytes, again: bytes, *, every: float) -> Iterator[str]:
    """Its address; it answers with `first`, and then with `again` for as long as anybody listens."""
    listening, stopping = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.recv(65_536)
                    peer.sendall(first)
                    while not stopping.wait(every):
                        peer.sendall(again)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        stopping.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


ENDLESS = [
    (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.05),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=", b"a", 0.05),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.05),
]


@pytest.mark.parametrize(("first", "again", "every"), ENDLESS)
def test_a_peer_that_drips_headers_interim_answers_or_chunks_is_cut_off_in_time(
    first: bytes, again: bytes, every: float
) -> None:
    outcome: list[object] = []

    def ask(url: str) -> None:
        try:
            outcome.append(HttpPost(0.3)(url, b"x", kind="text/plain", most=100_000))
        except Unreachable as error:
            outcome.append(error)

    with raw_peer(first, again, every=every) as url:
        asking = threading.Thread(target=ask, args=(url,), daemon=True)
        asking.start()
        asking.join(3)
        assert not asking.is_alive(), "it is still listening"
    assert isinstance(outcome[0], Unreachable)


def test_a_truncated_answer_is_none() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    with raw_peer(said, b"", every=0.2) as url, pytest.raises(Unreachable):
        HttpPost(0.5)(url, b"x", kind="text/plain", most=100)


def test_closing_cuts_off_what_is_under_way_and_nothing_more_is_sent() -> None:
    post = HttpPost(60.0)
    with raw_peer(b"HTTP/1.1 200 OK\r\nX: ", b"a", every=0.05) as url:
        threading.Timer(0.2, post.close).start()
        started = time.monotonic()
        with pytest.raises(Unreachable):
            post(url, b"x", kind="text/plain", most=100)
        with pytest.raises(Unreachable, match="nothing more"):
            post(url, b"x", kind="text/plain", most=100)
    assert time.monotonic() - started < 5


def test_a_witness_that_never_ends_does_not_keep_the_service_from_stopping(tmp_path: Path) -> None:
    with raw_peer(b"HTTP/1.1 200 OK\r\nX: ", b"a", every=0.05) as url:
        entry = WitnessEntry(name="slow", vkey=SIGNER.verifier.encode(), url=url)

        class World(AuditWorld):
            def config(self) -> AuditConfig:
                pace = WitnessingSettings(interval_s=0.05, timeout_s=60)
                return replace(super().config(), witnesses=(entry,), witnessing=pace)

        world = World(tmp_path)
        append(world.server.ledger, decision())
        time.sleep(0.3)
        stopping = threading.Thread(target=world.close, daemon=True)
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()


def tls_files(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate of this host that is its own authority, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    own = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    own = own.serial_number(7).not_valid_before(utc_now() - timedelta(days=1))
    own = own.not_valid_after(utc_now() + timedelta(days=1))
    own = own.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
    own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem, private = folder / f"{host}.pem", folder / f"{host}.key"
    pem.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem, private


@contextmanager
def tls_peer(files: tuple[Path, Path]) -> Iterator[str]:
    """Somebody who answers `yes` over TLS; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(peer, server_side=True) as secure:
                    asked = b""
                    while not asked.endswith(b"\r\n\r\nx"):
                        asked += secure.recv(65_536) or b"\r\n\r\nx"
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
            except OSError:
                peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def test_over_https_only_the_host_that_was_meant_is_spoken_to(tmp_path: Path) -> None:
    right, wrong = tls_files(tmp_path, "localhost"), tls_files(tmp_path, "other.example")
    with tls_peer(right) as url:
        assert HttpPost(5.0, right[0])(url, b"x", kind="text/plain", most=9).body == b"yes"
        for ca in (wrong[0], None):
            with pytest.raises(Unreachable, match="SSLCertVerificationError"):
                HttpPost(5.0, ca)(url, b"x", kind="text/plain", most=9)
    with tls_peer(wrong) as url, pytest.raises(Unreachable, match="SSLCertVerificationError"):
        HttpPost(5.0, wrong[0])(url, b"x", kind="text/plain", most=9)


def test_a_handshake_that_drips_is_cut_off_in_time() -> None:
    # The head of a TLS record of 16 KiB, and then a byte of it now and then.
    with raw_peer(b"\x16\x03\x03\x40\x00\x02", b"\x00", every=0.05) as url:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            HttpPost(0.3)(url.replace("http:", "https:"), b"x", kind="text/plain", most=9)
        assert time.monotonic() - started < 3


# ---- A witness that is flooded


def test_connections_that_never_finish_their_request_do_not_silence_a_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.http_server, "_REQUEST_S", 2.0, raising=False)
    app = WitnessApp(witness_in(tmp_path), WitnessMetrics(CollectorRegistry(), ("l",)))
    server = HttpServer("127.0.0.1:0", app, name="witness", max_body_bytes=MAX_REQUEST_BYTES)
    history, stopping = History(leaves(9)), threading.Event()
    slow: list[socket.socket] = []
    for each in range(110):
        connection = socket.socket()
        connection.bind((f"127.0.0.{2 + each % 2}", 0))
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nX: ")
        slow.append(connection)

    def drip() -> None:
        while not stopping.wait(0.2):
            for connection in slow:
                try:
                    connection.sendall(b"a")
                except OSError:
                    pass

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    try:
        answer = HttpPost(8.0)(
            f"http://127.0.0.1:{server.port}{PATH}", history.request(0), kind="text/plain", most=65_536
        )
        assert answer.status == 200
    finally:
        stopping.set()
        dripping.join()
        for connection in slow:
            connection.close()
        server.close()


def test_one_address_cannot_take_every_connection(tmp_path: Path) -> None:
    app = WitnessApp(witness_in(tmp_path), WitnessMetrics(CollectorRegistry(), ("l",)))
    server = HttpServer("127.0.0.1:0", app, name="witness", max_body_bytes=MAX_REQUEST_BYTES)
    slow: list[socket.socket] = []
    for _ in range(110):
        connection = socket.socket()
        connection.bind(("127.0.0.2", 0))
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"POST")
        slow.append(connection)
    try:
        url = f"http://127.0.0.1:{server.port}{PATH}"
        answer = HttpPost(5.0)(url, History(leaves(9)).request(0), kind="text/plain", most=65_536)
        assert answer.status == 200
    finally:
        for connection in slow:
            connection.close()
        server.close()


def test_showing_a_public_checkpoint_again_writes_nothing(tmp_path: Path) -> None:
    witness, history = witness_in(tmp_path), History(leaves(9))
    first = witness.add_checkpoint(history.request(0))
    path = tmp_path / "witness.db"
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    for _ in range(3):
        assert witness.add_checkpoint(history.request(9)).split()[:2] == first.split()[:2]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
