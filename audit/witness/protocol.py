"""The texts of the witness protocol (C2SP tlog-witness), read strictly: a request, and the sizes of a refusal."""

from dataclasses import dataclass
from typing import Final

from audit.tlog.errors import TlogError
from audit.tlog.merkle import HASH_SIZE, MAX_SIZE
from audit.tlog.text import decode_base64, encode_base64, parse_decimal

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = 128 * 1024
"""Room for the longest proof and a checkpoint with a hundred signatures, the large post-quantum ones aside."""
MAX_RESPONSE_BYTES: Final = 64 * 1024
_OLD: Final = "old "


class ProtocolError(TlogError):
    """A message of the witness protocol is malformed or too large."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign a checkpoint; nothing in it is verified.

    Attributes:
        old: the size that the witness cosigned last, as the client believes; 0 if none.
        proof: of consistency from `old` on, at most 63 hashes of 32 bytes.
        checkpoint: the note, at least one byte.

    Raises:
        ProtocolError: a value of another form.
    """

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old <= MAX_SIZE:
            raise ProtocolError("the old size is between 0 and 2^63")
        if len(self.proof) > MAX_PROOF_LINES or any(len(each) != HASH_SIZE for each in self.proof):
            raise ProtocolError(f"a consistency proof holds at most {MAX_PROOF_LINES} hashes of 32 bytes")
        if not self.checkpoint:
            raise ProtocolError("the checkpoint is missing")

    @classmethod
    def parse(cls, body: bytes) -> "AddCheckpoint":
        """Read the body of a request.

        Raises:
            ProtocolError: malformed, or over 128 KiB.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise ProtocolError(f"a request is at most {MAX_REQUEST_BYTES} bytes")
        head, blank, checkpoint = body.partition(b"\n\n")
        if not blank:
            raise ProtocolError("a request is an old size, proof lines, a blank line and a checkpoint")
        # One more than allowed is enough to refuse it; the rest need not be decoded.
        old, *lines = head.split(b"\n", MAX_PROOF_LINES + 1)
        try:
            return cls(
                _old_size(old), tuple(decode_base64(each.decode("ascii")) for each in lines), checkpoint
            )
        except ProtocolError:
            raise
        except ValueError as error:
            raise ProtocolError("a consistency proof line is not base64 of a hash") from error

    def encode(self) -> bytes:
        """Write the body of a request."""
        lines = (f"{_OLD}{self.old}", *map(encode_base64, self.proof))
        return "".join(f"{line}\n" for line in lines).encode("ascii") + b"\n" + self.checkpoint


def parse_size(body: bytes) -> int:
    """Read the size in a refusal of type `text/x.tlog.size`.

    Raises:
        ProtocolError: it is none.
    """
    try:
        text = body.decode("ascii")
        size = parse_decimal(text.removesuffix("\n"))
    except ValueError as error:
        raise ProtocolError("the size in a witness's refusal cannot be read") from error
    if not text.endswith("\n") or size > MAX_SIZE:
        raise ProtocolError("the size in a witness's refusal cannot be read")
    return size


def _old_size(line: bytes) -> int:
    try:
        text = line.decode("ascii")
        if text.startswith(_OLD):
            return parse_decimal(text.removeprefix(_OLD))
    except ValueError as error:
        raise ProtocolError("the old size is no decimal number") from error
    raise ProtocolError("a request begins with the old size")
