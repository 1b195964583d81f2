"""Cosignatures: what a witness signs when it has seen that a log only ever grew (C2SP tlog-cosignature, type 0x04)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.tlog.errors import NoteError
from audit.tlog.keys import PRIVATE_PREFIX, check_key_id, check_name, key_id_of, split_key, split_private_key
from audit.tlog.note import Note, Signature
from audit.tlog.text import encode_base64

_COSIGNATURE: Final = b"\x04"
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = _TIME_BYTES + 64
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """The public key of a witness and the name it signs under; a `NoteKey`.

    Args:
        name: as of any note key; a URL without scheme by convention.
        public_key: 32 bytes (RFC 8032). It MUST NOT be a log's key, nor that of another witness.

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
        object.__setattr__(self, "key_id", key_id_of(self.name, _COSIGNATURE + self.public_key))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey of type 0x04.

        Raises:
            NoteError: malformed, of another type, or with a key id that is not its own.
        """
        name, key_id, public_key = split_key(text, kind=_COSIGNATURE)
        key = cls(name, public_key)
        check_key_id(key.name, key.key_id, claimed=key_id)
        return key

    def encode(self) -> str:
        """Write the vkey."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(_COSIGNATURE + self.public_key)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return only if `signature` (8 bytes of time, 64 of Ed25519) is this witness's over a checkpoint's text.

        Raises:
            NoteError: it is not.
        """
        at = _time(signature)
        try:
            public = Ed25519PublicKey.from_public_bytes(self.public_key)
            public.verify(signature[_TIME_BYTES:], cosigned_message(message, at))
        except (InvalidSignature, ValueError) as error:
            raise NoteError(f"the cosignature by {self.name} is not valid") from error

    def time_in(self, note: Note) -> datetime | None:
        """When this witness says it cosigned a note that was opened with its key, UTC; None if it did not."""
        found = [each for each in note.signatures if (each.name, each.key_id) == (self.name, self.key_id)]
        return datetime.fromtimestamp(_time(found[0].value), UTC) if found else None


@dataclass(frozen=True, slots=True)
class CosignerSigner:
    """The private key of a witness. Its `repr` shows no secret; `encode` does."""

    verifier: CosignerKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """The key of a 32-byte RFC 8032 seed, which MUST be secret, random and used for nothing else.

        Raises:
            NoteError: a name or seed of another form.
        """
        if len(seed) != 32:
            raise NoteError("an Ed25519 seed is 32 bytes")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(CosignerKey(name, private.public_key().public_bytes_raw()), private)

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new random key. Raises NoteError for a name of another form."""
        return cls.from_seed(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PRIVATE+KEY+<name>+<key id>+<base64 of 0x04 and the seed>`.

        Raises:
            NoteError: malformed, of another type, or with a key id that is not its own.
        """
        name, key_id, seed = split_private_key(text, kind=_COSIGNATURE)
        key = cls.from_seed(name, seed)
        check_key_id(key.verifier.name, key.verifier.key_id, claimed=key_id)
        return key

    def encode(self) -> str:
        """Write the private key. The text is secret: it belongs in a file only its owner can read."""
        verifier, seed = self.verifier, self._private.private_bytes_raw()
        material = encode_base64(_COSIGNATURE + seed)
        return f"{PRIVATE_PREFIX}{verifier.name}+{verifier.key_id.hex()}+{material}"

    def cosign(self, text: str, at: datetime) -> Signature:
        """The signature line for the text of a checkpoint.

        The caller MUST have seen that the checkpoint extends every other of this log that it cosigned.

        Args:
            text: with its final newline.
            at: the time of signing, UTC; whole seconds of it are signed.
        """
        seconds = int(at.timestamp())
        value = self._private.sign(cosigned_message(text.encode(), seconds))
        return Signature(
            self.verifier.name, self.verifier.key_id, seconds.to_bytes(_TIME_BYTES, "big") + value
        )


def cosigned_message(text: bytes, at: int) -> bytes:
    """The bytes that a cosignature signs: a header, the time in seconds since 1970, and the checkpoint's text."""
    return b"cosignature/v1\ntime %d\n" % at + text


def _time(signature: bytes) -> int:
    if len(signature) != _SIGNATURE_BYTES:
        raise NoteError(f"a cosignature is {_SIGNATURE_BYTES} bytes")
    at = int.from_bytes(signature[:_TIME_BYTES], "big")
    if at > _LATEST:
        raise NoteError("the time in a cosignature is out of any calendar")
    return at
