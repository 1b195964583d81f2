"""The README of a bundle: what it holds, what to trust, and how to check it with other people's tools."""

from importlib import resources
from typing import Final

from audit.evidence.case import Case
from audit.tlog.keys import VerifierKey

_TEMPLATE: Final = "readme.md"


def readme(case: Case, key: VerifierKey, size: int) -> bytes:
    """The text of one bundle; `size` is how many records the log had."""
    facts = {
        "log": key.name,
        "vkey": key.encode(),
        "count": len(case.indexes),
        "begin": case.begin,
        "last": case.end - 1,
        "width": len(case.leaves),
        "rests_on": len(case.rests_on),
        "size": size,
        "example": case.begin,
    }
    text = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    # Not str.format: the code in it has braces of its own.
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text.encode()
