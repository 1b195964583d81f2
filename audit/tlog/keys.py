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
PRIVATE_PREFIX = "PRIVATE+KEY+"
_ED25519 = b"\x01"
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
        object.__setattr__(self, "key_id", key_id_of(self.name, _ED25519 + self.public_key))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey: `<name>+<8 hex digits of the key id>+<base64 of the type byte and key>`.

        Raises:
            NoteError: malformed, of another type than Ed25519, or with a key id that is not its own.
        """
        name, key_id, public_key = split_key(text, kind=_ED25519)
        key = cls(name, public_key)
        check_key_id(key.name, key.key_id, claimed=key_id)
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
        name, key_id, seed = split_private_key(text, kind=_ED25519)
        key = cls.from_seed(name, seed)
        check_key_id(key.verifier.name, key.verifier.key_id, claimed=key_id)
        return key

    def encode(self) -> str:
        """Write the private key. The text is secret: it belongs in a file only its owner can read."""
        verifier, seed = self.verifier, self._private.private_bytes_raw()
        return f"{PRIVATE_PREFIX}{verifier.name}+{verifier.key_id.hex()}+{encode_base64(_ED25519 + seed)}"

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


def key_id_of(name: str, typed_key: bytes) -> bytes:
    """The 4 bytes by which a signature names its key; `typed_key` is the type byte and the public key."""
    return sha256(name.encode() + b"\n" + typed_key).digest()[:4]


def split_key(text: str, *, kind: bytes) -> tuple[str, str, bytes]:
    """The name, the claimed key id and the key material of `<name>+<key id>+<base64 of the type byte and the material>`.

    Args:
        text: the key.
        kind: the type byte that it must have.

    Raises:
        NoteError: malformed or of another type. It never quotes the text: a private key that was pasted in the wrong
            place must not reach a log.
    """
    parts = text.split("+", 2) if len(text) <= _MAX_KEY_CHARS else []
    if len(parts) != 3:
        raise NoteError("a note key is <name>+<key id>+<base64 key>")
    try:
        material = decode_base64(parts[2])
    except ValueError as error:
        raise NoteError("the key material is not base64") from error
    if material[:1] != kind:
        raise NoteError(f"the key is not an Ed25519 key of type byte 0x{kind.hex()}")
    return parts[0], parts[1], material[1:]


def split_private_key(text: str, *, kind: bytes) -> tuple[str, str, bytes]:
    """As `split_key`, of a private key, whose material is its seed. Raises NoteError."""
    if not text.startswith(PRIVATE_PREFIX):
        raise NoteError(f"a signer key starts with {PRIVATE_PREFIX}")
    return split_key(text.removeprefix(PRIVATE_PREFIX), kind=kind)


def check_key_id(name: str, key_id: bytes, *, claimed: str) -> None:
    """Return only if `claimed` is `key_id` in hex. Raises NoteError."""
    if not hmac.compare_digest(key_id.hex().encode(), claimed.encode("utf-8", "replace")):
        raise NoteError(f"the key id does not belong to the key named {name}")
