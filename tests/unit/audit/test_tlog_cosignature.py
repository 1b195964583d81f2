"""Cosignatures: only the witness's own signature over this checkpoint at this time is believed."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.tlog.cosignature import CosignerKey, CosignerSigner, cosigned_message
from audit.tlog.errors import NoteError
from audit.tlog.keys import SignerKey, VerifierKey
from audit.tlog.note import Note, Signature, open_note, split_note

LOG = SignerKey.from_seed("log.example/上海", bytes(32))
WITNESS = CosignerSigner.from_seed("witness.example/审计", bytes(31) + b"\2")
OTHER = CosignerSigner.from_seed("witness.example/审计", bytes(31) + b"\3")
AT = datetime(2026, 11, 24, 8, 0, 5, tzinfo=UTC)
NOTE = sign_checkpoint(Checkpoint(LOG.verifier.name, 7, b"\7" * 32), LOG)
TEXT = split_note(NOTE)[0]


def cosigned(signer: CosignerSigner = WITNESS, text: str = TEXT) -> bytes:
    """The checkpoint with a witness's line."""
    return NOTE + signer.cosign(text, AT).line().encode()


def test_a_key_of_another_implementation_is_read() -> None:
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    assert CosignerKey.parse(text).encode() == text


def test_the_time_in_a_cosignature_of_another_implementation_is_read() -> None:
    raw = base64.b64decode(
        "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA=="
    )
    line = Signature(WITNESS.verifier.name, WITNESS.verifier.key_id, raw[4:])
    assert WITNESS.verifier.time_in(Note(TEXT, (line,), ())) == datetime.fromtimestamp(1727964367, UTC)


def test_a_checkpoint_shows_who_cosigned_it_and_when() -> None:
    signed = open_checkpoint(cosigned(), LOG.verifier, witnesses=[WITNESS.verifier])
    assert signed.note.signed_by(WITNESS.verifier)
    assert WITNESS.verifier.time_in(signed.note) == AT
    assert OTHER.verifier.time_in(signed.note) is None


def test_a_witness_cannot_stand_in_for_the_log() -> None:
    lines = WITNESS.cosign(TEXT, AT).line()
    with pytest.raises(NoteError, match="no trusted key|did not sign"):
        open_checkpoint(f"{TEXT}\n{lines}".encode(), LOG.verifier, witnesses=())


def test_a_cosignature_of_another_checkpoint_rejects_the_note() -> None:
    other = TEXT.replace("\n7\n", "\n8\n")
    with pytest.raises(NoteError, match="not valid"):
        open_checkpoint(cosigned(text=other), LOG.verifier, witnesses=[WITNESS.verifier])


def test_a_log_s_signature_is_no_cosignature_even_by_the_same_key() -> None:
    # Without the header that separates them, a witness's key could be talked into signing for a log.
    plain = SignerKey.from_seed(WITNESS.verifier.name, bytes(31) + b"\2")
    value = int(AT.timestamp()).to_bytes(8, "big") + plain.sign(TEXT.encode())
    line = Signature(WITNESS.verifier.name, WITNESS.verifier.key_id, value).line()
    with pytest.raises(NoteError, match="not valid"):
        open_note(NOTE + line.encode(), [WITNESS.verifier])


@given(st.integers(0, 71), st.integers(1, 255))
def test_any_changed_byte_of_a_cosignature_is_noticed(position: int, flip: int) -> None:
    value = bytearray(WITNESS.cosign(TEXT, AT).value)
    value[position] ^= flip
    with pytest.raises(NoteError):
        WITNESS.verifier.verify(TEXT.encode(), bytes(value))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_cosignature(value: bytes) -> None:
    with pytest.raises(NoteError):
        WITNESS.verifier.verify(TEXT.encode(), value)


@given(st.text(max_size=300))
def test_arbitrary_text_is_no_key(text: str) -> None:
    for parse in (CosignerKey.parse, CosignerSigner.parse):
        with pytest.raises(NoteError):
            parse(text)


def test_keys_of_logs_and_of_witnesses_are_not_mistaken_for_each_other() -> None:
    with pytest.raises(NoteError, match="0x04"):
        CosignerKey.parse(LOG.verifier.encode())
    with pytest.raises(NoteError, match="0x04"):
        CosignerSigner.parse(LOG.encode())
    with pytest.raises(NoteError, match="0x01"):
        VerifierKey.parse(WITNESS.verifier.encode())


def test_keys_are_read_as_they_were_written_and_secrets_are_not_shown() -> None:
    assert CosignerSigner.parse(WITNESS.encode()).verifier == WITNESS.verifier
    assert CosignerKey.parse(WITNESS.verifier.encode()) == WITNESS.verifier
    assert base64.b64encode(bytes(31) + b"\2").decode() not in repr(WITNESS)
    with pytest.raises(NoteError, match="key id"):
        CosignerKey.parse(WITNESS.verifier.encode().replace(WITNESS.verifier.key_id.hex(), "00000000"))


def test_openssl_agrees(tmp_path: Path) -> None:
    value = WITNESS.cosign(TEXT, AT).value
    public = Ed25519PublicKey.from_public_bytes(WITNESS.verifier.public_key)
    (tmp_path / "pub.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signature").write_bytes(value[8:])
    (tmp_path / "message").write_bytes(cosigned_message(TEXT.encode(), int.from_bytes(value[:8], "big")))
    expected = f"cosignature/v1\ntime {int(AT.timestamp())}\n{TEXT}".encode()
    assert (tmp_path / "message").read_bytes() == expected
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin"]
    command += ["-in", "message", "-sigfile", "signature"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr
