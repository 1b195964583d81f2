"""What a bundle says about itself, and where its files are. Nothing of it is believed before it is verified.

manifest.json              this: canonical JSON, with the SHA-256 of every other file
README.md                  how to check the bundle with other people's tools
records/{index}.json       the leaf of a record of the case, or of one that it rests on, verbatim
records/{index}.tlog-proof its receipt (C2SP tlog-proof) under checkpoints/newest
range/leaves.jsonl         every leaf from `begin` up to before `end`, a line each
range/proof                the hashes that complete them to the root of checkpoints/newest, base64, a line each
checkpoints/case           the checkpoint that first covered the case
checkpoints/newest         the newest one when the bundle was made
checkpoints/consistency    the RFC 6962 consistency proof between them, base64, a line each
lines/{index}-{line}.json  what a batch decided about the person of the case, with its path to `subjects_root`
statements/{sha256}.jws    a statement that a record names by this digest, a compact JWS
terms/{sha256}.json        the canonical terms of a contract version
policies/{digest}/{name}   the Cedar schema and policies of this digest
trust/log.vkey             the log's public key
trust/ca.pem               the authorities that the audit service trusted
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from isthmus.canonical import CanonicalError, canonical_json, parse_canonical

VERSION: Final = 1
MAX_BYTES: Final = 8 << 20
MAX_RANGE: Final = 10_000
MANIFEST, README = "manifest.json", "README.md"
LEAVES, RANGE_PROOF = "range/leaves.jsonl", "range/proof"
OLD, NEW, CONSISTENCY = "checkpoints/case", "checkpoints/newest", "checkpoints/consistency"
VKEY, CA = "trust/log.vkey", "trust/ca.pem"
_MEMBERS: Final = frozenset({"v", "log", "trust_domain", "begin", "end", "case", "rests_on", "files"})


class ManifestError(ValueError):
    """This is no manifest of a bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        log: the log's name.
        trust_domain: of the certificates that signed the statements.
        begin, end: the range of positions that it holds whole, the end exclusive.
        case: the positions of the records of the case, within the range, in order.
        rests_on: positions of further records that those rest on: signatures of contracts, consents, a stream's opening.
        files: the SHA-256 of each file but the manifest, hex.
    """

    log: str
    trust_domain: str
    begin: int
    end: int
    case: tuple[int, ...]
    rests_on: tuple[int, ...]
    files: Mapping[str, str]

    def encode(self) -> bytes:
        """The manifest as canonical JSON."""
        members = {name: getattr(self, name) for name in _MEMBERS if name != "v"}
        return canonical_json({**members, "files": dict(self.files), "v": VERSION})

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Reads what `encode` wrote. Raises ManifestError."""
        try:
            found = parse_canonical(data, max_bytes=MAX_BYTES)
        except CanonicalError as error:
            raise ManifestError(f"it is not canonical JSON: {error}") from None
        if not isinstance(found, dict) or found.keys() != _MEMBERS or found["v"] != VERSION:
            raise ManifestError(f"it is no manifest of version {VERSION}")
        manifest = cls(
            log=_text(found["log"]),
            trust_domain=_text(found["trust_domain"]),
            begin=_number(found["begin"]),
            end=_number(found["end"]),
            case=_numbers(found["case"]),
            rests_on=_numbers(found["rests_on"]),
            files={_text(name): _text(digest) for name, digest in _object(found["files"]).items()},
        )
        _require_sense(manifest)
        return manifest


def leaf_file(index: int) -> str:
    """Where the leaf of a record is."""
    return f"records/{index}.json"


def proof_file(index: int) -> str:
    """Where its receipt is."""
    return f"records/{index}.tlog-proof"


def statement_file(digest: str) -> str:
    """Where a statement is."""
    return f"statements/{digest}.jws"


def terms_file(digest: str) -> str:
    """Where the terms of a contract are."""
    return f"terms/{digest}.json"


def _require_sense(manifest: Manifest) -> None:
    case, begin, end = manifest.case, manifest.begin, manifest.end
    if not case or not 0 < end - begin <= MAX_RANGE:
        raise ManifestError(f"a bundle holds a case, in a range of 1 to {MAX_RANGE} records")
    if case[0] != begin or case[-1] != end - 1:
        raise ManifestError("its range does not begin and end with a record of the case")
    if any(list(each) != sorted(set(each)) for each in (case, manifest.rests_on)):
        raise ManifestError("its records are not in order")
    if set(case) & set(manifest.rests_on):
        raise ManifestError("a record of the case is said to be another that it rests on")


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1024:
        raise ManifestError("a member that should be text is none")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ManifestError("a position is a whole number from 0 on")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ManifestError("positions are a list")
    return tuple(map(_number, value))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError("the files are an object")
    return value
