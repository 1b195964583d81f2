"""The audit service believes nothing that a witness says until it has verified it, and waits for nobody for ever."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from audit.http import HttpPost, Unreachable, check_url
from audit.http_server import HttpServer
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.note import open_note, split_note
from audit.witness.app import WitnessApp
from audit.witness.client import NotCosigned, Trouble, WitnessClient
from audit.witness.metrics import WitnessMetrics
from audit.witness.protocol import MAX_REQUEST_BYTES, PATH, SIZE_TYPE
from tests.integration.http_peer import Said, http_peer
from tests.unit.audit.witness_world import LOG, SIGNER, History, leaves, utc_now, witness_in

pytestmark = pytest.mark.integration

HISTORY = History(leaves(9))
NOTE = HISTORY.note()


def client_of(url: str, *, timeout: float = 5.0) -> WitnessClient:
    """A client of the witness at this address."""
    return WitnessClient("office", SIGNER.verifier, url, HttpPost(timeout), utc_now)


def trouble_with(answer: Said, *, last: int = 0, timeout: float = 5.0) -> Trouble:
    """What a client makes of an answer."""
    with http_peer(lambda *_: answer) as url, pytest.raises(NotCosigned) as caught:
        client_of(url, timeout=timeout).cosign(NOTE, 9, last=last, proof=HISTORY.proof)
    return caught.value.trouble


def line(signer: CosignerSigner = SIGNER, note: bytes = NOTE, **ago: float) -> bytes:
    """A cosignature, made so long ago."""
    return signer.cosign(split_note(note)[0], utc_now() - timedelta(**ago)).line().encode()


@pytest.fixture
def server(tmp_path: Path) -> HttpServer:
    app = WitnessApp(witness_in(tmp_path), WitnessMetrics(CollectorRegistry(), (LOG.verifier.name,)))
    return HttpServer("127.0.0.1:0", app, name="witness", max_body_bytes=MAX_REQUEST_BYTES)


def test_a_client_goes_on_from_where_the_witness_stands(server: HttpServer) -> None:
    try:
        client = client_of(f"http://127.0.0.1:{server.port}/")
        for size, last in ((3, 0), (7, 0), (9, 3), (9, 9), (9, 0)):
            note = HISTORY.note(size)
            signature = client.cosign(note, size, last=last, proof=HISTORY.proof)
            assert open_note(note + signature.line().encode(), [SIGNER.verifier])
    finally:
        server.close()


def test_a_rolled_back_and_a_forked_log_are_told_apart(server: HttpServer) -> None:
    try:
        client = client_of(f"http://127.0.0.1:{server.port}")
        client.cosign(NOTE, 9, last=0, proof=HISTORY.proof)
        with pytest.raises(NotCosigned, match="rolled back") as rolled:
            client.cosign(HISTORY.note(5), 5, last=0, proof=HISTORY.proof)
        fork = History(leaves(12, fork_at=3))
        with pytest.raises(NotCosigned, match="rewritten") as forked:
            client.cosign(fork.note(), 12, last=9, proof=fork.proof)
        twin = History(leaves(9, fork_at=3))
        with pytest.raises(NotCosigned) as same_size:
            client.cosign(twin.note(), 9, last=0, proof=twin.proof)
        troubles = [each.value.trouble for each in (rolled, forked, same_size)]
        assert troubles == [Trouble.ROLLED_BACK, Trouble.FORKED, Trouble.FORKED]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (Said(b""), Trouble.INVALID),
        (Said(b"hello\n"), Trouble.INVALID),
        (Said(b"\xff\n"), Trouble.INVALID),
        (Said(line(CosignerSigner.from_seed(SIGNER.verifier.name, bytes(32)))), Trouble.INVALID),
        (Said(line(note=HISTORY.note(8))), Trouble.INVALID),
        (Said(line(minutes=10)), Trouble.INVALID),
        (Said(line(hours=-10)), Trouble.INVALID),
        (Said(line()[:-10] + b"AAAAAAAA=\n"), Trouble.INVALID),
        (Said(line() + b"\n" + line()), Trouble.INVALID),
        (Said(b"x" * 100_000), Trouble.UNREACHABLE),
        (Said(b"no", 400), Trouble.REFUSED),
        (Said(b"no", 403), Trouble.REFUSED),
        (Said(b"no", 404), Trouble.REFUSED),
        (Said(b"", 302, headers={"Location": "http://127.0.0.1:1/"}), Trouble.REFUSED),
        (Said(b"no", 409), Trouble.FORKED),
        (Said(b"0\n", 409, SIZE_TYPE), Trouble.FORKED),
        (Said(b"nine\n", 409, SIZE_TYPE), Trouble.INVALID),
        (Said(b"4\n", 409, f"{SIZE_TYPE}; charset=utf-8"), Trouble.FORKED),
        (Said(b"10\n", 409, SIZE_TYPE), Trouble.ROLLED_BACK),
        (Said(b"no", 422), Trouble.FORKED),
        (Said(b"no", 500), Trouble.UNREACHABLE),
        (Said(b"no", 503), Trouble.UNREACHABLE),
    ],
)
def test_whatever_a_witness_answers_is_no_cosignature_unless_it_is_one(
    answer: Said, trouble: Trouble
) -> None:
    assert trouble_with(answer) is trouble


def test_a_witness_that_names_another_size_each_time_is_given_up() -> None:
    sizes = iter((4, 5, 6, 7))

    def answer(*_: object) -> Said:
        return Said(f"{next(sizes)}\n".encode(), 409, SIZE_TYPE)

    with http_peer(answer) as url, pytest.raises(NotCosigned, match="another size each time"):
        client_of(url).cosign(NOTE, 9, last=0, proof=HISTORY.proof)


def test_a_cosignature_among_others_is_found() -> None:
    other = CosignerSigner.from_seed("witness.example/2", bytes(31) + b"\4")
    with http_peer(lambda *_: Said(line(other) + line())) as url:
        signature = client_of(url).cosign(NOTE, 9, last=0, proof=HISTORY.proof)
    assert signature.name == SIGNER.verifier.name


def test_nobody_there_and_a_dripping_answer_end_in_time() -> None:
    started = time.monotonic()
    assert trouble_with(Said(line(), drip=0.2), timeout=0.5) is Trouble.UNREACHABLE
    with pytest.raises(NotCosigned) as caught:
        client_of("http://127.0.0.1:1").cosign(NOTE, 9, last=0, proof=HISTORY.proof)
    assert caught.value.trouble is Trouble.UNREACHABLE
    assert time.monotonic() - started < 5


def test_a_server_answers_by_the_book_and_nothing_else(server: HttpServer) -> None:
    post = HttpPost(5.0)
    base = f"http://127.0.0.1:{server.port}"
    try:
        first = post(base + PATH, HISTORY.request(0), kind="text/plain", most=1000)
        assert first.status == 200 and first.body.startswith("— ".encode())
        conflict = post(base + PATH, HISTORY.request(0), kind="text/plain", most=1000)
        assert (conflict.status, conflict.kind, conflict.body) == (409, SIZE_TYPE, b"9\n")
        assert post(base + PATH, b"x", kind="text/plain", most=1000).status == 400
        assert post(base + "/other", b"x", kind="text/plain", most=1000).status == 404
        assert post(base + PATH, b"x" * 300_000, kind="text/plain", most=1000).status == 413
    finally:
        server.close()
    with pytest.raises(Unreachable):
        HttpPost(1.0)(base + PATH, b"x", kind="text/plain", most=1000)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "x",
        "http://",
        "http://u:p@x",
        "http://x/?q=1",
        "http://x/#f",
        "http://[",
        "file:///etc",
    ],
)
def test_an_address_that_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        check_url(url)
