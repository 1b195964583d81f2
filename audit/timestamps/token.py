"""Asking for an RFC 3161 timestamp and verifying one; the cryptography is `rfc3161-client`'s.

What is stamped is the SHA-256 of a checkpoint's note exactly as the log signed it, without the lines of witnesses, so
`openssl ts -verify -data checkpoint -in response.tsr -CAfile roots.pem` verifies it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

MAX_RESPONSE_BYTES: Final = 64 * 1024
_MAX_ROOTS_BYTES: Final = 1 << 20


class TimestampError(ValueError):
    """A timestamp is malformed, of something else, or not vouched for by a trusted authority."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A verified timestamp of a checkpoint.

    Attributes:
        size: of the checkpoint.
        authority: what the deployment calls the authority.
        at: the time that the authority signed, UTC.
        serial: its serial number of the timestamp.
    """

    size: int
    authority: str
    at: datetime
    serial: int


def make_request(note: bytes) -> TimeStampRequest:
    """A request for a timestamp of `note`, with a fresh nonce, and for the authority's certificate in the answer."""
    return TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()


def verify_token(
    response: bytes, note: bytes, roots: Sequence[Certificate], *, request: TimeStampRequest | None = None
) -> tuple[datetime, int]:
    """Return the time and serial number of a timestamp, only if it is one of `note` by a trusted authority.

    The authority's certificate must have been valid at the time that it signed, not now.

    Args:
        response: the authority's whole answer, DER.
        note: what was to be stamped.
        roots: the certificates that are trusted; a chain from the authority's to one of them must be in the answer.
        request: what was asked, whose nonce the answer must then repeat.

    Raises:
        TimestampError: it proves nothing.
    """
    if len(response) > MAX_RESPONSE_BYTES:
        raise TimestampError(f"a timestamp is at most {MAX_RESPONSE_BYTES} bytes")
    try:
        decoded = decode_timestamp_response(response)
        _verify(decoded, note, roots, request)
        info = decoded.tst_info
        return info.gen_time.astimezone(UTC), int(info.serial_number)
    except TimestampError:
        raise
    except VerificationError as error:
        raise TimestampError(f"the timestamp is not valid: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise TimestampError("this is no RFC 3161 timestamp response that grants one") from error


def load_roots(path: Path) -> tuple[Certificate, ...]:
    """Read the certificates that are trusted to vouch for authorities (PEM, one or more).

    Raises:
        TimestampError: the file cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_ROOTS_BYTES + 1)
    except OSError as error:
        raise TimestampError(f"{path}: cannot be read: {error.strerror}") from error
    if len(found) > _MAX_ROOTS_BYTES:
        raise TimestampError(f"{path}: is longer than {_MAX_ROOTS_BYTES} bytes")
    try:
        return tuple(load_pem_x509_certificates(found))
    except ValueError as error:
        raise TimestampError(f"{path}: is not a list of PEM certificates") from error


def _verify(
    decoded: TimeStampResponse, note: bytes, roots: Sequence[Certificate], request: TimeStampRequest | None
) -> None:
    if not roots:
        raise TimestampError("no authority is trusted: give at least one root certificate")
    builder = VerifierBuilder.from_request(request) if request is not None else VerifierBuilder()
    for root in dict.fromkeys(roots):
        builder = builder.add_root_certificate(root)
    if not builder.build().verify_message(decoded, note):
        raise TimestampError("the timestamp is not valid")
