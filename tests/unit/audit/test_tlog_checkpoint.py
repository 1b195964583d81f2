"""Checkpoints: the specification's example, one spelling only, and whose signature counts."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.tlog.errors import CheckpointError, NoteError, TlogError
from audit.tlog.merkle import EMPTY_ROOT, MAX_SIZE
from audit.tlog.note import SignerKey, sign_note

# C2SP tlog-checkpoint.md
BODY = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ORIGIN = "isthmus.example/政务日志"
LOG = SignerKey.from_seed(ORIGIN, b"l" * 32)
WITNESS = SignerKey.from_seed("witness.example", b"w" * 32)
ROOT = bytes(range(32))


def test_the_specification_example() -> None:
    checkpoint = Checkpoint.parse(BODY)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert checkpoint.extensions == ()
    assert checkpoint.body() == BODY


@given(
    st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(st.just("扩展 line"), max_size=3)
)
def test_bodies_round_trip(size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root, tuple(extensions))
    assert Checkpoint.parse(checkpoint.body()) == checkpoint


def test_the_empty_log() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(empty, LOG), LOG.verifier).checkpoint == empty
    for size, root in ((0, ROOT), (1, EMPTY_ROOT)):
        with pytest.raises(CheckpointError, match="does not fit its size"):
            Checkpoint(ORIGIN, size, root)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n\n\n",
        BODY[:-1],
        BODY.rsplit("\n", 2)[0] + "\n",
        BODY + "\n",
        BODY + "cut short",
        BODY + "\nextension\n",
        BODY.replace("20852163", "020852163"),
        BODY.replace("20852163", "-1"),
        BODY.replace("20852163", "+20852163"),
        BODY.replace("20852163", "2e7"),
        BODY.replace("20852163", str(MAX_SIZE + 1)),
        BODY.replace("20852163", "9" * 5000),
        BODY.replace("CsUY", "CsU"),
        BODY.replace("q2I=", "q2J="),
        BODY.replace("q2I=", "q2IA"),
        BODY.replace("CsUY", ""),
        BODY.replace("example.com/behind-the-sofa", ""),
        BODY.replace("example.com", "example\t.com"),
    ],
)
def test_any_other_spelling_of_a_body_is_refused(body: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(body)


def test_a_signed_checkpoint_opens_with_its_witnesses() -> None:
    checkpoint = Checkpoint(ORIGIN, 7, ROOT)
    data = sign_note(checkpoint.body(), LOG, WITNESS)
    signed = open_checkpoint(data, LOG.verifier, witnesses=[WITNESS.verifier])
    assert signed.checkpoint == checkpoint
    assert signed.note.signed_by(WITNESS.verifier)
    assert not open_checkpoint(data, LOG.verifier).note.signed_by(WITNESS.verifier)


def test_a_witness_cannot_replace_the_log() -> None:
    data = sign_note(Checkpoint(ORIGIN, 7, ROOT).body(), WITNESS)
    with pytest.raises(CheckpointError, match="did not sign"):
        open_checkpoint(data, LOG.verifier, witnesses=[WITNESS.verifier])


def test_a_checkpoint_of_another_log_is_refused_though_the_key_signed_it() -> None:
    foreign = Checkpoint("other.example", 7, ROOT)
    with pytest.raises(CheckpointError, match="own origin"):
        sign_checkpoint(foreign, LOG)
    with pytest.raises(CheckpointError, match="another log"):
        open_checkpoint(sign_note(foreign.body(), LOG), LOG.verifier)


def test_a_signed_text_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(sign_note(f"{ORIGIN}\nnot a size\n\n", LOG), LOG.verifier)


def test_another_key_of_the_same_name_is_refused() -> None:
    impostor = SignerKey.from_seed(ORIGIN, b"i" * 32)
    with pytest.raises(NoteError, match="no trusted key"):
        open_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, 7, ROOT), impostor), LOG.verifier)


DATA = sign_checkpoint(Checkpoint(ORIGIN, 12345, ROOT), LOG)


@given(st.integers(0, len(DATA) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TlogError):
        open_checkpoint(bytes(data), LOG.verifier)
