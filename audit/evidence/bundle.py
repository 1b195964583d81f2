"""Makes a bundle of a case, from one snapshot of a ledger."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from audit.evidence.archive import ArchiveError, pack
from audit.evidence.case import Case
from audit.evidence.manifest import (
    CA,
    CONSISTENCY,
    LEAVES,
    MANIFEST,
    NEW,
    OLD,
    RANGE_PROOF,
    README,
    VKEY,
    Manifest,
    leaf_file,
    proof_file,
    statement_file,
    terms_file,
)
from audit.evidence.readme import readme
from audit.evidence.stored import payload_of, statement_of
from audit.ledger import Head
from audit.ledger.schema import checkpoints
from audit.ledger.tree import StoredTiles
from audit.record import AccessRecord
from audit.tlog.keys import VerifierKey
from audit.tlog.proof import TlogProof
from audit.tlog.text import encode_base64
from audit.tlog.tree import Tree
from isthmus.canonical import canonical_json
from isthmus.errors import InvalidArgument

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a bundle is checked with: the log's key, the authorities (PEM), their trust domain, and policies by digest."""

    key: VerifierKey
    ca: bytes
    trust_domain: str
    policies: Mapping[str, Mapping[str, bytes]]


def make_bundle(connection: sa.Connection, case: Case, newest: Head, trust: Trust, *, note: bytes) -> bytes:
    """Returns the bundle; the same case under the same checkpoints always gives the same bytes.

    Args:
        connection: the snapshot that the case was read from.
        case: the case.
        newest: the newest checkpoint of the snapshot.
        trust: what it is checked with.
        note: that checkpoint with the lines of the witnesses that cosigned it.

    Raises:
        InvalidArgument: it is larger than a bundle may be.
    """
    newest = replace(newest, note=note)
    own = {index: case.leaves[index - case.begin] for index in case.indexes} | case.rests_on
    parsed = {index: AccessRecord.parse(leaf) for index, leaf in own.items()}
    tree = Tree(StoredTiles(connection))
    files: Files = {
        **dict(_records(own, tree, newest)),
        **_range(connection, case, tree, newest),
        **dict(_lines(case)),
        **dict(_statements(connection, parsed)),
        **dict(_policies(parsed, trust)),
        VKEY: f"{trust.key.encode()}\n".encode(),
        CA: trust.ca,
    }
    files[README] = readme(case, trust.key, newest.size)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = Manifest(
        log=trust.key.name,
        trust_domain=trust.trust_domain,
        begin=case.begin,
        end=case.end,
        case=case.indexes,
        rests_on=tuple(case.rests_on),
        files=digests,
    )
    try:
        return pack({**files, MANIFEST: manifest.encode()})
    except ArchiveError as error:
        raise InvalidArgument("filter", f"{error}; narrow the case by index or time") from None


def hash_lines(hashes: list[bytes]) -> bytes:
    """Hashes in base64, a line each."""
    return "".join(f"{encode_base64(each)}\n" for each in hashes).encode()


def _records(leaves: Mapping[int, bytes], tree: Tree, newest: Head) -> Iterator[tuple[str, bytes]]:
    for index, leaf in leaves.items():
        hashes = tuple(tree.inclusion_proof(index, newest.size))
        yield leaf_file(index), leaf
        yield proof_file(index), TlogProof(index, hashes, newest.note).encode()


def _range(connection: sa.Connection, case: Case, tree: Tree, newest: Head) -> Files:
    covering = checkpoints.c.size >= case.end
    query = sa.select(checkpoints.c.size, checkpoints.c.note).where(covering).order_by(checkpoints.c.size)
    size, note = connection.execute(query.limit(1)).one()
    return {
        LEAVES: b"".join(leaf + b"\n" for leaf in case.leaves),
        RANGE_PROOF: hash_lines(tree.range_proof(case.begin, case.end, newest.size)),
        OLD: bytes(note),
        NEW: newest.note,
        CONSISTENCY: hash_lines(tree.consistency_proof(size, newest.size)),
    }


def _lines(case: Case) -> Iterator[tuple[str, bytes]]:
    for index, lines in case.lines.items():
        for each in lines:
            members = {"line": each.text.decode(), "path": [hash_.hex() for hash_ in each.path]}
            yield f"lines/{index}-{each.line.index}.json", canonical_json(members)


def _statements(connection: sa.Connection, parsed: Mapping[int, AccessRecord]) -> Iterator[tuple[str, bytes]]:
    for record in parsed.values():
        digest = record.change.get("statement_digest")
        if not isinstance(digest, str):
            continue
        statement = statement_of(connection, action=record.action, resource=record.resource, digest=digest)
        if statement is None:
            continue
        yield statement_file(digest), statement.encode("ascii")
        if record.action == "SignContract":
            yield terms_file(record.terms_digest), canonical_json(payload_of(statement).get("terms"))


def _policies(parsed: Mapping[int, AccessRecord], trust: Trust) -> Iterator[tuple[str, bytes]]:
    for digest in sorted({record.policy_digest for record in parsed.values()} & trust.policies.keys()):
        for name, text in trust.policies[digest].items():
            yield f"policies/{digest}/{name}", text
