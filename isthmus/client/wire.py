"""One field's bytes, exactly as they came.

A receipt digests the provider's bytes. Parsing a message and serialising it again may give other bytes (the order
of fields, fields this version does not know), so the digest is taken over what arrived.
"""

from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5


def field_bytes(message: bytes, number: int) -> bytes:
    """Returns the content of a length-delimited field at the top level of a serialised message.

    Args:
        message: what a protobuf parser has already accepted.
        number: the field's number.

    Returns:
        The content of its last occurrence, as parsers take the last; empty when it does not occur.

    Raises:
        ValueError: `message` is not well formed.
    """
    position, found = 0, b""
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        elif kind == _LENGTH:
            length, start = _varint(message, position)
            position = start + length
            if tag >> 3 == number:
                found = message[start:position]
        else:
            raise ValueError("a field of the message has a wire type that is not used")
        if position > len(message):
            raise ValueError("the message ends inside a field")
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while position < len(data) and shift < 70:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("the message ends inside a number")
