"""One record against its leaf: everything that finds it must say what the leaf says."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit.ledger.schema import INDEX_COLUMNS, index_values
from audit.record import LOGGED, AccessRecord, RecordError
from audit.verifier.damage import Damaged, DamageKind
from isthmus.canonical import CanonicalError, parse_json

_COMMITMENT: Final = "_commitment"
_SALT: Final = "commitment_salt"
_SALTS: Final = re.compile(r"[0-9]{1,9}\.[0-9a-f]{64}")
"""The epoch of the key and 32 bytes, as the gateway writes them."""


def read_record(row: Any, begin: int) -> AccessRecord:
    """The record of a row whose leaf the log signed, if the row's columns agree with it.

    Args:
        row: a row of `records`.
        begin: the size of the checkpoint before it.

    Raises:
        Damaged: the leaf is no record, belongs to another transaction, or a column disagrees.
    """
    where = f"record {row.idx}"
    try:
        record = AccessRecord.parse(row.leaf)
    except RecordError as error:
        raise Damaged(DamageKind.CONTENT, where, str(error)) from error
    if record.base is None or LOGGED not in record.at:
        raise Damaged(
            DamageKind.CONTENT, where, "its leaf does not say when and on what state it was appended"
        )
    if record.base > begin:
        raise Damaged(DamageKind.CHECKPOINT, f"checkpoint {record.base}", "it is missing")
    if record.base < begin:
        raise Damaged(
            DamageKind.CONTENT, where, f"its leaf was written for position {record.base}, not {begin}"
        )
    try:
        values = index_values(record)
    except ValueError:
        raise Damaged(DamageKind.CONTENT, where, "its contract has a version that is no number") from None
    for name, expected in zip(INDEX_COLUMNS, values, strict=True):
        if getattr(row, name) != expected:
            raise Damaged(DamageKind.COLUMN, where, f"its column {name} is not what its leaf says")
    return record


def check_reasons(index: int, record: AccessRecord, found: Sequence[Any]) -> None:
    """Return only if the reasons that find the record are those of its leaf.

    Raises:
        Damaged: they are not.
    """
    if sorted(row.reason for row in found) != sorted(set(record.reasons)):
        raise Damaged(DamageKind.REASON, f"record {index}", "its reasons are not those of its leaf")


def check_detail(index: int, record: AccessRecord, found: Sequence[Any]) -> None:
    """Return only if the erasable detail that is left opens the commitments of the leaf.

    For each text `x` with `x_nonce` that the leaf commits to as `x_commitment`; and the salt of a decision's commitments,
    which only who holds the subject keys can check. A nonce alone cannot be checked.

    Raises:
        Damaged: it does not, or there is other detail.
    """
    for row in found:
        try:
            detail = parse_json(row.json)
        except (CanonicalError, AttributeError) as error:
            raise Damaged(DamageKind.DETAIL, f"record {index}", "its detail is not JSON") from error
        if not isinstance(detail, Mapping):
            raise Damaged(DamageKind.DETAIL, f"record {index}", "its detail is not a JSON object")
        committed = {
            member.removesuffix(_COMMITMENT): value
            for member, value in record.change.items()
            if member.endswith(_COMMITMENT)
        }
        for name, value in committed.items():
            if not _opens(detail, name, value):
                raise Damaged(DamageKind.DETAIL, f"record {index}", f"its {name} is not what it committed to")
        if not set(detail) <= {*committed, *(f"{name}_nonce" for name in committed), *_salt(record, detail)}:
            raise Damaged(DamageKind.DETAIL, f"record {index}", "it has detail that it committed to nowhere")


def _salt(record: AccessRecord, detail: Mapping[str, Any]) -> tuple[str, ...]:
    """The salt, where it is one and there is a commitment that it can belong to."""
    salt = detail.get(_SALT)
    committed = record.request_commitment or record.response_commitment
    return (_SALT,) if committed and isinstance(salt, str) and _SALTS.fullmatch(salt) else ()


def _opens(detail: Mapping[str, Any], name: str, committed: object) -> bool:
    if name not in detail:
        return True
    try:
        nonce = bytes.fromhex(detail[f"{name}_nonce"])
        return hashlib.sha256(nonce + detail[name].encode()).hexdigest() == committed
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
