"""What the control records of a log opened and closed: signatures, consents that were given, and every end of them."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from audit.record import AccessRecord

_FINAL: Final = "final"
_CLOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "WithdrawConsent": _FINAL,
        "RevokeConsent": _FINAL,
        "InvalidateConsent": _FINAL,
        "PauseConsent": "",
        "SuspendContract": "",
        "TerminateContract": _FINAL,
        "RetireDataset": "",
        "DenyCertificate": _FINAL,
    }
)
"""Control actions after which nothing may be released that depends on the resource."""
_OPENS: Final = frozenset({"ResumeConsent", "ResumeContract", "PublishDataset"})
_ENDS: Final = frozenset(
    {"WITHDRAWN", "REVOKED", "INVALIDATED", "EXPIRED", "EXHAUSTED", "SUPERSEDED", "LAPSED", "REFUSED"}
    | {"TERMINATED"}
)
"""Events of a consent or contract that nothing leads back from, whoever or whatever brought them about."""
_GRANTED: Final = "GRANTED"
_ACTIVATED: Final = "ACTIVATED"
_AGREED: Final = frozenset({"AGREED", _ACTIVATED})
_MAX_DIGITS: Final = 9

_TABLES: Final = (
    "closed (resource TEXT PRIMARY KEY, idx INTEGER, deed TEXT, final INTEGER)",
    "signed (contract TEXT, department TEXT, digest TEXT, PRIMARY KEY (contract, department))",
    "agreed (contract TEXT, version INTEGER, PRIMARY KEY (contract, version))",
    "granted (consent TEXT PRIMARY KEY, contract TEXT, idx INTEGER, token TEXT)",
)


class End(NamedTuple):
    """What closed a resource, such as `WithdrawConsent of consents/…`, and the position of its record."""

    position: int
    deed: str


class Grant(NamedTuple):
    """A consent that was given: the position of its record, and the token of the person."""

    position: int
    token: str


class Fences:
    """Holds them on disk.

    Args:
        scratch: a database of the verifier's own, in a transaction; what an earlier run left there is gone on from.
    """

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self._scratch = scratch
        for table in _TABLES:
            scratch.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")

    def learn(self, index: int, record: AccessRecord) -> bool:
        """Take in what a control record did, unless it was refused; returns whether anything is closed since.

        Args:
            index: the record's position.
            record: the record; those before it were taken in.
        """
        events = frozenset(str(record.change.get("event", "")).split())
        if record.action == "SignContract":
            row = (record.resource, _department(record.caller), record.terms_digest)
            self._scratch.execute("INSERT OR IGNORE INTO signed VALUES (?, ?, ?)", row)
        ends = self._ends_others(record, events)
        if record.action == "GrantConsent" and _GRANTED in events:
            grant = (record.resource, record.contract, index, record.subject_token)
            self._scratch.execute("INSERT OR IGNORE INTO granted VALUES (?, ?, ?, ?)", grant)
        deed = f"{record.action} of {record.resource}"
        if events & _ENDS or record.action in _CLOSES:
            final = bool(events & _ENDS) or _CLOSES[record.action] == _FINAL
            self._close(record.resource, End(index, deed), final=final)
        elif record.action in _OPENS:
            self._scratch.execute("DELETE FROM closed WHERE resource = ? AND NOT final", (record.resource,))
        for each in ends:
            self._close(each, End(index, f"{deed}, which superseded {each},"), final=True)
        return bool(ends or events & _ENDS or record.action in _CLOSES)

    def any_closed(self) -> bool:
        """Whether there is any end to ask for."""
        return self._scratch.execute("SELECT 1 FROM closed").fetchone() is not None

    def end_of(self, resource: str) -> End | None:
        """What closed a resource, if anything has."""
        found = self._row("SELECT idx, deed FROM closed WHERE resource = ?", resource)
        return End(*found) if found else None

    def grant_of(self, consent: str, contract: str) -> Grant | None:
        """How a consent was given to a version of a contract, if it was."""
        found = self._row(
            "SELECT idx, token FROM granted WHERE consent = ? AND contract = ?", consent, contract
        )
        return Grant(*found) if found else None

    def signers(self, contract: str, terms_digest: str) -> frozenset[str]:
        """The departments that signed these terms of a version."""
        query = "SELECT department FROM signed WHERE contract = ? AND digest = ?"
        return frozenset(each for (each,) in self._scratch.execute(query, (contract, terms_digest)))

    def _row(self, query: str, *values: str) -> Any:
        return self._scratch.execute(query, values).fetchone()

    def _ends_others(self, record: AccessRecord, events: frozenset[str]) -> list[str]:
        """What a record puts an end to besides its resource: consents it replaces, or older versions of a contract.

        A version that was agreed ahead of its time leaves the older ones in force until it is activated.
        """
        if record.action == "GrantConsent" and _GRANTED in events:
            return str(record.change.get("supersedes", "")).split()
        contract, _, number = record.resource.partition("@")
        if not number.isascii() or not number.isdigit() or len(number) > _MAX_DIGITS:
            return []
        if record.action == "SignContract" and events & _AGREED:
            self._scratch.execute("INSERT OR IGNORE INTO agreed VALUES (?, ?)", (contract, int(number)))
        if _ACTIVATED not in events:
            return []
        query = "SELECT version FROM agreed WHERE contract = ? AND version < ?"
        return [f"{contract}@{each}" for (each,) in self._scratch.execute(query, (contract, int(number)))]

    def _close(self, resource: str, end: End, *, final: bool) -> None:
        sql = "INSERT INTO closed VALUES (?, ?, ?, ?) ON CONFLICT DO "
        sql += (
            "UPDATE SET idx = excluded.idx, deed = excluded.deed, final = 1 WHERE NOT final"
            if final
            else "NOTHING"
        )
        self._scratch.execute(sql, (resource, *end, final))


def _department(caller: str) -> str:
    return f"departments/{caller.partition('/department/')[2].partition('/')[0]}"
