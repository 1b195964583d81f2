"""Policy files by the digest that records name.

Of exchanges: the schema, the core rules, and what a deployment added. Of other calls: the table of who may call what.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

SCHEMA, CORE = "exchange.cedarschema", "exchange.cedar"
CONTROL_SCHEMA, CONTROL = "control.cedarschema", "control.cedar"
_MAX_FILES: Final = 102
_MAX_BYTES: Final = 1 << 20


class PoliciesError(ValueError):
    """A folder of policies cannot be used. The message names it and says why."""


def policy_digest(files: Mapping[str, bytes]) -> str:
    """The digest that a gateway with these files writes into its records.

    Of exchanges, SHA-256 over the compact JSON of `[name, SHA-256 of the text]`, first the schema, then the core, then the
    others; of other calls, over the schema, a zero byte and the rules.
    """
    if files.keys() == {CONTROL_SCHEMA, CONTROL}:
        return hashlib.sha256(files[CONTROL_SCHEMA] + b"\0" + files[CONTROL]).hexdigest()
    others = sorted(files.keys() - {SCHEMA, CORE})
    names = [name for name in (SCHEMA, CORE, *others) if name in files]
    document = [[name, hashlib.sha256(files[name]).hexdigest()] for name in names]
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


def load_policies(folders: Sequence[Path]) -> dict[str, dict[str, bytes]]:
    """The policies of each folder, and those of calls that this version comes with, by their digest.

    Raises:
        PoliciesError: a folder cannot be read, or lacks the schema or the core rules.
    """
    packaged = resources.files("isthmus.access")
    own = {name: packaged.joinpath(name).read_bytes() for name in (CONTROL_SCHEMA, CONTROL)}
    found = [own, *(_load(folder) for folder in folders)]
    return {policy_digest(files): files for files in found}


def _load(folder: Path) -> dict[str, bytes]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.name == SCHEMA or path.suffix == ".cedar")
        if len(paths) > _MAX_FILES or any(path.stat().st_size > _MAX_BYTES for path in paths):
            raise PoliciesError(f"{folder}: holds too many policy files, or too large ones")
        files = {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise PoliciesError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if missing := [name for name in (SCHEMA, CORE) if name not in files]:
        raise PoliciesError(f"{folder}: lacks {', '.join(missing)}; copy what the gateway runs with")
    return files
