"""The signatures of many checkpoints of one log, as the log itself writes them."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE
from audit.tlog.text import decode_base64, encode_base64

_SIGNATURE: Final = 64


class Notes:
    """Checks checkpoints of one log.

    Args:
        key: the log's.
    """

    def __init__(self, key: VerifierKey) -> None:
        self._key = key
        self._public = Ed25519PublicKey.from_public_bytes(key.public_key)
        self._name = key.name.encode()

    def require(self, note: bytes, size: int, root: bytes) -> None:
        """Return only if the note is a checkpoint of this size and root that the log signed.

        Raises:
            TlogError: it is not.
        """
        if not self._is_plain(note, size, root):
            signed = open_checkpoint(note, self._key).checkpoint
            if (signed.size, signed.root) != (size, root):
                raise TlogError("its note says another size or root than its row")

    def _is_plain(self, note: bytes, size: int, root: bytes) -> bool:
        """Whether it is spelled as the log alone writes it, and signed: most are, and then nothing need be parsed."""
        if size == 0 or len(root) != HASH_SIZE:
            return False
        body = b"%s\n%d\n%s\n" % (self._name, size, encode_base64(root).encode())
        head = b"%s\n\xe2\x80\x94 %s " % (body, self._name)
        if not note.startswith(head) or not note.endswith(b"\n"):
            return False
        try:
            raw = decode_base64(note[len(head) : -1].decode())
            if raw[:4] != self._key.key_id or len(raw) != 4 + _SIGNATURE:
                return False
            self._public.verify(raw[4:], body)
        except (ValueError, InvalidSignature):
            return False
        return True
