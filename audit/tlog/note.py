"""Signed notes: a text and the Ed25519 signatures that vouch for it (C2SP signed-note)."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from audit.tlog.errors import NoteError
from audit.tlog.keys import SignerKey, VerifierKey, check_name
from audit.tlog.text import decode_base64, encode_base64

# The limits of the Go implementation; the specification asks for at least 16 signatures.
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DASH = "\u2014 "

__all__ = ["Note", "NoteKey", "Signature", "SignerKey", "VerifierKey", "open_note", "sign_note", "split_note"]


class NoteKey(Protocol):
    """A public key of any type: a log's own, or a witness's (`audit.tlog.cosignature`). Equal keys are the same key."""

    @property
    def name(self) -> str: ...

    @property
    def key_id(self) -> bytes: ...

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return only if `signature` is this key's over the text of a note. Raises NoteError."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line.

    Attributes:
        name: the key's name.
        key_id: 4 bytes.
        value: the signature itself, whose form depends on the key's type.
    """

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note that at least one known key vouches for.

    Attributes:
        text: what was signed, with its final newline.
        signatures: by known keys, each verified, one a key.
        others: by unknown keys; they say nothing.
    """

    text: str
    signatures: tuple[Signature, ...]
    others: tuple[Signature, ...]

    def signed_by(self, key: NoteKey) -> bool:
        """Whether `key`, which MUST be one the note was opened with, vouches for the text."""
        return any((key.name, key.key_id) == (line.name, line.key_id) for line in self.signatures)


def sign_note(text: str, *signers: SignerKey) -> bytes:
    """The note of `text`, signed by each of `signers` in turn.

    Args:
        text: not empty, ends in a newline, no other control characters.
        signers: 1 to 100.

    Raises:
        NoteError: a text that a note cannot hold, or too many signers or none.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("the text of a note ends in a newline and holds no other control characters")
    if not 0 < len(signers) <= MAX_SIGNATURES:
        raise NoteError(f"a note carries 1 to {MAX_SIGNATURES} signatures")
    try:
        message = text.encode()
    except UnicodeEncodeError as error:
        raise NoteError("the text of a note must be valid Unicode") from error
    keys = ((signer.verifier, signer.sign(message)) for signer in signers)
    lines = [Signature(key.name, key.key_id, value).line() for key, value in keys]
    note = message + b"\n" + "".join(lines).encode()
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"a note is at most {MAX_NOTE_BYTES} bytes")
    return note


def open_note(data: bytes, keys: Collection[NoteKey]) -> Note:
    """Return the note in `data` if at least one of `keys` vouches for it.

    Signatures by other keys are ignored. One invalid signature that claims a known key rejects the note, even
    if another known key vouches for it.

    Args:
        data: the note, at most 1,000,000 bytes and 100 signatures.
        keys: the keys that are trusted.

    Raises:
        NoteError: malformed, not vouched for, wrongly signed, or two of `keys` share a name and an id.
    """
    text, signatures = split_note(data)
    known = {(key.name, key.key_id): key for key in keys}
    if len(known) != len(set(keys)):
        raise NoteError("two different trusted keys share a name and a key id; remove one of them")
    verified: dict[tuple[str, bytes], Signature] = {}
    others: list[Signature] = []
    for signature in signatures:
        name_and_id = (signature.name, signature.key_id)
        if key := known.get(name_and_id):
            key.verify(text.encode(), signature.value)
            verified.setdefault(name_and_id, signature)
        else:
            others.append(signature)
    if not verified:
        raise NoteError("no trusted key signed this note")
    return Note(text, tuple(verified.values()), tuple(others))


def split_note(data: bytes) -> tuple[str, tuple[Signature, ...]]:
    """The text of a note, with its final newline, and its signatures, of which nothing is verified.

    Raises:
        NoteError: malformed or too large.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"a note is at most {MAX_NOTE_BYTES} bytes")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise NoteError("a note must be valid UTF-8") from error
    if _CONTROL.search(note):
        raise NoteError("a note holds no control characters but newlines")
    # The last blank line ends the text, so a text with blank lines of its own cannot smuggle in signatures.
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteError("a note is a text, a blank line and signature lines, each ending in a newline")
    if lines.count("\n") > MAX_SIGNATURES:
        raise NoteError(f"a note carries at most {MAX_SIGNATURES} signatures")
    return text + "\n", tuple(_parse_lines(lines))


def _parse_lines(lines: str) -> Iterator[Signature]:
    for line in lines[:-1].split("\n"):
        name, _, value = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH):
            raise NoteError("a signature line is an em dash, a key name and a base64 signature")
        check_name(name)
        try:
            raw = decode_base64(value)
        except ValueError as error:
            raise NoteError("a signature is not base64") from error
        if len(raw) < 5:
            raise NoteError("a signature holds a key id of 4 bytes and at least one byte more")
        yield Signature(name, raw[:4], raw[4:])
