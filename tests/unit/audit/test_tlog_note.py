"""Signed notes and their keys: the reference implementation's example, and everything a note must refuse."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import NoteError, TlogError
from audit.tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Signature,
    SignerKey,
    VerifierKey,
    open_note,
    sign_note,
)
from audit.tlog.text import decode_base64, parse_decimal

# The example of the Go package golang.org/x/mod/sumdb/note (BSD-3-Clause); Ed25519 is deterministic.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ryy"
    "BwJnAM=\n"
)
NOTE = f"{TEXT}\n{LINE}".encode()
PETER = VerifierKey.parse(VKEY)

# C2SP signed-note.md prints this note; its key is not printed.
C2SP_NOTE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXx"
    "j99ihAQwaqP3ZekRwNtIc=\n"
).encode()


def signer(name: str = "示例.政务/审计", seed: int = 1) -> SignerKey:
    return SignerKey.from_seed(name, bytes([seed]) * 32)


def test_the_reference_example_byte_for_byte() -> None:
    key = SignerKey.parse(SKEY)
    assert sign_note(TEXT, key) == NOTE
    assert (key.encode(), key.verifier.encode()) == (SKEY, VKEY)
    assert key.verifier == PETER
    assert PETER.key_id.hex() == "c74f20a3"
    note = open_note(NOTE, [PETER])
    assert (note.text, note.others) == (TEXT, ())
    assert note.signed_by(PETER)
    assert note.signatures[0].line() == LINE


def test_the_specification_example_is_read_but_not_believed_without_its_key() -> None:
    with pytest.raises(NoteError, match="no trusted key"):
        open_note(C2SP_NOTE, [PETER])
    ours = sign_note(C2SP_NOTE.decode().rpartition("\n\n")[0] + "\n", SignerKey.parse(SKEY))
    both = open_note(ours + C2SP_NOTE.rpartition(b"\n\n")[2], [PETER])
    assert both.text.splitlines() == C2SP_NOTE.decode().splitlines()[:4], "blank lines belong to the text"
    assert [(line.name, line.key_id.hex(), len(line.value)) for line in both.others] == [
        ("quasimodo.example/salvatore", "367ba04b", 64)
    ]


def test_a_generated_key_signs_and_its_texts_round_trip() -> None:
    key = SignerKey.generate("部门.example/日志")
    assert SignerKey.parse(key.encode()).encode() == key.encode()
    assert VerifierKey.parse(key.verifier.encode()) == key.verifier
    assert open_note(sign_note("中文\n\n第二段\n", key), [key.verifier]).text == "中文\n\n第二段\n"


def test_no_secret_in_repr_or_error() -> None:
    key = SignerKey.parse(SKEY)
    secret = SKEY.rsplit("+", 1)[1][4:]
    assert secret not in repr(key)
    for broken in (
        SKEY[:-1],
        SKEY.replace("c74f20a3", "c74f20a4"),
        SKEY + "=",
        SKEY.removeprefix("PRIVATE+"),
    ):
        for parse in (SignerKey.parse, VerifierKey.parse):
            with pytest.raises(NoteError) as refused:
                parse(broken)
            assert secret[:8] not in str(refused.value)


@pytest.mark.parametrize("good", [VKEY, SKEY])
def test_every_mangled_key_is_refused(good: str) -> None:
    parse = SignerKey.parse if good is SKEY else VerifierKey.parse
    parts = [
        good[i:j] for i in range(len(good)) for j in (i + 1, i + 9, len(good)) if (i, j) != (0, len(good))
    ]
    bumped = [good[:i] + chr(ord(good[i]) + 1) + good[i + 1 :] for i in range(len(good))]
    cut = [good[:i] for i in range(len(good))]
    for bad in parts + bumped + cut + [good + "\n", good.replace("+", " "), good.upper(), "x" * 10_000]:
        with pytest.raises(NoteError):
            parse(bad)


def test_keys_of_other_types_and_lengths_are_refused() -> None:
    # From the Go test-suite: key ids adjusted, so that only the type or the length is wrong.
    for bad in (
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ):
        with pytest.raises(NoteError):
            VerifierKey.parse(bad)
    with pytest.raises(NoteError):
        VerifierKey("name", bytes(31))
    with pytest.raises(NoteError):
        SignerKey.from_seed("name", bytes(33))


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u3000b", "a\u00a0b", "a\nb", "a\x01b", "\ud800", "長" * 400]
)
def test_names_that_a_note_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey(name, bytes(32))


def test_unknown_keys_are_ignored_even_with_a_known_name_or_id() -> None:
    key, same_name = signer(), signer(seed=2)
    garbage = Signature("示例.政务/审计", b"\0\0\0\1", b"not a signature").line()
    same_id = Signature("someone", key.verifier.key_id, b"x" * 64).line()
    data = sign_note("text\n", same_name, key) + (garbage + same_id).encode()
    note = open_note(data, [key.verifier])
    assert [line.name for line in note.signatures] == ["示例.政务/审计"]
    assert len(note.others) == 3
    assert not note.signed_by(same_name.verifier)


def test_a_bad_signature_of_a_known_key_rejects_the_note_whatever_else_is_good() -> None:
    good, other = signer("good"), signer("other", 2)
    forged = Signature("other", other.verifier.key_id, good.sign(b"text\n")).line().encode()
    data = sign_note("text\n", good)
    assert open_note(data + forged, [good.verifier]).others
    with pytest.raises(NoteError, match="signature by other is not valid"):
        open_note(data + forged, [good.verifier, other.verifier])
    # A second, invalid line by a key that has already signed well.
    repeated = Signature("good", good.verifier.key_id, bytes(64)).line().encode()
    with pytest.raises(NoteError):
        open_note(data + repeated, [good.verifier])
    short = Signature("good", good.verifier.key_id, b"x").line().encode()
    with pytest.raises(NoteError):
        open_note(data + short, [good.verifier])


def test_a_repeated_signature_counts_once() -> None:
    key = signer()
    assert len(open_note(sign_note("text\n", key, key), [key.verifier]).signatures) == 1


def test_no_known_key_no_note() -> None:
    with pytest.raises(NoteError, match="no trusted key"):
        open_note(NOTE, [signer().verifier])
    with pytest.raises(NoteError, match="no trusted key"):
        open_note(NOTE, [])


def test_two_trusted_keys_that_cannot_be_told_apart_are_refused() -> None:
    twin = VerifierKey(PETER.name, bytes(32))
    object.__setattr__(twin, "key_id", PETER.key_id)
    with pytest.raises(NoteError, match="share a name"):
        open_note(NOTE, [PETER, twin])
    assert open_note(NOTE, [PETER, PETER]).signed_by(PETER)


@pytest.mark.parametrize("count", [1, 16, MAX_SIGNATURES])
def test_many_signatures_are_accepted(count: int) -> None:
    keys = [signer(f"key{i}", i + 1) for i in range(count)]
    note = open_note(sign_note("text\n", *keys), [key.verifier for key in keys])
    assert len(note.signatures) == count


def test_too_many_or_too_large_is_refused() -> None:
    key = signer()
    for count in (0, MAX_SIGNATURES + 1):
        with pytest.raises(NoteError):
            sign_note("text\n", *[key] * count)
    with pytest.raises(NoteError, match="at most 100"):
        open_note(sign_note("text\n", key) * 1 + LINE.encode() * MAX_SIGNATURES, [key.verifier])
    with pytest.raises(NoteError, match="bytes"):
        sign_note("a" * MAX_NOTE_BYTES + "\n", key)
    with pytest.raises(NoteError, match="bytes"):
        open_note(b"a" * MAX_NOTE_BYTES + NOTE, [PETER])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "nul\0\n", "cr\r\n", "\ud800\n"])
def test_texts_that_a_note_cannot_carry_are_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign_note(text, signer())


RAW = base64.b64decode(LINE.split()[2])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        TEXT.encode() + LINE.encode(),
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"trailing\n",
        NOTE.replace("—".encode(), b"--"),
        NOTE.replace("— ".encode(), "—".encode()),
        NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace(b"PeterNeumann ", b"Peter+Neumann "),
        NOTE.replace(b"BwJnAM=", b"BwJnAN="),  # the same bytes, spelt differently
        NOTE.replace(b"BwJnAM=", b"BwJnAM"),
        NOTE.replace(b"x08go/", b"x08go_"),
        NOTE.replace(b"x08go/", b"x08g o/"),
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace(b"answer", b"answ\0r"),
        NOTE.replace(b"answer", b"answ\xffr"),
        NOTE + "— x AAAAAA==\n".encode(),
        NOTE + "— x \n".encode(),
        NOTE + "— x\n".encode(),
        NOTE + "— a+b AAAAAAAA\n".encode(),
        NOTE.replace("— ".encode(), b""),
    ],
)
def test_malformed_notes_are_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        open_note(data, [PETER])


@pytest.mark.parametrize(
    ("signed", "before"), [("tab\t\n", "tab\t\n\n"), ("nul\0\n", "nul\0\n\n"), ("\n", "")]
)
def test_a_good_signature_does_not_excuse_a_malformed_note(signed: str, before: str) -> None:
    key = signer()
    line = Signature(key.verifier.name, key.verifier.key_id, key.sign(signed.encode())).line()
    with pytest.raises(NoteError):
        open_note((before + line).encode(), [key.verifier])


@given(st.integers(0, len(NOTE) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(NOTE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteError):
        open_note(bytes(data), [PETER])


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    with pytest.raises(NoteError):
        open_note(data, [PETER])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=200))
def test_any_text_round_trips(text: str) -> None:
    key = signer()
    assert open_note(sign_note(text + "\n", key), [key.verifier]).text == text + "\n"


@pytest.mark.parametrize("text", ["", "-1", "+1", "01", "00", "1_0", " 1", "1\n", "٣", "²", "0x1", "1" * 21])
def test_numbers_have_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        parse_decimal(text)


@pytest.mark.parametrize("text", ["A", "AA", "AA=", "AB==", "AA==\n", "A A==", "AA==AA==", "__==", "數據"])
def test_bytes_have_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64(text)


def test_all_refusals_are_of_one_family() -> None:
    assert issubclass(NoteError, TlogError)
