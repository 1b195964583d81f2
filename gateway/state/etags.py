"""Etags (AIP-154): short digests of what makes one revision of a resource different from another."""

import hashlib

from isthmus.errors import EtagMismatch


def etag_of(*parts: str | int) -> str:
    """Returns the etag of a revision that these parts identify."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]


def require_etag(name: str, given: str, current: str) -> None:
    """Returns when the caller saw the current revision, or does not mind.

    Raises:
        EtagMismatch: the resource has changed since.
    """
    if given and given != current:
        raise EtagMismatch(name)
