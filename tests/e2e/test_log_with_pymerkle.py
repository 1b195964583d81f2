"""The log and receipts of an audit service, checked by a Merkle tree that knows nothing of tiles or of Isthmus."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pymerkle import InclusionProof, InmemoryTree, InvalidChallenge, InvalidProof, verify_inclusion

from audit.tiles.places import bundles
from audit.tlog.tiles import decode_bundle
from tests.e2e.log_for_peers import PublishedLog, Receipt, flip, publish
from tests.unit.audit.rfc6962_vectors import LEAVES, ROOTS
from tests.unit.audit.tiles_world import export, write_ledger

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PublishedLog:
    return publish(tmp_path_factory.mktemp("log"))


def tree_of(folder: Path) -> InmemoryTree:
    """pymerkle's tree over the entries in a folder of static files."""
    size, _ = size_and_root((folder / "checkpoint").read_text(encoding="utf-8"))
    tree = InmemoryTree(algorithm="sha256")
    for bundle in bundles(size):
        for entry in decode_bundle((folder / bundle.path).read_bytes(), bundle.width):
            tree.append_entry(entry)
    return tree


def size_and_root(note: str) -> tuple[int, bytes]:
    """What a checkpoint says."""
    _, size, root = note.split("\n")[:3]
    return int(size), base64.b64decode(root)


def judge(tree: InmemoryTree, found: Receipt) -> None:
    """pymerkle's verdict on a receipt: it raises when it refuses."""
    size, root = size_and_root(found.checkpoint)
    index = int(found.head[1].split()[1]) + 1
    leaf_hash = tree.hash_buff(found.entry)
    path = [leaf_hash, *(base64.b64decode(each) for each in found.head[2:])]
    rule = tree.prove_inclusion(index, size).rule
    proof = InclusionProof("sha256", True, size, index, rule, path)
    verify_inclusion(leaf_hash, root, proof, index=index, size=size, algorithm="sha256")


def test_pymerkle_finds_the_roots_that_the_log_signed(log: PublishedLog) -> None:
    tree = tree_of(log.folder)
    for note in (log.old_note, log.note):
        size, root = size_and_root(note)
        assert tree.get_root(size) == root


def test_pymerkle_verifies_the_receipts_of_the_service(log: PublishedLog) -> None:
    tree = tree_of(log.folder)
    for found in log.receipts:
        judge(tree, found)


def test_pymerkle_refuses_receipts_that_were_tampered_with(log: PublishedLog) -> None:
    tree = tree_of(log.folder)
    for found in log.receipts:
        for tampered in (
            found.changed(1, f"index {int(found.head[1].split()[1]) ^ 2}"),
            found.changed(2, flip(found.head[2])),
            found.changed(len(found.head) - 1, flip(found.head[-1])),
            Receipt(found.text, found.entry + b" "),
            Receipt("\n".join(found.head[:-1]) + "\n\n" + found.checkpoint, found.entry),
            Receipt("\n".join(found.head) + "\n\n" + log.note, found.entry),
        ):
            with pytest.raises((InvalidProof, InvalidChallenge)):
                judge(tree, tampered)


@pytest.mark.parametrize("size", range(1, 9))
def test_the_published_trees_of_rfc_6962_come_out_of_an_export(tmp_path: Path, size: int) -> None:
    note = write_ledger(tmp_path / "ledger.db", size, leaves=LEAVES.__getitem__)
    export(tmp_path / "ledger.db", tmp_path / "out")
    assert size_and_root(note.decode()) == (size, ROOTS[size - 1])
    assert tree_of(tmp_path / "out").get_root() == ROOTS[size - 1]
