"""The keys of logs, witnesses and subject tokens, each in a file of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from audit.tlog.cosignature import CosignerKey, CosignerSigner
from audit.tlog.errors import NoteError
from audit.tlog.keys import SignerKey, VerifierKey
from isthmus.subjects import SubjectTokens

_MAX_BYTES: Final = 4096
_SUBJECT_KEY_BYTES: Final = 32
DESTROYED: Final = "destroyed: "
"""What the file of a destroyed key begins with."""


class KeyFileError(ValueError):
    """A key file cannot be used. The message names the file and never its content."""


def load_log_key(path: Path) -> SignerKey:
    """Read the key that signs checkpoints, a `PRIVATE+KEY+…` line as `isthmus.cli.audit` makes it.

    Raises:
        KeyFileError: the file is missing, unreadable, or no such key.
    """
    try:
        return SignerKey.parse(_read(path))
    except NoteError as error:
        raise KeyFileError(f"{path}: {error}") from None


def load_verifier_key(path: Path) -> VerifierKey:
    """Read a log's public key, a C2SP vkey.

    Raises:
        KeyFileError: the file is missing, unreadable, or no such key.
    """
    try:
        return VerifierKey.parse(_read(path))
    except NoteError as error:
        raise KeyFileError(f"{path}: {error}") from None


def load_cosigner(path: Path) -> CosignerSigner:
    """Read the key of a witness, a `PRIVATE+KEY+…` line as `isthmus witness keygen` makes it.

    Raises:
        KeyFileError: the file is missing, unreadable, or no such key.
    """
    try:
        return CosignerSigner.parse(_read(path))
    except NoteError as error:
        raise KeyFileError(f"{path}: {error}") from None


def load_cosigner_key(path: Path) -> CosignerKey:
    """Read a witness's public key, a C2SP vkey of type 0x04.

    Raises:
        KeyFileError: the file is missing, unreadable, or no such key.
    """
    try:
        return CosignerKey.parse(_read(path))
    except NoteError as error:
        raise KeyFileError(f"{path}: {error}") from None


def load_subject_tokens(keys: Mapping[str, Path], current: int) -> SubjectTokens:
    """Read the keys of the subject tokens.

    Args:
        keys: the file of each epoch's key by the epoch's number, 64 hexadecimal digits each. A file that says that
            its key was destroyed (`audit.retention.epochs`) counts as if it were not named.
        current: the epoch of new tokens.

    Raises:
        KeyFileError: a file is missing, unreadable or no such key, an epoch is no number, or the current one has
            no key.
    """
    try:
        found = {int(epoch): _subject_key(path) for epoch, path in keys.items()}
        return SubjectTokens({epoch: key for epoch, key in found.items() if key is not None}, current)
    except KeyFileError:
        raise
    except ValueError as error:
        raise KeyFileError(f"subject keys: {error}") from None


def _subject_key(path: Path) -> bytes | None:
    try:
        text = _read(path)
        if text.startswith(DESTROYED):
            return None
        key = bytes.fromhex(text)
    except ValueError as error:
        if isinstance(error, KeyFileError):
            raise
        key = b""
    if len(key) != _SUBJECT_KEY_BYTES:
        raise KeyFileError(
            f"{path}: a subject key is 64 hexadecimal digits; make one with openssl rand -hex 32"
        )
    return key


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_BYTES).strip()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: is not text") from None
