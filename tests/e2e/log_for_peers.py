"""What an audit service hands out of a log of a thousand records, for other people's code to judge."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from tests.integration.audit_world import AUDITOR, audit_world_in
from tests.unit.audit.ledger_world import append, decision, denial
from tests.unit.audit.tiles_world import export


@dataclass(frozen=True, slots=True)
class Receipt:
    """A `.tlog-proof` file that the service gave, and the record it is about."""

    text: str
    entry: bytes

    @property
    def head(self) -> list[str]:
        """The lines before the checkpoint: the version, the index, the hashes."""
        return self.text.partition("\n\n")[0].split("\n")

    @property
    def checkpoint(self) -> str:
        """The checkpoint that the proof leads to."""
        return self.text.partition("\n\n")[2]

    def changed(self, line: int, text: str) -> Receipt:
        """The same with another line in its head."""
        head = [*self.head[:line], text, *self.head[line + 1 :]]
        return Receipt("\n".join(head) + "\n\n" + self.checkpoint, self.entry)


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """The checkpoint and static files of a log, an older checkpoint, what connects the two, and receipts."""

    folder: Path
    note: str
    old_note: str
    consistency: tuple[str, ...]
    receipts: tuple[Receipt, ...]


def publish(folder: Path) -> PublishedLog:
    """Let a service write a thousand records, give receipts for some, and export its log to `folder / "out"`."""
    with audit_world_in(folder) as world:
        for _ in range(10):
            append(world.ledger, *(decision() for _ in range(60)), *(denial() for _ in range(41)))
        service = world.audit(AUDITOR)
        old = service.checkpoint()
        receipts = []
        for index in (0, 1, 255, 256, 511, 512, 767, 1000, 1009):
            entry = service.record(f"records/{index}").leaf
            receipts.append(Receipt(service.proof(f"records/{index}").proof, entry))
        append(world.ledger, *(decision() for _ in range(300)))
        proof = service.consistency(_size(old.checkpoint))
        note = service.checkpoint().checkpoint
        export(folder / "ledger.db", folder / "out")
    assert (folder / "out" / "checkpoint").read_text(encoding="utf-8") == note
    hashes = tuple(base64.b64encode(each).decode() for each in proof.hashes)
    assert _size(proof.checkpoint) == _size(note)
    return PublishedLog(folder / "out", note, old.checkpoint, hashes, tuple(receipts))


def _size(note: str) -> int:
    return int(note.split("\n")[1])


def flip(text: str) -> str:
    """A hash in base64 with one bit of its first byte the other way round."""
    raw = bytearray(base64.b64decode(text))
    raw[0] ^= 1
    return base64.b64encode(raw).decode()
