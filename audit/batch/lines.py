"""What a batch decided about each of its subjects, so that each can be proven alone.

The record of a batch holds one root over a line for each subject, in the order of the request. A line is canonical
JSON (RFC 8785) with these members; what is empty is left out:

    index     the position in the request, from 0
    token     the keyed token of the subject; none where the identifier was none
    decision  ALLOW, DENY or ERROR
    reasons   every reason of a refusal
    consent   {"name", "position"}: the consent that it rests on, or was refused for
    rows      how many rows were released
    digest    SHA-256(nonce' || index || SHA-256 of the provider's bytes), hex, with a nonce' that is not in the ledger
    nonce     16 random bytes, hex, so that no line can be guessed from its hash

The root is that of RFC 6962 over the lines. Lines are erasable one by one: an erased line is empty, its hash stays, and
the other lines can still be proven. Nothing here reads a clock or a database.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit.record import DECISIONS, AccessRecord
from audit.tlog.errors import ProofError
from audit.tlog.merkle import HASH_SIZE, hash_leaf, root_of, split_point, verify_inclusion
from isthmus.canonical import CanonicalError, parse_canonical

PART: Final = 256
"""How many lines are stored together."""
MAX_LINE_BYTES: Final = 4096
MAX_LINES: Final = 10_000

_MEMBERS: Final = frozenset({"index", "token", "decision", "reasons", "consent", "rows", "digest", "nonce"})
_KINDS: Final[Mapping[str, type]] = {
    "index": int,
    "token": str,
    "decision": str,
    "reasons": list,
    "consent": dict,
    "rows": int,
    "digest": str,
    "nonce": str,
}


class LineError(ValueError):
    """A line is none, or not what the record of its batch vouches for. The message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class BatchLines:
    """The lines of one batch, before they are stored.

    Args:
        lines: in the order of the request, each as its canonical JSON.
        tokens: of the persons in them, so that a search for a person finds the batch.
    """

    lines: Sequence[bytes]
    tokens: Collection[str]
    hashes: bytes

    @classmethod
    def of(cls, lines: Sequence[bytes], tokens: Collection[str]) -> "BatchLines":
        """The lines and their hashes."""
        return cls(lines, tokens, b"".join(map(hash_leaf, lines)))

    @property
    def root(self) -> str:
        """The root over the lines, hex: `subjects_root` of the record."""
        return root_of(self.hashes).hex()

    def parts(self) -> Iterator[tuple[bytes, bytes]]:
        """The hashes and the lines, `PART` together, as they are stored."""
        for start in range(0, len(self.lines), PART):
            hashes = self.hashes[start * HASH_SIZE : (start + PART) * HASH_SIZE]
            yield hashes, join_lines(self.lines[start : start + PART])


@dataclass(frozen=True, slots=True)
class Line:
    """One line, read. `consent` is empty where none was looked at; an erased line cannot be read."""

    index: int
    token: str
    decision: str
    reasons: tuple[str, ...]
    consent: Mapping[str, str | int]
    rows: int
    digest: str

    @property
    def outcome(self) -> str:
        """Under what the record's `outcomes` counts it."""
        return "ALLOW" if self.decision == "ALLOW" else self.reasons[0]


def join_lines(lines: Sequence[bytes]) -> bytes:
    """Lines as one text; canonical JSON holds no line break."""
    return b"\n".join(lines)


def split_lines(text: bytes) -> list[bytes]:
    """The lines of `join_lines`; an erased one is empty."""
    return text.split(b"\n")


def read_line(data: bytes) -> Line:
    """Reads a line.

    Raises:
        LineError: it is not the canonical JSON of a line.
    """
    try:
        found = parse_canonical(data, max_bytes=MAX_LINE_BYTES)
    except (CanonicalError, TypeError) as error:
        raise LineError(f"the line is not canonical JSON: {error}") from None
    if not isinstance(found, dict) or not found.keys() <= _MEMBERS:
        raise LineError("the line holds members that no line has")
    if any(type(value) is not _KINDS[name] for name, value in found.items()):
        raise LineError("a member of the line has the wrong type")
    if any(not value for name, value in found.items() if name != "index"):
        raise LineError("the line holds an empty member, which is left out")
    return _line(found)


def _line(found: Mapping[str, Any]) -> Line:
    reasons, decision = found.get("reasons", []), found.get("decision")
    if decision not in DECISIONS or not all(isinstance(each, str) for each in reasons):
        raise LineError("the line does not say what was decided")
    if (decision == "ALLOW") == bool(reasons) or (decision != "ALLOW" and "digest" in found):
        raise LineError("the line's reasons or answer do not fit its decision")
    if found.get("index", -1) < 0 or "nonce" not in found:
        raise LineError("the line does not say which one it is, or can be guessed")
    return Line(
        index=found["index"],
        token=found.get("token", ""),
        decision=decision,
        reasons=tuple(reasons),
        consent=found.get("consent", {}),
        rows=found.get("rows", 0),
        digest=found.get("digest", ""),
    )


def prove_line(hashes: bytes, index: int) -> list[bytes]:
    """The audit path of a line, leaf sibling first (RFC 6962 section 2.1.1).

    Args:
        hashes: the 32-byte leaf hashes of all lines, concatenated.
        index: of the line.

    Raises:
        LineError: there is no such line.
    """
    low, high = 0, len(hashes) // HASH_SIZE
    if not 0 <= index < high:
        raise LineError(f"the batch has {high} lines, and none with the number {index}")
    path = []
    while high - low > 1:
        middle = low + split_point(high - low)
        other = (middle, high) if index < middle else (low, middle)
        path.append(root_of(hashes[other[0] * HASH_SIZE : other[1] * HASH_SIZE]))
        low, high = (low, middle) if index < middle else (middle, high)
    return path[::-1]


def verify_line(record: AccessRecord, line: bytes, path: Sequence[bytes]) -> Line:
    """Returns what a line says, only if the record of the batch vouches for it.

    Args:
        record: the record of the batch, itself proven to be in the log.
        line: the line's bytes.
        path: from `prove_line`, 32 bytes each.

    Raises:
        LineError: it is no line of this batch, or not at the place that it names.
    """
    found = read_line(line)
    try:
        verify_inclusion(
            found.index,
            record.subject_count,
            leaf_hash=hash_leaf(line),
            proof=path,
            root=bytes.fromhex(record.subjects_root),
        )
    except ProofError as error:
        raise LineError(f"the record of the batch does not vouch for the line: {error}") from None
    return found
