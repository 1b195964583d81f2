"""Tokens that say where a stream goes on: readable by this department's node alone, and good for that stream alone.

A token is AES-256-GCM (NIST SP 800-38D) under a key derived from the node's `hash_key`, over the position. What the
stream is (contract, terms, fields, filters, encoding) is authenticated with it, so a token of one stream opens no
other, and the identifiers that a position may hold are readable by nobody on the way.
"""

import base64
import binascii
import hmac
import json
import os
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from isthmus.canonical import canonical_json
from isthmus.terms import predicate_to_json
from services.grant_items import MAX_RESUME, GrantItem

_LABEL: Final = b"isthmus stream resume v1\0"
_NONCE_BYTES: Final = 12

Position = tuple[Any, ...]
"""The key of the last row that was sent, as the database's driver gives it, and what the key belongs to."""

_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "str": str,
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "Decimal": Decimal,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "UUID": UUID,
}
_WRITE: Final[Mapping[str, Callable[[Any], str]]] = {
    "float": float.hex,
    "bytes": bytes.hex,
    "date": date.isoformat,
    "datetime": datetime.isoformat,
}


class ResumeRefused(ValueError):
    """A token does not open this stream. The message says what to do."""


def stream_binding(item: GrantItem) -> bytes:
    """The SHA-256 of what a stream is; two streams of equal binding have the same rows in the same order."""
    return sha256(
        canonical_json(
            {
                "consumer": item.consumer,
                "contract": str(item.contract),
                "terms_digest": item.terms_digest,
                "dataset": str(item.dataset),
                "fields": [[each.name, str(each.transform)] for each in item.fields],
                "row_filters": [predicate_to_json(each) for each in item.row_filters],
                "filters": [predicate_to_json(each) for each in item.filters],
                "encoding": item.encoding.value,
            }
        )
    ).digest()


class ResumeTokens:
    """Seals and opens positions; safe to use from many threads.

    Args:
        node_key: the node's secret, or None: then streams have no tokens, and none is accepted.
    """

    def __init__(self, node_key: bytes | None) -> None:
        self._cipher = None if node_key is None else AESGCM(hmac.digest(node_key, _LABEL, "sha256"))

    def seal(self, position: Position, binding: bytes) -> str:
        """A token for going on after a position; empty when there is no key, or no token that would hold the position."""
        if self._cipher is None:
            return ""
        kinds = [type(each).__name__ for each in position]
        if any(kind not in _READ for kind in kinds):
            return ""
        content = [[kind, _WRITE.get(kind, str)(each)] for kind, each in zip(kinds, position, strict=True)]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(content, ensure_ascii=False).encode(), binding)
        token = base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode("ascii")
        return token if len(token) <= MAX_RESUME else ""

    def open(self, token: str, binding: bytes) -> Position:
        """The position in a token.

        Raises:
            ResumeRefused: it was made by another node, for another stream, or was changed.
        """
        if self._cipher is None:
            raise ResumeRefused("this node has no hash_key, so its streams cannot be resumed; begin anew")
        try:
            data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            content = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], binding)
        except (InvalidTag, ValueError, binascii.Error):
            raise ResumeRefused(
                "is no token of this stream: contract, terms, fields, filters and encoding must be those of the "
                "stream that it was made for; begin anew"
            ) from None
        return tuple(_READ[kind](text) for kind, text in json.loads(content))
