"""Verifies a bundle: no server, no network, no database, and no word of the bundle believed before it is shown.

First the archive and its list of files; then, against the log's key, the newest checkpoint, the consistency of the case's own
checkpoint with it, the whole range, and the receipt of each record; then what the records say: the fences, as far as the
records in the bundle tell; and last the statements, against the records that name them and the authorities.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from audit.evidence.archive import MARK, ArchiveError, unpack
from audit.evidence.content import Content, check_content
from audit.evidence.manifest import (
    CA,
    CONSISTENCY,
    LEAVES,
    MANIFEST,
    NEW,
    OLD,
    RANGE_PROOF,
    VKEY,
    Manifest,
    ManifestError,
    leaf_file,
    proof_file,
)
from audit.evidence.statements import check_statements
from audit.record import AccessRecord
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.keys import VerifierKey
from audit.tlog.merkle import HASH_SIZE, MAX_SIZE, hash_leaf, verify_consistency, verify_range
from audit.tlog.proof import TlogProof
from audit.tlog.text import decode_base64
from audit.verifier.damage import Damaged, DamageKind
from isthmus.identity import require_trust_domain
from isthmus.statement import StatementVerifier

T = TypeVar("T")

_MAX_FILE: Final = 96 << 20
_MAX_HASHES: Final = 256
_ARCHIVE: Final = "the archive"
_PROOFS: Final = DamageKind.RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle in which nothing is wrong.

    Attributes:
        log: the log's name.
        digest: SHA-256 of the bundle, hex; the log's record of the export names it.
        case: the positions of the records of the case.
        begin, end: the range that it holds whole, the end exclusive.
        rests_on: how many further records it proves.
        statements: how many signed statements.
        checkpoint: the newest.
        anchors: the trust anchors that were taken from the bundle itself: it cannot vouch for those.
        missing: what records name, and the bundle does not hold.
    """

    log: str
    digest: str
    case: tuple[int, ...]
    begin: int
    end: int
    rests_on: int
    statements: int
    checkpoint: Checkpoint
    anchors: tuple[str, ...]
    missing: tuple[str, ...]


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a bundle does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def verify_bundle(
    path: Path,
    key: VerifierKey | None,
    *,
    ca: Sequence[x509.Certificate] | None = None,
    known: bytes | None = None,
) -> VerifiedBundle:
    """Return only if everything in the bundle is as the log and the parties signed it.

    Args:
        path: the bundle.
        key: the log's public key, from a source of yours; without it the bundle's own, which proves only that the bundle
            agrees with itself.
        ca: the authorities, the same way.
        known: a signed checkpoint from outside. Only one of the size of either checkpoint in the bundle can be compared,
            because a proof for any other size would have to come from the log.

    Raises:
        Damaged: the first thing found wrong; `where` is the file in the bundle.
        OSError: the file cannot be read.
        ValueError: an authority is none; or `known` is not signed by the log, or of another size.
    """
    if path.stat().st_size > _MAX_FILE:
        raise Damaged(DamageKind.BUNDLE, _ARCHIVE, f"it is larger than {_MAX_FILE >> 20} MiB")
    data = path.read_bytes()
    files = _files(data)
    manifest = _manifest(files)
    own = _key(files)
    if key is not None and key != own:
        raise Damaged(DamageKind.KEY, VKEY, "the bundle says that it belongs to another key than yours")
    if manifest.log != own.name:
        raise Damaged(DamageKind.KEY, MANIFEST, "it names another log than the bundle's key")
    newest = _check_tree(files, manifest, own)
    if known is not None:
        _compare(files, own, open_checkpoint(known, own).checkpoint)
    leaves, parsed = _check_records(files, manifest, own, newest)
    content = Content(files, manifest, leaves, parsed)
    verifier = _verifier(files, manifest, ca)
    try:
        missing = check_content(content)
        count, absent = check_statements(content, verifier)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # Proven to be in the log, or signed, and yet of a form that no gateway writes.
        words = f"a record or statement is not of the form that it must have: {type(error).__name__}"
        raise Damaged(DamageKind.CONTENT, MANIFEST, words) from None
    anchors = ((VKEY,) if key is None else ()) + ((CA,) if ca is None and count else ())
    return VerifiedBundle(
        log=own.name,
        digest=hashlib.sha256(data).hexdigest(),
        case=manifest.case,
        begin=manifest.begin,
        end=manifest.end,
        rests_on=len(manifest.rests_on),
        statements=count,
        checkpoint=newest,
        anchors=anchors,
        missing=(*missing, *absent),
    )


def _never() -> datetime:
    """Statements are judged at the time of the record that names them; nothing here asks what time it is."""
    return datetime.min.replace(tzinfo=UTC)


def _files(data: bytes) -> dict[str, bytes]:
    try:
        return unpack(data)
    except ArchiveError as error:
        raise Damaged(DamageKind.BUNDLE, error.where, f"it {error}") from None


def _manifest(files: dict[str, bytes]) -> Manifest:
    if MANIFEST not in files:
        raise Damaged(DamageKind.BUNDLE, MANIFEST, "it is missing")
    try:
        manifest = Manifest.parse(files[MANIFEST])
    except ManifestError as error:
        raise Damaged(DamageKind.BUNDLE, MANIFEST, str(error)) from None
    for name in sorted(manifest.files.keys() ^ (files.keys() - {MANIFEST})):
        problem = "it is missing" if name in manifest.files else "the manifest does not list it"
        raise Damaged(DamageKind.BUNDLE, name[:200], problem)
    for name, digest in manifest.files.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise Damaged(DamageKind.BUNDLE, name, "it is not what the manifest says")
    needed = [
        leaf
        for index in (*manifest.case, *manifest.rests_on)
        for leaf in (leaf_file(index), proof_file(index))
    ]
    for name in (VKEY, CA, OLD, NEW, CONSISTENCY, LEAVES, RANGE_PROOF, *needed):
        if name not in files:
            raise Damaged(DamageKind.BUNDLE, name, "it is missing")
    return manifest


def _key(files: dict[str, bytes]) -> VerifierKey:
    return _said(DamageKind.KEY, VKEY, lambda: VerifierKey.parse(files[VKEY].decode().strip()))


def _verifier(
    files: dict[str, bytes], manifest: Manifest, ca: Sequence[x509.Certificate] | None
) -> StatementVerifier:
    domain = _said(DamageKind.BUNDLE, MANIFEST, lambda: require_trust_domain(manifest.trust_domain))
    if ca is not None:
        return StatementVerifier(ca, domain, clock=_never)
    own = _said(DamageKind.STATEMENT, CA, lambda: x509.load_pem_x509_certificates(files[CA]))
    return _said(DamageKind.STATEMENT, CA, lambda: StatementVerifier(own, domain, clock=_never))


def _check_tree(files: dict[str, bytes], manifest: Manifest, key: VerifierKey) -> Checkpoint:
    """The newest checkpoint, only if it extends that of the case and covers its range."""
    old, new = (_checkpoint(files, name, key) for name in (OLD, NEW))
    if not manifest.end <= old.size <= new.size <= MAX_SIZE:
        raise Damaged(
            DamageKind.CHECKPOINT, OLD, "it does not lie between the case and the newest checkpoint"
        )
    proof = _hashes(files, CONSISTENCY)
    roots = {"old_root": old.root, "new_root": new.root}
    _said(DamageKind.FORK, CONSISTENCY, lambda: verify_consistency(old.size, new.size, proof=proof, **roots))
    return new


def _compare(files: dict[str, bytes], key: VerifierKey, outside: Checkpoint) -> None:
    for name in (OLD, NEW):
        inside = _checkpoint(files, name, key)
        if inside.size == outside.size:
            if inside != outside:
                raise Damaged(DamageKind.FORK, name, "the log signed another checkpoint of this size")
            return
    raise ValueError(
        f"the checkpoint of size {outside.size} cannot be compared with this bundle: fetch the proof of consistency "
        "from the log (isthmus audit consistent)"
    )


def _checkpoint(files: dict[str, bytes], name: str, key: VerifierKey) -> Checkpoint:
    return _said(DamageKind.CHECKPOINT, name, lambda: open_checkpoint(files[name], key)).checkpoint


def _check_records(
    files: dict[str, bytes], manifest: Manifest, key: VerifierKey, newest: Checkpoint
) -> tuple[list[bytes], dict[int, AccessRecord]]:
    leaves = _leaves(files[LEAVES], manifest)
    hashes = [hash_leaf(leaf) for leaf in leaves]
    proof, begin = _hashes(files, RANGE_PROOF), manifest.begin
    _said(
        _PROOFS,
        RANGE_PROOF,
        lambda: verify_range(begin, newest.size, leaf_hashes=hashes, proof=proof, root=newest.root),
    )
    parsed = {begin + at: _record(leaf, LEAVES) for at, leaf in enumerate(leaves)}
    for index in (*manifest.case, *manifest.rests_on):
        leaf = files[leaf_file(index)]
        if index in parsed and leaf != leaves[index - begin]:
            raise Damaged(_PROOFS, leaf_file(index), f"it is not the leaf {index} of {LEAVES}")
        _check_receipt(files, index, key, newest)
        parsed[index] = _record(leaf, leaf_file(index))
    return leaves, parsed


def _check_receipt(files: dict[str, bytes], index: int, key: VerifierKey, newest: Checkpoint) -> None:
    name = proof_file(index)
    receipt = _said(_PROOFS, name, lambda: TlogProof.parse(files[name]))
    signed = _said(_PROOFS, name, lambda: receipt.verify(files[leaf_file(index)], key)).checkpoint
    if receipt.index != index or receipt.extra:
        raise Damaged(_PROOFS, name, "it is the receipt of another record")
    if signed != newest:
        raise Damaged(DamageKind.CHECKPOINT, name, f"its checkpoint is not {NEW}")


def _leaves(data: bytes, manifest: Manifest) -> list[bytes]:
    leaves = data.split(b"\n")
    if leaves.pop() != b"" or len(leaves) != manifest.end - manifest.begin:
        words = f"it does not hold the {manifest.end - manifest.begin} leaves of the range, a line each"
        raise Damaged(DamageKind.RECORD, LEAVES, words)
    return leaves


def _record(leaf: bytes, name: str) -> AccessRecord:
    return _said(DamageKind.CONTENT, name, lambda: AccessRecord.parse(leaf))


def _hashes(files: dict[str, bytes], name: str) -> list[bytes]:
    def read() -> list[bytes]:
        lines = files[name].decode("ascii").split("\n")
        if lines.pop() != "" or len(lines) > _MAX_HASHES:
            raise ValueError("it is not hashes in base64, a line each")
        hashes = [decode_base64(line) for line in lines]
        if any(len(each) != HASH_SIZE for each in hashes):
            raise ValueError("a hash in it is not 32 bytes")
        return hashes

    return _said(_PROOFS, name, read)


def _said(kind: DamageKind, where: str, action: Callable[[], T]) -> T:
    """The result of an action on a file; a refusal is damage there."""
    try:
        return action()
    except ValueError as error:  # Every error of these formats is one.
        raise Damaged(kind, where, str(error) or type(error).__name__) from None
