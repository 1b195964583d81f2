"""Ed25519 keys of signed notes and their text forms (C2SP signed-note; Go `sumdb/note` for the private one)."""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.tlog.errors import NoteError
from audit.tlog.text import decode_base64, encode_base64

MAX_NAME_BYTES = 1024
_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_MAX_KEY_CHARS = 2 * MAX_NAME_BYTES


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under.

    Args:
        name: not empty, without Unicode spaces, control characters and plus signs.
        public_key: 32 bytes (RFC 8032).

    Raises:
        NoteError: a name or key of another form.
    """

    name: str
    public_key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public_key) != 32:
            raise NoteError("an Ed25519 public key is 32 bytes")
        digest = sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()
        object.__setattr__(self, "key_id", digest[:4])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey: `<name>+<8 hex digits of the key id>+<base64 of the type byte and key>`.

        Raises:
            NoteError: malformed, of another type than Ed25519, or with a key id that is not its own.
        """
        name, key_id, public_key = _split_key(text)
        key = cls(name, public_key)
        _check_key_id(key, key_id)
        return key

    def encode(self) -> str:
        """Write the vkey."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(_ED25519 + self.public_key)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return only if `signature` (64 bytes) is this key's over `message`.

        Raises:
            NoteError: it is not.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteError(f"the signature by {self.name} is not valid") from error


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key and the name it signs under. Its `repr` shows no secret; `encode` does."""

    verifier: VerifierKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """The key of a 32-byte RFC 8032 seed, which MUST be secret and random.

        Raises:
            NoteError: a name or seed of another form.
        """
        if len(seed) != 32:
            raise NoteError("an Ed25519 seed is 32 bytes")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(VerifierKey(name, private.public_key().public_bytes_raw()), private)

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new random key.

        Raises:
            NoteError: a name of another form.
        """
        return cls.from_seed(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PRIVATE+KEY+<name>+<8 hex digits of the key id>+<base64 of the type byte and seed>`.

        Raises:
            NoteError: malformed, of another type than Ed25519, or with a key id that is not its own.
        """
        if not text.startswith(_PRIVATE):
            raise NoteError(f"a signer key starts with {_PRIVATE}")
        name, key_id, seed = _split_key(text.removeprefix(_PRIVATE))
        key = cls.from_seed(name, seed)
        _check_key_id(key.verifier, key_id)
        return key

    def encode(self) -> str:
        """Write the private key. The text is secret: it belongs in a file only its owner can read."""
        verifier, seed = self.verifier, self._private.private_bytes_raw()
        return f"{_PRIVATE}{verifier.name}+{verifier.key_id.hex()}+{encode_base64(_ED25519 + seed)}"

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return self._private.sign(message)


def check_name(name: str) -> None:
    """Return only if `name` may name a key (C2SP signed-note, Format).

    Raises:
        NoteError: it may not.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise NoteError("a key name must be valid Unicode") from error
    if not 0 < size <= MAX_NAME_BYTES:
        raise NoteError(f"a key name is 1 to {MAX_NAME_BYTES} bytes")
    if any(char.isspace() or char == "+" or char < " " for char in name):
        raise NoteError("a key name holds no spaces, control characters or plus signs")


def _split_key(text: str) -> tuple[str, str, bytes]:
    # No error here quotes the text: a private key pasted in the wrong place must not reach a log.
    parts = text.split("+", 2) if len(text) <= _MAX_KEY_CHARS else []
    if len(parts) != 3:
        raise NoteError("a note key is <name>+<key id>+<base64 key>")
    try:
        material = decode_base64(parts[2])
    except ValueError as error:
        raise NoteError("the key material is not base64") from error
    if material[:1] != _ED25519:
        raise NoteError("the key is not an Ed25519 note key (type byte 0x01)")
    return parts[0], parts[1], material[1:]


def _check_key_id(key: VerifierKey, claimed: str) -> None:
    if not hmac.compare_digest(key.key_id.hex().encode(), claimed.encode("utf-8", "replace")):
        raise NoteError(f"the key id does not belong to the key named {key.name}")
