"""A log that a test grows, forks and signs, and a witness of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.cosignature import CosignerSigner
from audit.tlog.keys import SignerKey
from audit.tlog.merkle import hash_leaf
from audit.tlog.tree import Edge, Tree
from audit.witness.protocol import AddCheckpoint
from audit.witness.store import Store
from audit.witness.witness import Witness

LOG = SignerKey.from_seed("log.example/上海", bytes(32))
OTHER_LOG = SignerKey.from_seed("log.example/北京", bytes(31) + b"\5")
SIGNER = CosignerSigner.from_seed("witness.example/审计", bytes(31) + b"\2")


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


class _Tiles(dict[tuple[int, int], bytes]):
    def read_tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile."""
        return self[level, index]


class History:
    """One history of a log: its leaves, and every checkpoint and proof of them."""

    def __init__(self, leaves: Sequence[bytes], key: SignerKey = LOG) -> None:
        self._tiles, self._key, edge = _Tiles(), key, Edge.empty()
        for leaf in leaves:
            growth = edge.append([hash_leaf(leaf)])
            self._tiles.update(growth.tiles)
            edge = growth.edge
        self.size = len(leaves)

    def root(self, size: int | None = None) -> bytes:
        """The root of the first so many leaves."""
        return Tree(self._tiles).root(self.size if size is None else size)

    def note(self, size: int | None = None) -> bytes:
        """The signed checkpoint of the first so many leaves."""
        size = self.size if size is None else size
        return sign_checkpoint(Checkpoint(self._key.verifier.name, size, self.root(size)), self._key)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """That the second size extends the first."""
        return tuple(Tree(self._tiles).consistency_proof(old, new)) if old else ()

    def request(self, old: int, size: int | None = None) -> bytes:
        """What an honest client of this history sends."""
        size = self.size if size is None else size
        return AddCheckpoint(old, self.proof(old, size) if old <= size else (), self.note(size)).encode()


def leaves(count: int, *, fork_at: int | None = None) -> list[bytes]:
    """So many leaves; from `fork_at` on, others than usual."""
    return [
        f"{'other' if fork_at is not None and index >= fork_at else 'leaf'} {index}".encode()
        for index in range(count)
    ]


def witness_in(folder: Path, *, clock: Callable[[], datetime] = utc_now) -> Witness:
    """A witness that follows both logs; one that was here before goes on."""
    path, key = folder / "witness.db", SIGNER.verifier.encode()
    store = Store(path, key) if path.exists() else Store.create(path, key)
    return Witness([LOG.verifier, OTHER_LOG.verifier], SIGNER, store=store, clock=clock)
