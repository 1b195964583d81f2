"""A record as one row of a table: what CSV and Parquet hold of it. JSON Lines alone holds all of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from audit.record import LOGGED, AccessRecord, format_time
from audit.tlog.merkle import hash_leaf


@dataclass(frozen=True, slots=True)
class Row:
    """A record with its position and the RFC 6962 hash of its leaf, hex."""

    index: int
    record: AccessRecord
    leaf_hash: str

    @classmethod
    def of(cls, index: int, leaf: bytes) -> "Row":
        """Reads a leaf. Raises RecordError."""
        return cls(index, AccessRecord.parse(leaf), hash_leaf(leaf).hex())


def _time(row: Row) -> datetime | None:
    return row.record.at.get(LOGGED)


def _fields(row: Row) -> str:
    return " ".join(f"{each['name']}:{each['transform']}" for each in row.record.fields)


def _consents(row: Row) -> str:
    return " ".join(f"{each['name']}@{each['position']}" for each in row.record.consents)


_TEXTS: Final = (
    *("exchange", "kind", "action", "resource", "caller", "certificate", "consumer", "provider", "dataset"),
    *("contract", "terms_digest", "purpose", "legal_basis", "case_reference", "subject_token", "mode"),
    *("decision", "grpc_code", "emergency", "policy_digest", "trace_id", "provider_receipt_digest"),
)
_NUMBERS: Final = ("subject_count", "row_count", "byte_count")
_LISTS: Final[Mapping[str, Callable[[Row], str]]] = MappingProxyType(
    {
        "reasons": lambda row: " ".join(row.record.reasons),
        "rules": lambda row: " ".join(row.record.rules),
        "fields": _fields,
        "consents": _consents,
    }
)
TEXT_COLUMNS: Final = (*_TEXTS, *_LISTS, "leaf_hash")
NUMBER_COLUMNS: Final = ("index", *_NUMBERS)
COLUMNS: Final = ("index", "time", *_TEXTS, *_LISTS, *_NUMBERS, "leaf_hash")
"""The names, in order. Lists are their members with a blank between."""


def values_of(row: Row) -> dict[str, Any]:
    """The values of `COLUMNS` by name: whole numbers, text, and `time` as an aware time or None."""
    texts = {name: str(getattr(row.record, name)) for name in _TEXTS}
    lists = {name: write(row) for name, write in _LISTS.items()}
    numbers = {name: getattr(row.record, name) for name in _NUMBERS}
    return {"index": row.index, "time": _time(row), **texts, **lists, **numbers, "leaf_hash": row.leaf_hash}


def cells_of(row: Row) -> list[str]:
    """The same as text, in order; times as RFC 3339."""
    values = values_of(row)
    values["time"] = format_time(values["time"]) if values["time"] is not None else ""
    return [str(values[name]) for name in COLUMNS]
