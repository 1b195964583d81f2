"""The two number and byte spellings that every C2SP text format shares, read strictly."""

import base64
import binascii
import re

_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z")


def decode_base64(text: str) -> bytes:
    """Read standard padded base64 (RFC 4648 section 4).

    Raises:
        ValueError: not base64, or not the one canonical spelling of its bytes: two spellings of one
            signature would let a note be altered without being noticed.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not standard base64") from error
    if encode_base64(data) != text:
        raise ValueError("not canonical base64")
    return data


def encode_base64(data: bytes) -> str:
    """Write standard padded base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def parse_decimal(text: str) -> int:
    """Read a non-negative ASCII decimal of at most 20 digits without leading zeroes.

    Raises:
        ValueError: anything else, including the signs, underscores and other scripts' digits `int` takes.
    """
    if not _DECIMAL.match(text):
        raise ValueError("not a plain decimal number")
    return int(text)
