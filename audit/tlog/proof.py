"""The receipt of an entry: a file that proves, offline, that the entry is in a log (C2SP tlog-proof)."""

from collections.abc import Collection
from dataclasses import dataclass

from audit.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from audit.tlog.errors import ProofError
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE, MAX_SIZE, hash_leaf, verify_inclusion
from audit.tlog.note import MAX_NOTE_BYTES, NoteKey
from audit.tlog.text import decode_base64, encode_base64, parse_decimal

FILE_SUFFIX = ".tlog-proof"
MAX_EXTRA_BYTES = 65_536
MAX_HASHES = 63
# A checkpoint, and room for base64 of the extra data and of the hashes.
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 100_000
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A receipt as it is written; nothing in it is verified until `verify` returns.

    Attributes:
        index: zero-based position of the entry.
        hashes: inclusion proof from the leaf's sibling upwards, at most 63 hashes of 32 bytes.
        checkpoint: the log's signed checkpoint, verbatim.
        extra: further data that nobody vouches for, at most 65,536 bytes; empty when absent.

    Raises:
        ProofError: a value of another form.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise ProofError("the index in a proof is between 0 and 2^63")
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_SIZE for value in self.hashes):
            raise ProofError(f"a proof holds at most {MAX_HASHES} hashes of 32 bytes")
        if len(self.extra) > MAX_EXTRA_BYTES or len(self.checkpoint) > MAX_NOTE_BYTES:
            raise ProofError("the extra data or the checkpoint of a proof is too large")

    @classmethod
    def parse(cls, data: bytes) -> "TlogProof":
        """Read a `.tlog-proof` file.

        Raises:
            ProofError: malformed or too large.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise ProofError(f"a proof is at most {MAX_PROOF_BYTES} bytes")
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank:
            raise ProofError("a proof is a head, a blank line and a checkpoint")
        try:
            extra, index, hashes = _parse_head(head.decode("ascii").split("\n"))
        except ProofError:
            raise
        except ValueError as error:
            raise ProofError("a line of the proof's head cannot be read") from error
        return cls(index, hashes, checkpoint, extra)

    def encode(self) -> bytes:
        """Write the `.tlog-proof` file."""
        extra = [f"extra {encode_base64(self.extra)}"] if self.extra else []
        lines = [_HEADER, *extra, f"index {self.index}", *map(encode_base64, self.hashes)]
        return "\n".join(lines).encode("ascii") + b"\n\n" + self.checkpoint

    def verify(
        self, entry: bytes, log_key: VerifierKey, *, witnesses: Collection[NoteKey] = ()
    ) -> SignedCheckpoint:
        """Return the checkpoint only if `entry` is in its tree at `index` and the log vouches for it.

        Args:
            entry: the leaf's exact bytes.
            log_key: the log's key, whose name is the log's origin.
            witnesses: further keys whose signatures count when present.

        Raises:
            NoteError, CheckpointError: the checkpoint is not vouched for, as `open_checkpoint`.
            ProofError: the entry is not shown to be at this index.
        """
        signed = open_checkpoint(self.checkpoint, log_key, witnesses=witnesses)
        size, root = signed.checkpoint.size, signed.checkpoint.root
        verify_inclusion(self.index, size, leaf_hash=hash_leaf(entry), proof=self.hashes, root=root)
        return signed


def verify_proof(
    data: bytes, entry: bytes, log_key: VerifierKey, *, witnesses: Collection[NoteKey] = ()
) -> SignedCheckpoint:
    """Read a `.tlog-proof` file and verify it, as `TlogProof.parse` and `TlogProof.verify`.

    Raises:
        TlogError: one of its subclasses says why the proof is refused.
    """
    return TlogProof.parse(data).verify(entry, log_key, witnesses=witnesses)


def _parse_head(lines: list[str]) -> tuple[bytes, int, tuple[bytes, ...]]:
    header, *rest = lines
    if header != _HEADER:
        raise ProofError(f"a proof starts with {_HEADER}")
    extra = b""
    if rest and rest[0].startswith("extra "):
        extra = decode_base64(rest.pop(0).removeprefix("extra "))
        if not extra:
            raise ProofError("an extra line without data must be left out")
    if not rest or not rest[0].startswith("index "):
        raise ProofError("a proof names the index of its entry")
    return extra, parse_decimal(rest[0].removeprefix("index ")), tuple(map(decode_base64, rest[1:]))
