"""The proof of what one batch decided about one subject, from a copy of the ledger, for whoever trusts nobody.

It holds the line, the path from it to the `subjects_root` of the batch's record, the record, and the record's own proof in
the log. With the log's public key that is enough to check all of it, and it says nothing about the other subjects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit.batch.lines import Line, LineError, verify_line
from audit.batch.view import proven_line
from audit.ledger.offline import open_offline
from audit.ledger.tree import StoredTiles, newest_checkpoint
from audit.record import AccessRecord, RecordError
from audit.search.query import Found, oldest_first, one_of_exchange
from audit.tlog.errors import TlogError
from audit.tlog.keys import VerifierKey
from audit.tlog.proof import TlogProof, verify_proof
from audit.tlog.tree import Tree
from isthmus.canonical import CanonicalError, canonical_json, parse_json

MAX_BYTES: Final = 1 << 20
_RECORDS: Final = "records/"
_MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class LineProof:
    """A line with everything that proves it; nothing is verified until `check` returns.

    Attributes:
        line: its bytes.
        path: to `subjects_root`, 32 bytes each.
        record: the leaf of the batch's record.
        proof: of that record in the log, a C2SP tlog-proof.
    """

    line: bytes
    path: tuple[bytes, ...]
    record: bytes
    proof: str

    def encode(self) -> bytes:
        """The proof as JSON."""
        members = {
            "line": self.line.decode(),
            "path": [each.hex() for each in self.path],
            "proof": self.proof,
            "record": self.record.decode(),
        }
        return canonical_json(members)

    @classmethod
    def decode(cls, data: bytes) -> "LineProof":
        """Reads what `encode` wrote. Raises LineError."""
        try:
            found = parse_json(data, max_bytes=MAX_BYTES)
            return cls(
                _text(found, "line").encode(),
                tuple(bytes.fromhex(each) for each in found["path"]),
                _text(found, "record").encode(),
                _text(found, "proof"),
            )
        except (CanonicalError, ValueError, TypeError, KeyError) as error:
            raise LineError(f"this is not the proof of a line: {type(error).__name__}") from None

    def check(self, key: VerifierKey) -> tuple[AccessRecord, Line]:
        """Returns the record and the line, only if the log vouches for the one, and the record for the other.

        Args:
            key: the log's public key, from a source that whoever gave the proof cannot change.

        Raises:
            LineError: it proves nothing.
        """
        try:
            verify_proof(self.proof.encode(), self.record, key)
            record = AccessRecord.parse(self.record)
        except (TlogError, RecordError) as error:
            raise LineError(f"the record of the batch is not in the log: {error}") from None
        return record, verify_line(record, self.line, self.path)


def prove_from(location: str, name: str, number: int) -> LineProof:
    """Returns the proof of one line, from a ledger that is opened for looking only.

    Args:
        location: the path of the database; a copy will do.
        name: `exchanges/{uuid}` or `records/{index}` of the batch.
        number: the position of the subject in the request, from 0.

    Raises:
        LineError: there is no such record, no such line, or it was erased.
        OSError: there is no such file.
        ValueError: the location is a database of another kind.
    """
    with open_offline(location) as connection:
        found, head = _find(connection, name), newest_checkpoint(connection)
        proven = proven_line(connection, found.index, number) if found is not None else None
        if found is None or head is None or proven is None:
            raise LineError(f"{name} is no batch with a line {number}, or that line was erased")
        hashes = Tree(StoredTiles(connection)).inclusion_proof(found.index, head.size)
    proof = TlogProof(found.index, tuple(hashes), head.note)
    return LineProof(proven.text, proven.path, found.leaf, proof.encode().decode())


def _find(connection: Any, name: str) -> Found | None:
    if not name.startswith(_RECORDS):
        return one_of_exchange(connection, [], name)
    number = name.removeprefix(_RECORDS)
    if not number.isascii() or not number.isdigit() or len(number) > _MAX_DIGITS:
        raise LineError("a record is named records/{index}, or exchanges/{uuid}")
    return next(oldest_first(connection, [], between=(int(number), int(number) + 1), limit=1), None)


def _text(found: Mapping[str, Any], name: str) -> str:
    if not isinstance(found[name], str):
        raise TypeError(name)
    return str(found[name])
