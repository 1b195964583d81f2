"""What the records of a bundle say, once they are proven: the fences, the lines of batches, and the policies."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from audit.batch.lines import Line, LineError, verify_line
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
)
from audit.evidence.policies import policy_digest
from audit.record import AccessRecord, Kind
from audit.verifier.damage import Damaged, DamageKind
from audit.verifier.rules import Rules
from isthmus.canonical import CanonicalError, parse_canonical

_FIXED: Final = frozenset({MANIFEST, README, LEAVES, RANGE_PROOF, OLD, NEW, CONSISTENCY, VKEY, CA})
_STATED: Final = ("statements/", "terms/")


@dataclass(frozen=True, slots=True)
class Content:
    """A bundle of which the archive, the tree and the receipts were verified.

    Attributes:
        files: by name.
        manifest: what it says about itself.
        leaves: of the range.
        parsed: the records of the range, and those that the case rests on, by position.
    """

    files: dict[str, bytes]
    manifest: Manifest
    leaves: list[bytes]
    parsed: dict[int, AccessRecord]

    @property
    def proven(self) -> dict[int, AccessRecord]:
        """The records of the case and what they rest on, in order."""
        return {index: self.parsed[index] for index in sorted((*self.manifest.case, *self.manifest.rests_on))}


def check_content(content: Content) -> tuple[str, ...]:
    """Return what the records name and the bundle does not hold, only if nothing in them is wrong.

    Raises:
        Damaged: a record contradicts another, a line or policy is not what its record vouches for, or a file belongs to
            nothing.
    """
    lines = dict(_lines(content))
    _check_rules(content, lines)
    missing = tuple(_check_policies(content))
    own = {name for index in content.proven for name in (leaf_file(index), proof_file(index))}
    for name in content.files:
        known = name in _FIXED or name in own or name.startswith(("lines/", "policies/", *_STATED))
        if not known:
            raise Damaged(DamageKind.BUNDLE, name, "it belongs to no record of the bundle")
    return missing


def _check_rules(content: Content, lines: dict[tuple[int, int], Line]) -> None:
    """The fences of the log, as far as the records of the bundle tell.

    A neighbour's release rests on records that are not here, so only what closes or opens anything is taken of neighbours.
    """
    proven = content.proven
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        scratch.execute("BEGIN")
        rules = Rules(scratch)
        for index, record in sorted(content.parsed.items()):
            if index in proven or record.kind is Kind.CONTROL:
                rules.check(index, record)
            for (of, _), line in lines.items():
                if of == index:
                    rules.check_line(index, record, line)


def _lines(content: Content) -> Iterator[tuple[tuple[int, int], Line]]:
    for name, data in content.files.items():
        if not name.startswith("lines/"):
            continue
        try:
            found = parse_canonical(data)
            index, number = map(int, name.removeprefix("lines/").removesuffix(".json").split("-"))
            path = [bytes.fromhex(each) for each in found["path"]]
            line = verify_line(content.proven[index], found["line"].encode(), path)
            if (
                found.keys() != {"line", "path"}
                or name != f"lines/{index}-{line.index}.json"
                or line.index != number
            ):
                raise ValueError("it is another line than its name says")
        except (CanonicalError, LineError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(DamageKind.DETAIL, name, f"its record does not vouch for it: {error}") from None
        yield (index, number), line


def _check_policies(content: Content) -> Iterator[str]:
    named = {record.policy_digest for record in content.proven.values()} - {""}
    found: dict[str, dict[str, bytes]] = {}
    for name, data in content.files.items():
        if name.startswith("policies/"):
            digest, _, file = name.removeprefix("policies/").partition("/")
            found.setdefault(digest, {})[file] = data
    for digest, files in sorted(found.items()):
        where = f"policies/{digest}/{min(files)}"
        if digest not in named:
            raise Damaged(DamageKind.BUNDLE, where, "no record of the bundle was decided by this policy")
        if policy_digest(files) != digest:
            raise Damaged(DamageKind.BUNDLE, where, "these policies are not those that the records name")
    for digest in sorted(named - found.keys()):
        yield f"the policies of digest {digest[:16]}…"
