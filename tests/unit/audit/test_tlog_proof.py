"""Receipts: what a holder can verify offline, and that nothing in the file can be changed unnoticed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.errors import CheckpointError, NoteError, ProofError, TlogError
from audit.tlog.merkle import MAX_SIZE, hash_leaf
from audit.tlog.note import MAX_NOTE_BYTES, SignerKey, sign_note
from audit.tlog.proof import MAX_EXTRA_BYTES, MAX_PROOF_BYTES, TlogProof, verify_proof
from audit.tlog.tree import Edge, Tree

ORIGIN = "isthmus.example/政务日志"
LOG = SignerKey.from_seed(ORIGIN, b"l" * 32)
WITNESS = SignerKey.from_seed("witness.example", b"w" * 32)
ENTRIES = [f"记录 {i}".encode() for i in range(300)]


class Rows(dict[tuple[int, int], bytes]):
    def read_tile(self, level: int, index: int, width: int) -> bytes:
        return self[level, index]


GROWTH = Edge.empty().append([hash_leaf(entry) for entry in ENTRIES])
TREE = Tree(Rows(GROWTH.tiles))


def receipt(index: int, size: int = 300, *, extra: bytes = b"") -> TlogProof:
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, size, TREE.root(size)), LOG)
    return TlogProof(index, tuple(TREE.inclusion_proof(index, size)), checkpoint, extra)


# C2SP tlog-proof.md, where the checkpoint is abridged and the extra data is not whole base64.
EXAMPLE = b"""c2sp.org/tlog-proof@v1
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

"""


def test_the_specification_example_is_read() -> None:
    proof = TlogProof.parse(EXAMPLE)
    assert (proof.index, len(proof.hashes), proof.extra) == (73894, 5, b"")
    assert proof.hashes[0].hex().startswith("8122b25e8619")
    assert proof.checkpoint.startswith(b"example.com/fancylog\n109482\n")
    assert proof.encode() == EXAMPLE


@given(st.integers(1, 300), st.data(), st.binary(max_size=50))
def test_every_receipt_verifies_and_round_trips(size: int, data: st.DataObject, extra: bytes) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = receipt(index, size, extra=extra)
    assert TlogProof.parse(proof.encode()) == proof
    signed = verify_proof(proof.encode(), ENTRIES[index], LOG.verifier)
    assert signed.checkpoint == Checkpoint(ORIGIN, size, TREE.root(size))


def test_the_witnesses_of_a_receipt_are_known() -> None:
    checkpoint = sign_note(Checkpoint(ORIGIN, 300, GROWTH.root).body(), LOG, WITNESS)
    proof = replace(receipt(5), checkpoint=checkpoint)
    signed = proof.verify(ENTRIES[5], LOG.verifier, witnesses=[WITNESS.verifier])
    assert signed.note.signed_by(WITNESS.verifier)


GOOD = receipt(123).encode()


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TlogError):
        verify_proof(bytes(data), ENTRIES[123], LOG.verifier)


@given(st.integers(0, GOOD.count(b"\n") - 1), st.integers(0, GOOD.count(b"\n") - 1))
def test_any_dropped_or_swapped_line_is_noticed(first: int, second: int) -> None:
    lines = GOOD.splitlines(keepends=True)
    dropped = lines[:first] + lines[first + 1 :]
    swapped = list(lines)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    for altered in (dropped, swapped):
        if altered != lines:
            with pytest.raises(TlogError):
                verify_proof(b"".join(altered), ENTRIES[123], LOG.verifier)


@pytest.mark.parametrize("end", range(0, len(GOOD), 7))
def test_a_cut_receipt_is_refused(end: int) -> None:
    with pytest.raises(TlogError):
        verify_proof(GOOD[:end], ENTRIES[123], LOG.verifier)


def test_another_entry_or_index_is_refused() -> None:
    proof = receipt(123)
    with pytest.raises(ProofError):
        proof.verify(ENTRIES[124], LOG.verifier)
    for index in (0, 122, 124, 299, 300, MAX_SIZE - 1):
        with pytest.raises(ProofError):
            replace(proof, index=index).verify(ENTRIES[123], LOG.verifier)


def test_a_size_that_shares_the_shape_is_caught_by_the_signature() -> None:
    # Leaf 0 of 3 and of 4 leaves: the same path, so only the signed size tells them apart.
    proof = receipt(0, 3)
    other_size = proof.checkpoint.replace(b"\n3\n", b"\n4\n")
    with pytest.raises(NoteError, match="not valid"):
        replace(proof, checkpoint=other_size).verify(ENTRIES[0], LOG.verifier)


def test_an_unsigned_or_foreign_checkpoint_is_refused() -> None:
    body = Checkpoint(ORIGIN, 300, GROWTH.root).body()
    for forger, error in ((WITNESS, CheckpointError), (SignerKey.from_seed(ORIGIN, b"f" * 32), NoteError)):
        proof = replace(receipt(5), checkpoint=sign_note(body, forger))
        with pytest.raises(error):
            proof.verify(ENTRIES[5], LOG.verifier, witnesses=[WITNESS.verifier])


HASH = b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1",
        b"c2sp.org/tlog-proof@v1\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0",
        b"c2sp.org/tlog-proof@v1\n0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex notanumber\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 007\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 9223372036854775808\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra YQ==\nextra YQ==\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra YQ==\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nYQ==\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + HASH * 64 + b"\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\ncheckpoint\r\n",
        "c2sp.org/tlog-proof@v1\nindex ０\n\ncheckpoint\n".encode(),
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"a" * MAX_PROOF_BYTES,
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"a" * (MAX_NOTE_BYTES + 1),
    ],
)
def test_malformed_receipts_are_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        TlogProof.parse(data)


def test_the_longest_hashes_and_extra_data_fit_and_more_is_refused() -> None:
    largest = TlogProof(0, (bytes(32),) * 63, b"checkpoint\n", b"x" * MAX_EXTRA_BYTES)
    assert TlogProof.parse(largest.encode()) == largest
    with pytest.raises(ProofError):
        replace(largest, extra=b"x" * (MAX_EXTRA_BYTES + 1))
    with pytest.raises(ProofError):
        replace(largest, index=-1)
    with pytest.raises(ProofError, match=str(MAX_PROOF_BYTES)):
        TlogProof.parse(b"a" * (MAX_PROOF_BYTES + 1))


@given(
    st.binary(max_size=200).map(lambda tail: b"c2sp.org/tlog-proof@v1\nindex " + tail)
    | st.binary(max_size=200)
)
def test_no_bytes_break_the_parser(data: bytes) -> None:
    try:
        proof = TlogProof.parse(data)
    except ProofError:
        return
    assert proof.encode() == data
