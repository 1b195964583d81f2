"""The texts of the witness protocol are read strictly: what is not exactly one is refused."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.kept import KeptError, kept_checkpoint
from audit.tlog.errors import ProofError
from audit.tlog.proof import TlogProof
from audit.witness.protocol import MAX_REQUEST_BYTES, AddCheckpoint, ProtocolError, parse_size

EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
HASH = base64.b64encode(bytes(32)).decode()


def test_the_example_of_the_specification_is_read_and_written_again() -> None:
    request = AddCheckpoint.parse(EXAMPLE.encode())
    assert (request.old, len(request.proof)) == (20852014, 4)
    assert request.checkpoint.startswith(b"example.com/behind-the-sofa\n20852163\n")
    assert request.encode() == EXAMPLE.encode()


@given(
    st.integers(0, 2**63),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(min_size=1, max_size=300),
)
def test_requests_are_read_as_they_were_written(old: int, proof: list[bytes], checkpoint: bytes) -> None:
    request = AddCheckpoint(old, tuple(proof), checkpoint)
    assert AddCheckpoint.parse(request.encode()) == request


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n\n",
        "old 1\n\n",
        "old 1\nx",
        "old -1\n\nx",
        "old 01\n\nx",
        "old +1\n\nx",
        "old ١\n\nx",
        "old  1\n\nx",
        "old 1 \n\nx",
        "Old 1\n\nx",
        "old\n\nx",
        "old 1\r\n\r\nx",
        "old 9223372036854775809\n\nx",
        f"old 99999999999999999999999\n{HASH}\n\nx",
        "old 1\nAAAA\n\nx",
        f"old 1\n{HASH[:-1]}\n\nx",
        f"old 1\n{HASH[:-2]}B=\n\nx",
        f"old 1\n {HASH}\n\nx",
        f"old 1\n{HASH} \n\nx",
        "old 1\n" + f"{HASH}\n" * 64 + "\nx",
        "old 1\n" + f"{HASH}\n" * 2000 + "\nx",
        f"\nold 1\n{HASH}\n\nx",
    ],
)
def test_anything_else_is_refused(body: str) -> None:
    with pytest.raises(ProtocolError):
        AddCheckpoint.parse(body.encode())


def test_a_request_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        AddCheckpoint.parse(b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_do_more_than_be_refused(body: bytes) -> None:
    try:
        assert AddCheckpoint.parse(body).encode() == body
    except ProtocolError:
        pass


@given(st.integers(0, 2**63))
def test_a_size_is_read(size: int) -> None:
    assert parse_size(f"{size}\n".encode()) == size


@pytest.mark.parametrize(
    "body", ["", "\n", "1", "1\n\n", " 1\n", "01\n", "-1\n", "1\r\n", "x\n", "9" * 30 + "\n"]
)
def test_another_size_is_refused(body: str) -> None:
    with pytest.raises(ProtocolError):
        parse_size(body.encode())


def test_a_kept_checkpoint_is_found_in_whatever_was_kept() -> None:
    note = b"log.example\n1\n" + HASH.encode() + b"\n\nx\n"
    assert kept_checkpoint(note) == note
    assert kept_checkpoint(TlogProof(3, (bytes(32),), note).encode()) == note
    answer = {"rows": [1.5], "receipt": {"checkpoint": note.decode(), "record_index": "3"}}
    assert kept_checkpoint(json.dumps(answer).encode()) == note
    assert kept_checkpoint(json.dumps({"checkpoint": note.decode()}).encode()) == note


@pytest.mark.parametrize(
    "data",
    [b"{", b"{}", b'{"receipt": 1}', b'{"receipt": {"checkpoint": 1}}', b"{" * 100_000, b"x" * 2_000_000],
)
def test_what_holds_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(KeptError):
        kept_checkpoint(data)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_that_were_kept_do_no_harm(data: bytes) -> None:
    for content in (data, b"{" + data, b"c2sp.org/tlog-proof@" + data):
        try:
            kept_checkpoint(content)
        except (KeptError, ProofError):
            pass
