"""Seals on the columns of segments: whoever can write their file, and has no key of the log, can make none.

A seal is HMAC-SHA256 (RFC 2104) under a key that is derived from the log's signing key. It binds a column to its log, its
name, its segment and the node of the tree over that segment, that is to the very records that it says something about.
"""

import hashlib
import hmac
from typing import Final

from audit.search.columns import ColumnDamaged
from audit.tlog.keys import SignerKey

_LABEL: Final = b"isthmus search columns 2\0"
_SEGMENT_BYTES: Final = 8
_SEAL_BYTES: Final = 32


class Seal:
    """Seals columns, and opens what it sealed.

    Args:
        log_key: the key that signs the log's checkpoints; its name and its secret go into every seal.
    """

    def __init__(self, log_key: SignerKey) -> None:
        self._key = hmac.digest(log_key.encode().encode(), _LABEL, "sha256")

    def seal(self, place: tuple[int, str, bytes], data: bytes) -> bytes:
        """The data with their seal.

        Args:
            place: the segment, the column's name, and the node of the tree over the segment.
            data: a column, encoded.
        """
        return self._over(place, data) + data

    def open(self, place: tuple[int, str, bytes], sealed: object) -> bytes:
        """The data that were sealed for this place.

        Raises:
            ColumnDamaged: they were altered, sealed for another place or under another key, or never sealed.
        """
        if not isinstance(sealed, bytes) or len(sealed) < _SEAL_BYTES:
            raise ColumnDamaged("it has no seal")
        data = memoryview(sealed)[_SEAL_BYTES:]
        if not hmac.compare_digest(self._over(place, data), sealed[:_SEAL_BYTES]):
            raise ColumnDamaged("its seal is wrong")
        return bytes(data)

    def _over(self, place: tuple[int, str, bytes], data: bytes | memoryview) -> bytes:
        segment, name, node = place
        # The number and the node have one length each; no name holds a zero byte.
        where = segment.to_bytes(_SEGMENT_BYTES, "big", signed=True) + name.encode() + b"\0" + node
        mac = hmac.new(self._key, where, hashlib.sha256)
        mac.update(data)
        return mac.digest()
